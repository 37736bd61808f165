"""The report room: tables become figures and one self-contained page; it knows nothing of runs."""

from datadiet.pages.report.answer import next_sentence, not_trained_sentence, verdict_sentence
from datadiet.pages.report.contents import ExampleView, Gallery, ReportContents, subset_key
from datadiet.pages.report.costs import cost_sentence, cost_table, times_table
from datadiet.pages.report.page import write_report
from datadiet.pages.report.tables import (
    first_warnings,
    groups_table,
    metrics_table,
    sparse_table,
    verdict_table,
)
from datadiet.pages.report.wording import subset_title
from datadiet.pages.report.wrong_labels import wrong_labels_sentence
from datadiet.pages.text import printable, safe_name

__all__ = [
    "ExampleView",
    "Gallery",
    "ReportContents",
    "cost_sentence",
    "cost_table",
    "first_warnings",
    "groups_table",
    "metrics_table",
    "next_sentence",
    "not_trained_sentence",
    "printable",
    "safe_name",
    "sparse_table",
    "subset_key",
    "subset_title",
    "times_table",
    "verdict_sentence",
    "verdict_table",
    "write_report",
    "wrong_labels_sentence",
]
