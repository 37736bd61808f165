"""Small data sets on disk for the tests of the data room."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datadiet.data as dd
from datadiet.foundation.errors import BadInputError


@pytest.fixture
def pictures():
    """Twelve 8x6 colour images, all different."""
    return np.random.default_rng(0).integers(0, 256, (12, 8, 6, 3), dtype=np.uint8)


@pytest.fixture
def image_folder(tmp_path, pictures):
    """`train/<class>/*.png` and `test/<class>/*.png`: classes 'ant' and 'bee', 4 and 2 images of each."""
    for index, picture in enumerate(pictures):
        part, name = ("train" if index < 8 else "test"), ("ant" if index % 2 == 0 else "bee")
        path = Path(tmp_path, "insects", part, name, f"{index:02d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return tmp_path / "insects"


@pytest.fixture
def refused():
    """Loading a source with these options is refused in one sentence that matches the message."""

    def check(message, source, **options):
        with pytest.raises(BadInputError, match=message) as caught:
            dd.load(source, **options)
        assert caught.value.exit_code == 2
        text = str(caught.value)
        assert "\n" not in text and text.endswith((".", ")."))

    return check
