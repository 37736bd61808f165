"""What the report says of tasks beside classification: their accuracy by its name, and their other metrics."""

from __future__ import annotations

import numpy as np
from made_up_report import made_up_verdict

from datadiet.pages.report import ReportContents, metrics_table, verdict_table
from datadiet.pages.report.page import render_page
from datadiet.pages.report.tables import metrics_rows
from datadiet.pages.report.view import page_view, report_figures


def joint_verdict() -> dict[str, object]:
    verdict = made_up_verdict()
    for place, entry in enumerate((verdict["full"], *verdict["subsets"])):
        values = [0.91 - 0.01 * place, 0.93 - 0.01 * place]
        same = {"mean": entry["accuracy"], "spread": 0.001, "values": [entry["accuracy"]] * 2}
        entry["metrics"] = {
            "slot_f1": {
                "mean": float(np.mean(values)),
                "spread": float(np.std(values, ddof=1)),
                "values": values,
            },
            "semantic_error_rate": {"mean": 0.05, "spread": None, "values": [0.05]},
            "full_sequence_accuracy": same,
        }
    return {**verdict, "task": "intent_slots"}


def test_accuracy_has_the_name_of_what_it_is_in_every_table_and_figure() -> None:
    verdict = joint_verdict()
    headers = [str(column.header) for column in verdict_table(verdict).columns]
    assert "full-sequence accuracy %" in headers and "accuracy %" not in headers
    page = render_page(ReportContents(title="flights", verdict=verdict), {})
    assert "Full-sequence accuracy against what is kept" in page
    figure = report_figures(ReportContents(title="flights", verdict=verdict))["accuracy_against_keep"]
    from datadiet.pages.report.canvas import LIGHT

    assert figure(LIGHT, False).axes[0].get_ylabel() == "test full-sequence accuracy (%)"


def test_metrics_stand_beside_every_subset_once() -> None:
    verdict = joint_verdict()
    titles, rows = metrics_rows(verdict)
    assert titles == ["slot F1 %", "semantic error rate % (less is better)"]  # accuracy is not told twice
    assert len(rows) == 1 + len(verdict["subsets"])  # type: ignore[arg-type]
    assert rows[0] == ("full data", ["92.0 ± 1.4", "5.0"])
    table = metrics_table(verdict)
    assert table is not None and table.row_count == len(rows)
    page = render_page(ReportContents(title="flights", verdict=verdict), {})
    assert "92.0 ± 1.4" in page and "Further test metrics" in page


def test_a_metric_that_is_not_defined_is_said_to_be_missing() -> None:
    full = {"metrics": {"r2": {"mean": None, "spread": None, "values": [None]}, "rmse": {"mean": 1.23456}}}
    assert metrics_rows({"task": "regression", "full": full})[1] == [("full data", ["not measured", "1.235"])]


def test_classification_has_no_table_of_further_metrics() -> None:
    verdict = made_up_verdict()
    assert metrics_table(verdict) is None
    assert "Further test metrics" not in render_page(ReportContents(title="digits", verdict=verdict), {})


def test_a_task_without_classes_has_no_balance_of_them() -> None:
    labels, kept = np.zeros(6, dtype=np.int64), {"el2n hardest 0.5": np.arange(6) < 3}
    contents = {"title": "names", "labels": labels, "class_names": ("all",), "kept": kept}
    without = ReportContents(verdict={"task": "token_classification"}, **contents)
    assert page_view(without)["balance"] is None and "class_balance" not in report_figures(without)
    assert "The task of this data has no classes to compare." in render_page(without, {})
    assert page_view(ReportContents(verdict={}, **contents))["balance"] is not None
