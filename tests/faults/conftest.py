"""One world for all faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world"))
    yield made
    made.server.close()
