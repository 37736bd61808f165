"""Crop, flip and cutout against a slow loop over images, and their randomness."""

import numpy as np
import pytest
import torch

from datadiet.data.encodings.images import Augmentation
from datadiet.foundation.errors import BadInputError


def every_crop(image: np.ndarray, pad: int, mode: str, flip: bool) -> list[np.ndarray]:
    """All images that padding, cropping and mirroring one image can give, the slow way."""
    height, width = image.shape[1:]
    padded = np.pad(
        image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect" if mode == "reflect" else "constant"
    )
    found = []
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            crop = padded[:, top : top + height, left : left + width]
            found += [crop, crop[:, :, ::-1]] if flip else [crop]
    return found


def pictures(count: int, channels: int = 3, height: int = 8, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("mode", ["reflect", "zero"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_result_is_a_crop_of_the_padded_image(mode, flip, channels):
    images = pictures(40, channels)
    result = Augmentation(pad=2, flip=flip, pad_mode=mode)(images, torch.arange(40), 1, 0)
    assert result.shape == images.shape and result.dtype == images.dtype
    for image, changed in zip(images.numpy(), result.numpy(), strict=True):
        assert any(np.array_equal(changed, crop) for crop in every_crop(image, 2, mode, flip))


def test_every_crop_and_both_directions_come_up():
    """One image under 2,000 ids gives all 2 x 3 x 3 results, none far from its share."""
    image = pictures(1, 1)
    result = Augmentation(pad=1)(image.expand(2000, -1, -1, -1), torch.arange(2000), 5, 0)
    kinds, counts = np.unique(result.reshape(2000, -1).numpy(), axis=0, return_counts=True)
    assert len(kinds) == 18
    expected = 2000 / 18
    assert ((counts - expected) ** 2 / expected).sum() < 40.8  # chi-square, 17 degrees, 0.1 %


def test_an_example_looks_the_same_in_every_batch():
    images, ids = pictures(30), torch.arange(100, 130)
    augment = Augmentation(pad=2, cutout=3)
    whole = augment(images, ids, 3, 4)
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(images[shuffled], ids[shuffled], 3, 4), whole[shuffled])
    assert torch.equal(augment(images[7:8], ids[7:8], 3, 4), whole[7:8])


def test_seed_epoch_and_id_each_change_the_result():
    images, ids = pictures(1).expand(64, -1, -1, -1), torch.arange(64)
    augment = Augmentation(pad=2)
    results = [
        augment(images, ids + shift, seed, epoch)
        for seed, epoch, shift in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 64)]
    ]
    for i, first in enumerate(results):
        for second in results[i + 1 :]:
            assert (first != second).flatten(1).any(dim=1).sum() > 40
    # Neither may epoch 1 of seed 0 be epoch 0 of seed 1, nor may ids and epochs be exchangeable.
    assert not torch.equal(results[1], results[2])
    assert not torch.equal(augment(images, ids, 0, 3)[5], augment(images, ids, 0, 5)[3]) or not torch.equal(
        augment(images, ids, 0, 4)[9], augment(images, ids, 0, 9)[4]
    )


def test_global_generators_are_neither_read_nor_moved():
    images, ids = pictures(8), torch.arange(8)
    before = torch.get_rng_state()
    first = Augmentation()(images.repeat(1, 1, 2, 2), ids, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(Augmentation()(images.repeat(1, 1, 2, 2), ids, 0, 0), first)


def test_cutout_hides_a_square_of_its_size_clipped_at_the_edges():
    images = torch.full((200, 2, 9, 9), 7, dtype=torch.uint8)
    fill = torch.tensor([1, 2], dtype=torch.uint8)
    result = Augmentation(pad=0, flip=False, cutout=4)(images, torch.arange(200), 0, 0, fill=fill)
    hidden = result[:, 0] == 1
    assert torch.equal(hidden, result[:, 1] == 2)
    for mask in hidden:
        rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
        assert 2 <= len(rows) <= 4 and 2 <= len(columns) <= 4
        assert mask.sum() == len(rows) * len(columns)  # a filled rectangle
    assert (hidden.flatten(1).sum(dim=1) == 16).any()


def test_no_augmentation_leaves_images_alone_and_empty_batches_stay_empty():
    images = pictures(5)
    assert torch.equal(Augmentation(pad=0, flip=False)(images, torch.arange(5), 0, 0), images)
    assert Augmentation()(torch.empty(0, 3, 8, 8), torch.empty(0, dtype=torch.int64), 0, 0).shape == (
        0,
        3,
        8,
        8,
    )


def test_large_and_negative_seeds_and_large_ids_work():
    images, ids = pictures(4), torch.tensor([0, 2**40, 2**62, 2**63 - 1])
    augment = Augmentation(pad=2)
    assert not torch.equal(augment(images, ids, 2**63 + 5, 0), augment(images, ids, -1, 0))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(BadInputError, match="smaller pad"):
        Augmentation(pad=8)(pictures(1), torch.arange(1), 0, 0)
    with pytest.raises(BadInputError, match="pad_mode"):
        Augmentation(pad_mode="edge")
    with pytest.raises(BadInputError, match="negative"):
        Augmentation(pad=-1)


def test_description_holds_every_field():
    assert Augmentation(pad=2, cutout=8).describe() == {
        "pad": 2,
        "flip": True,
        "pad_mode": "reflect",
        "cutout": 8,
    }
