"""Recipe files of any content: a recipe or one sentence that names the file."""

from __future__ import annotations

import pytest
import yaml

from datadiet.engine.training.recipe import Recipe, named_recipe
from datadiet.foundation.errors import BadInputError
from mutations import ODD, altered, check_each, damaged

FIELDS = Recipe(model_options={"width": 16}, milestones=(0.5,)).to_dict()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"- 1", b"3: 4", b"\xff\xfe", b"lr: !!python/object:os.system {}", b"lr: 1\nlr: 2", b"lr: &a [*a]",
        b"lr: " + b"[" * 100_000, b"lr: .nan", b"lr: .inf", b"epochs: 1" + b"0" * 400, b"batch_size: 2.5",
        b"batch_size: 1" + b"0" * 30, b"weight_decay: .nan", b"decay: .inf", b"crop_pad: .inf", b"model: 3",
        b"model_options: {1: 2}", b"milestones: [.nan]", b"milestones: 0.5", b"flip: 1", b"epochs: 2020-01-01",
        b"base: me.yaml", b"base: [1]", b"optimizer: [sgd]", b"name: null", b"bogus: 1",
    ],
)  # fmt: skip
def test_files_that_are_no_recipe(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.yaml").write_bytes(content)
    with pytest.raises(BadInputError) as refused:
        named_recipe("me.yaml")
    assert ("me.yaml" in str(refused.value) or content == b"base: [1]") and len(str(refused.value)) < 500


def test_a_recipe_may_stand_on_another_file_but_not_on_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("base: b.yaml\nlr: 0.3\n")
    (tmp_path / "b.yaml").write_text("base: paper\nepochs: 7\n")
    found = named_recipe("a.yaml")
    assert (found.lr, found.epochs, found.batch_size) == (0.3, 7.0, named_recipe("paper").batch_size)
    (tmp_path / "b.yaml").write_text("base: ./a.yaml\n")
    with pytest.raises(BadInputError, match=r"a\.yaml' has itself as its base"):
        named_recipe("a.yaml")


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_takes_what_it_is_meant_to_hold_or_says_so(field):
    for value in ODD:
        try:
            found = Recipe().replace(**{field: value})
        except BadInputError as error:
            assert str(error).startswith("recipe: ")
        else:
            assert yaml.safe_load(yaml.safe_dump(found.to_dict()))


def check_files(tmp_path, count):
    path = tmp_path / "recipe.yaml"

    def read(form):
        path.write_bytes(form if isinstance(form, bytes) else yaml.safe_dump(form).encode())
        return Recipe.from_yaml(path)

    check_each(damaged(yaml.safe_dump(FIELDS).encode(), count, seed=1), read)
    check_each(altered(FIELDS, count, seed=2), read)


def test_damaged_files(tmp_path):
    check_files(tmp_path, 40)


@pytest.mark.slow
def test_files_damaged_in_two_thousand_ways(tmp_path):
    check_files(tmp_path, 2000)
