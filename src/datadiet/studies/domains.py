"""Domains of intents: groups by a map, or by how the intents' names begin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from datadiet.errors import BadInputError

_SEPARATOR = re.compile(r"[._/#:+ -]")


def domains_of(names: Sequence[str], given: Mapping[str, str] | None = None) -> np.ndarray | None:
    """The domain of each intent as a number, int64 (intents,); None where there are no domains to speak of.

    Without a map an intent's domain is its name up to the first separator, one of ``. _ / # : + -`` or a space,
    after a beginning that all names share is taken off. Where that gives one domain only, or each intent its own,
    there are none.

    Args:
        names: of the intents.
        given: intent -> domain.

    Raises:
        BadInputError: the map lacks an intent.

    Example:
        >>> domains_of(["atis_flight", "atis_flight_time", "atis_airfare"]).tolist()
        [1, 1, 0]
        >>> domains_of(["PlayMusic", "GetWeather"]) is None
        True
    """
    if given is not None:
        missing = [name for name in names if name not in given]
        if missing:
            raise BadInputError(
                f"The map of domains lacks {len(missing)} intents (the first: {missing[0]!r}); name a domain for each."
            )
        said = [given[name] for name in names]
    else:
        starts = {_SEPARATOR.split(name, maxsplit=1)[0] for name in names}
        shared = len(starts) == 1 and all(_SEPARATOR.search(name) for name in names)
        rest = [_SEPARATOR.split(name, maxsplit=1)[1] if shared else name for name in names]
        said = [_SEPARATOR.split(name, maxsplit=1)[0] for name in rest]
    distinct, numbers = np.unique(np.asarray(said, dtype=str), return_inverse=True)
    if given is None and not 1 < len(distinct) < len(names):
        return None
    return numbers.reshape(-1).astype(np.int64)
