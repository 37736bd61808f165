"""A report on disk: the page and its figures, each appearing whole or not at all."""

from __future__ import annotations

from pathlib import Path

from datadiet.atomic import atomic_file
from datadiet.report.contents import ReportContents

FIGURE_NAMES = ("accuracy_against_keep", "score_distributions", "class_balance")


def write_report(contents: ReportContents, folder: Path) -> Path:
    """Write `report.html` and `figures/*.png` into `folder`, and return the path of the page.

    Everything is drawn before anything is written, and every file appears by one rename, the page last.
    Figures that an earlier report left and this one has no data for are removed.

    Raises:
        OSError: when the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(ReportContents(title="digits", verdict={"recommended": None}), Path(folder)).name
    'report.html'
    """
    # Matplotlib takes a third of a second to import: whoever only prints a verdict should not wait for it.
    from datadiet.report.page import render_page
    from datadiet.report.pictures import render_picture
    from datadiet.report.view import report_figures

    pictures = {name: render_picture(draw) for name, draw in report_figures(contents).items()}
    page = render_page(contents, pictures).encode("utf-8")
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name in FIGURE_NAMES:
        path = folder / "figures" / f"{name}.png"
        if name in pictures:
            _write(path, pictures[name].png)
        else:
            path.unlink(missing_ok=True)
    report = folder / "report.html"
    _write(report, page)
    return report


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)
