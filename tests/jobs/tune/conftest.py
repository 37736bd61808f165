"""A recipe that tuning can afford many times over."""

from __future__ import annotations

import pytest

import datadiet as dd


@pytest.fixture(scope="session")
def quick_recipe() -> dd.Recipe:
    return dd.Recipe(
        name="tiny",
        model="mlp",
        model_options={"hidden": (8,)},
        epochs=4,
        batch_size=16,
        lr=0.1,
        precision="float32",
        memory_format="contiguous",
    )
