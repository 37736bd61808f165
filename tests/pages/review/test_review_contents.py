"""What cannot be reviewed is refused in one sentence."""

import pytest

from datadiet.foundation.errors import BadInputError
from datadiet.pages.review import ReviewContents, ReviewItem


def contents(items, names=("a", "b")):
    return ReviewContents("data", "5f0c", names, items)


@pytest.mark.parametrize(
    ("items", "names", "words"),
    [
        ([], ("a", "b"), "nothing to review"),
        ([ReviewItem(1, 0), ReviewItem(1, 1)], ("a", "b"), "example 1 stands more than once"),
        ([ReviewItem(4, 2)], ("a", "b"), "example 4 has the label 2"),
        ([ReviewItem(4, 0, proposed=-1)], ("a", "b"), "example 4 has the label -1"),
        ([ReviewItem(4, 0, suspicion=float("nan"))], ("a", "b"), "suspicion of example 4"),
        ([ReviewItem(4, 0)], ("a", "a"), "two classes are named 'a'"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(items, names, words):
    with pytest.raises(BadInputError, match=words):
        contents(items, names)


def test_what_can_be_reviewed_is_taken_as_it_is():
    assert contents([ReviewItem(2, 1), ReviewItem(1, 0, proposed=1)]).items[0].id == 2
