"""A validation part carved out of the training part, so that nothing is chosen on the test part."""

from __future__ import annotations

import dataclasses

from datadiet.data import Examples
from datadiet.data.fingerprint import fingerprint
from datadiet.data.holdout import hold_out
from datadiet.errors import BadInputError


def carve_validation(examples: Examples, *, fraction: float = 0.1, seed: int = 0) -> Examples:
    """The training part in two: what is left of it, and a stratified validation part in the test part's place.

    The test part of the data is not in the result, in no form; example ids stay what they are.

    Args:
        examples: the data.
        fraction: share of the training part that validates, between 0 and 1.
        seed: of the draw.

    Returns:
        `Examples` whose `train` is the rest and whose `test` is the validation part; with a fingerprint of its own.

    Raises:
        BadInputError: no such fraction, or a class with a single training example.

    Example:
        >>> import datadiet as dd
        >>> carved = carve_validation(dd.load("digits"), fraction=0.1)
        >>> len(carved.train), len(carved.test)
        (1294, 144)
    """
    if not 0 < fraction < 1:
        raise BadInputError(f"validation_fraction is {fraction:g}; it must lie between 0 and 1.")
    rest, held = hold_out(examples.train.labels, examples.class_names, fraction=fraction, seed=seed)
    parts = [examples.train.take(positions) for positions in (rest, held)]
    return dataclasses.replace(
        examples,
        name=f"{examples.name} without its test part",
        train=parts[0],
        test=parts[1],
        fingerprint=fingerprint(examples.class_names, parts),
        holdout_seed=None,
        left_out_test=(),
        notes=(),
    )
