"""Image folders and image columns of every mode, size and form."""

import io
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import datadiet.data as dd
from datadiet.data.columns.images import decode, native_shape, open_image, to_array
from datadiet.foundation.errors import BadInputError


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def stored(part, shape):
    return dd.ImageEncoding(*shape, (0.5,) * shape[0], (0.5,) * shape[0]).encode_all(part).values.numpy()


def test_an_image_folder_has_its_parts_classes_and_pixels(image_folder, pictures):
    examples = dd.load(image_folder)
    assert (examples.name, examples.kind, examples.image_shape) == ("insects", "image", (3, 8, 6))
    assert examples.class_names == ("ant", "bee") and examples.holdout_seed is None
    assert examples.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # sorted by path: all ants, then all bees
    assert np.array_equal(stored(examples.train, (3, 8, 6)), np.moveaxis(pictures[order], -1, 1))
    assert np.array_equal(stored(examples.test, (3, 8, 6)), np.moveaxis(pictures[[8, 10, 9, 11]], -1, 1))
    assert isinstance(examples.train.dataset[0]["image"], Image.Image)


def test_a_folder_of_classes_alone_is_held_out(image_folder):
    examples = dd.load(image_folder / "train", test_fraction=0.25)
    assert len(examples.test) == 2 and examples.holdout_seed == 0


def test_held_out_images_are_still_images(image_folder):
    assert isinstance(dd.load(image_folder / "train").test.dataset[0]["image"], Image.Image)


def test_numbered_class_folders_are_in_numeric_order(tmp_path, pictures):
    for index, picture in enumerate(pictures):
        path = tmp_path / str([2, 10, 1][index % 3]) / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    assert dd.load(tmp_path).class_names == ("1", "2", "10")


def test_other_files_and_empty_class_folders_are_told(image_folder):
    (image_folder / "train" / "ant" / "notes.txt").write_text("x")
    (image_folder / "train" / "wasp").mkdir()
    notes = dd.load(image_folder).notes
    assert any("1 of 13 files" in note and "not used: 'train/ant/notes.txt'" in note for note in notes)
    assert any("'wasp'" in note for note in notes)


def test_hostile_class_names_are_only_data(tmp_path, pictures):
    hostile = "<script>alert(1)"
    for index, picture in enumerate(pictures):
        path = tmp_path / [hostile, "a ..\\..\u202e"][index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    assert dd.load(tmp_path).class_names == (hostile, "a ..\\..\u202e")


def test_the_same_images_have_the_same_fingerprint_from_everywhere(image_folder, tmp_path):
    reference = dd.load(image_folder)
    shutil.copytree(image_folder, tmp_path / "copy")
    assert dd.load(tmp_path / "copy").fingerprint == reference.fingerprint
    for part in ("train", "test"):
        files = sorted((image_folder / part).rglob("*.png"))
        rows = {
            "image": [{"bytes": f.read_bytes(), "path": None} for f in files],
            "label": [f.parent.name for f in files],
        }
        (tmp_path / "parquet").mkdir(exist_ok=True)
        pq.write_table(pa.table(rows), tmp_path / "parquet" / f"{part}.parquet")
        (tmp_path / "csv").mkdir(exist_ok=True)
        shutil.copytree(image_folder / part, tmp_path / "csv" / part)
        lines = [f"{part}/{f.parent.name}/{f.name},{f.parent.name}\n" for f in files]
        (tmp_path / "csv" / f"{part}.csv").write_text("file_name,label\n" + "".join(lines))
    assert dd.load(tmp_path / "parquet").fingerprint == reference.fingerprint
    assert dd.load(tmp_path / "csv").fingerprint == reference.fingerprint


def test_nested_lists_are_images(pictures):
    rows = datasets.Dataset.from_dict({"pixel_values": pictures.tolist(), "label": [0, 1] * 6})
    examples = dd.load(rows, test=rows)
    assert np.array_equal(stored(examples.train, (3, 8, 6)), np.moveaxis(pictures, -1, 1))


def test_binary_columns_with_an_image_name_are_images(pictures):
    contents = [encoded(Image.fromarray(picture))["bytes"] for picture in pictures]
    rows = pa.table({"img": contents, "label": [0, 1] * 6})
    assert np.array_equal(stored(dd.load(rows, test=rows).train, (3, 8, 6)), np.moveaxis(pictures, -1, 1))


GREY = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(8, 6) * 5)
MODES = {
    "1": GREY.convert("1"),
    "L": GREY,
    "LA": GREY.convert("LA"),
    "P": Image.fromarray(np.arange(144, dtype=np.uint8).reshape(8, 6, 3)).convert("P"),
    "RGB": Image.fromarray(np.arange(144, dtype=np.uint8).reshape(8, 6, 3)),
    "RGBA": Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 6, 4)),
    "I;16": Image.fromarray((np.arange(48).reshape(8, 6) * 1300).astype(np.uint16)),
}


@pytest.mark.parametrize("mode", list(MODES))
def test_images_of_every_mode_are_decoded_by_the_rules(mode):
    image = open_image(encoded(MODES[mode])["bytes"])
    grey = mode in ("1", "L", "LA", "I;16")
    assert native_shape(image) == (1 if grey else 3, 8, 6)
    found = to_array(image)
    if mode == "I;16":
        expected = ((np.arange(48).reshape(8, 6, 1) * 1300) // 256).astype(np.uint8)
    elif mode == "RGBA":
        source = np.arange(192).reshape(8, 6, 4) / 255
        expected = 255 * (source[..., :3] * source[..., 3:] + 1 - source[..., 3:])
    else:
        expected = np.asarray(MODES[mode].convert("L" if grey else "RGB")).reshape(8, 6, -1)
    assert np.abs(found - expected.astype(float)).max() <= (1 if mode == "RGBA" else 0)


def test_cmyk_jpegs_and_turned_photographs(tmp_path):
    cmyk = Image.new("CMYK", (6, 8), (0, 255, 255, 0))
    red = to_array(open_image(encoded(cmyk, "JPEG")["bytes"]))
    assert red.shape == (8, 6, 3) and red[..., 0].min() > 200 and red[..., 1:].max() < 60
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = open_image(encoded(MODES["RGB"], "JPEG", exif=exif.tobytes())["bytes"])
    assert native_shape(turned) == (3, 6, 8)


def test_transparent_palette_images_lie_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putdata([0, 1])
    found = to_array(open_image(encoded(image, transparency=0)["bytes"]))
    assert found.tolist() == [[[255, 255, 255], [10, 20, 30]]]


def rows_of(images):
    return datasets.Dataset.from_dict(
        {"image": [encoded(i) for i in images], "label": [0, 1] * (len(images) // 2)}
    )


def test_grey_images_among_coloured_ones_get_three_channels():
    rows = rows_of([GREY, MODES["RGB"], GREY, MODES["RGBA"]])
    examples = dd.load(rows, test=rows)
    assert examples.image_shape == (3, 8, 6)
    assert any("three channels" in note for note in examples.notes)
    first = stored(examples.train, (3, 8, 6))[0]
    assert (first == np.asarray(GREY)).all()


def test_mixed_sizes_are_resized_and_said_so():
    rows = rows_of([GREY, GREY.resize((10, 10)), GREY, GREY])
    examples = dd.load(rows, test=rows)
    assert examples.image_shape == (1, 64, 64)
    assert any("2 sizes" in note and "64x64" in note for note in examples.notes)
    asked = dd.load(rows, test=rows, image_size=16)
    assert asked.image_shape == (1, 16, 16)
    expected = np.asarray(GREY.resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(stored(asked.train, (1, 16, 16))[0, 0], expected)
    assert len(stored(asked.train, (1, 5, 5))) == 4  # another size than the one that is held


def test_a_test_part_of_another_size_counts_too():
    examples = dd.load(rows_of([GREY] * 4), test=rows_of([GREY.resize((10, 10))] * 2))
    assert examples.image_shape == (1, 64, 64)


@pytest.mark.parametrize("limit", [None, 0])
def test_images_over_the_memory_limit_give_the_same_examples(image_folder, limit):
    examples = dd.load(image_folder, memory_limit=limit)
    assert bool(examples.train.decoded) == (limit is None)
    assert any("headers" in note for note in examples.notes) == (limit == 0)
    assert examples.fingerprint == dd.load(image_folder).fingerprint
    assert dd.ImageEncoding.fit(examples) == dd.ImageEncoding.fit(dd.load(image_folder))


def break_image(folder, kind):
    path = folder / "train" / "ant" / "02.png"  # row 1
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "no image":
        path.write_text("hello")
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("kind", ["truncated", "no image", "empty"])
def test_a_corrupt_image_is_named_or_left_out(image_folder, kind):
    break_image(image_folder, kind)
    with pytest.raises(
        BadInputError, match=r"Row 1 of the train rows.*image cannot be decoded.*on-bad-example skip"
    ):
        dd.load(image_folder)
    for limit in (None, 0):
        examples = dd.load(image_folder, on_bad_example="skip", memory_limit=limit)
        assert examples.left_out == (1,) and examples.left_out_test == ()
        assert examples.train.ids.tolist() == [0, 2, 3, 4, 5, 6, 7]
        assert examples.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
        assert len(stored(examples.train, (3, 8, 6))) == 7
        assert any("1 bad row of the train rows is left out" in note for note in examples.notes)


def test_a_truncated_image_beyond_the_limit_is_named_when_it_is_used(image_folder):
    break_image(image_folder, "truncated")
    examples = dd.load(image_folder, memory_limit=0)
    with pytest.raises(BadInputError, match=r"image of id 1 .*cannot be decoded"):
        stored(examples.train, (3, 8, 6))


def test_a_missing_image_file_is_a_bad_row(tmp_path, pictures):
    lines = ["file_name,label\n"]
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,{index % 2}\n")
    (tmp_path / "5.png").unlink()
    (tmp_path / "list.csv").write_text("".join(lines))
    with pytest.raises(BadInputError, match=r"Row 5 .*No such file"):
        dd.load(tmp_path / "list.csv")
    assert dd.load(tmp_path / "list.csv", on_bad_example="skip").left_out == (5,)


def test_decoding_reports_failures_and_shapes():
    good, other = encoded(GREY), encoded(GREY.resize((3, 3)))
    pixels, failed, shapes = decode([good, None, {"bytes": b"??", "path": None}, other], (1, 8, 6))
    assert pixels.shape == (4, 1, 8, 6) and set(failed) == {1, 2} and failed[1] == "there is no image"
    assert shapes == {(1, 8, 6): 1, (1, 3, 3): 1}
    assert not pixels[1:3].any()
