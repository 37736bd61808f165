"""One thread for work that is made of many small products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep linear algebra on one thread inside the block (or the decorated function), and restore it after.

    Several threads cost more than they bring when each product takes microseconds, and on a busy machine they
    wait for each other many times longer than they work.
    """
    # Imported here: it comes with scikit-learn, and most rules do without.
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield
