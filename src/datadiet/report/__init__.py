"""The report room: tables become figures and one self-contained page; it knows nothing of runs."""

from datadiet.report.contents import ExampleView, Gallery, ReportContents, subset_key
from datadiet.report.left_out import first_warnings, groups_table
from datadiet.report.metrics import metrics_table
from datadiet.report.plain import subset_title, times_table, verdict_sentence, verdict_table
from datadiet.report.safe_text import printable, safe_name
from datadiet.report.writing import write_report

__all__ = [
    "ExampleView",
    "Gallery",
    "ReportContents",
    "first_warnings",
    "groups_table",
    "metrics_table",
    "printable",
    "safe_name",
    "subset_key",
    "subset_title",
    "times_table",
    "verdict_sentence",
    "verdict_table",
    "write_report",
]
