"""Examples of other parts: some rows of a data set in the place of its own, with a fingerprint of their own."""

from __future__ import annotations

from dataclasses import replace

from datadiet.data.duplicates import find_repeats
from datadiet.data.examples import Examples, Part
from datadiet.data.fingerprint import read_content


def with_parts(examples: Examples, train: Part, test: Part, *, name: str) -> Examples:
    """The data set with other parts, which are read once for their fingerprint and for what is in them twice.

    Args:
        examples: the data set.
        train: the training part; example ids stay what they are.
        test: the test part.
        name: of the result.
    """
    parts = [train, test]
    content = read_content(examples.class_names, parts)
    return replace(
        examples,
        name=name,
        train=train,
        test=test,
        fingerprint=content.fingerprint,
        holdout_seed=None,
        left_out_test=(),
        notes=(),
        repeats=find_repeats([part.ids for part in parts], content.rows),
    )
