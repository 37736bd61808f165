"""Sparse networks on the page: the same rows as in the terminal, and no section where there are none."""

from __future__ import annotations

from made_up_report import made_up_verdict

from datadiet.pages.report import ReportContents
from datadiet.pages.report.page import render_page
from datadiet.pages.report.tables import sparse_rows


def test_the_page_has_accuracy_weights_and_examples_of_every_network() -> None:
    full = {"score": "full", "keep": 1.0, "examples": 1000, "weights_of": 5000}
    subset = {**full, "score": "el2n", "rule": "hardest", "keep": 0.5, "examples": 500}
    sparse = {
        "sparsity": 0.8,
        "how": "magnitude",
        "rows": [
            {**full, "weights": 5000, "accuracy": 0.91, "minus_full": [0.0, 0.0, 0.0]},
            {
                **full,
                "weights": 1000,
                "accuracy": 0.89,
                "minus_dense": [-0.02, -0.03, -0.01],
                "minus_full": [-0.02, -0.03, -0.01],
            },
            {**subset, "weights": 5000, "accuracy": 0.9, "minus_full": [-0.01, -0.02, 0.0]},
            {
                **subset,
                "weights": 1000,
                "accuracy": 0.87,
                "minus_dense": [-0.03, -0.04, -0.02],
                "minus_full": [-0.04, -0.05, -0.03],
            },
        ],
    }
    verdict = {**made_up_verdict(), "sparse": sparse}
    page = render_page(ReportContents(title="sparse", verdict=verdict), {})
    assert 'id="sparse"' in page and 'href="#sparse"' in page
    rows = sparse_rows(verdict, minus="−")
    assert rows[0] == ("full data", "1,000", "5,000", "100 %", "91.00", "", "")
    assert rows[3][1:5] == ("500", "1,000", "20 %", "87.00") and rows[3][5].startswith("−3.0")
    section = page[page.index('id="sparse"') :]
    assert all(f">{cell}</td>" in section for row in rows for cell in row[1:] if cell)


def test_a_page_without_sparse_networks_has_no_such_section() -> None:
    page = render_page(ReportContents(title="dense", verdict=made_up_verdict()), {})
    assert 'id="sparse"' not in page and 'href="#sparse"' not in page
