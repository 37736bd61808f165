"""A recipe that tuning can afford many times over."""

from __future__ import annotations

import pytest

import datadiet as dd
from tiny_models import small_recipe


@pytest.fixture(scope="session")
def quick_recipe() -> dd.Recipe:
    return small_recipe(model_options={"hidden": (8,)})
