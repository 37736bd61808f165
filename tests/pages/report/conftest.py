"""Each made-up report is written once for all the tests that read it."""

from functools import cache

import pytest
from made_up_report import REPORTS

from datadiet.pages.report import write_report


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory):
    """The folder of a made-up report, by the report's name."""

    @cache
    def folder_of(name):
        folder = tmp_path_factory.mktemp("reports") / name
        write_report(REPORTS[name](), folder)
        return folder

    return folder_of
