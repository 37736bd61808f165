"""Pages show images as models see them, also those of more than 8 bits."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

import datadiet as dd
from datadiet.jobs.report import example_view
from datadiet.jobs.review import _looks


def test_the_report_and_the_review_page_show_the_pixels_that_models_see() -> None:
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 4096, (12, 8, 8)).astype(np.uint16)
    numbers[0, 0, 0] = 4095
    examples = dd.load((numbers, [0, 1] * 6), test_fraction=0.5)
    ids = examples.train.ids
    table = dd.ScoreTable.from_seeds(ids, examples.train.labels, [{"el2n": np.arange(len(ids)) / 7}])
    looks = dict(_looks(examples, examples.train, ids, len(ids)))
    for row, id_ in enumerate(ids):
        view = example_view(examples, table, row, "0", table.column("el2n"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(view.image))), numbers[id_] >> 4)
        assert np.array_equal(looks[id_]["picture"].squeeze(), numbers[id_] >> 4)
