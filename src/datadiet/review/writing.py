"""A review page on disk, appearing whole or not at all."""

from __future__ import annotations

from pathlib import Path

from datadiet.atomic import atomic_file
from datadiet.errors import BadInputError
from datadiet.review.contents import ReviewContents
from datadiet.review.page import render_review


def write_review(contents: ReviewContents, path: str | Path) -> Path:
    """Write the page and return its path.

    Raises:
        BadInputError: the file cannot be written.

    >>> import tempfile
    >>> from datadiet.review import ReviewItem
    >>> contents = ReviewContents("notes", "5f0c", ["a", "b"], [ReviewItem(3, 0, 1, text="x")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_review(contents, Path(folder) / "review.html").name
    'review.html'
    """
    page = render_review(contents).encode("utf-8")
    path = Path(path)
    try:
        with atomic_file(path) as file:
            file.write(page)
    except OSError as error:
        raise BadInputError(
            f"The review page {str(path)!r} cannot be written: {error.strerror or error}."
        ) from error
    return path
