"""Recipes: named, adapted, read and written, refused."""

import pytest

import datadiet as dd
from datadiet.engine.training.recipe import Recipe, fast_for, named_recipe


def test_the_paper_recipe_trains_cifar10_for_78000_steps() -> None:
    assert named_recipe("paper").total_steps(50_000) == 78_000


def test_a_subset_trains_for_the_full_number_of_steps_by_default() -> None:
    recipe = Recipe(epochs=10, batch_size=100)
    assert recipe.total_steps(500, full_size=1_000) == recipe.total_steps(1_000) == 100


def test_a_subset_trains_for_the_full_number_of_epochs_when_asked() -> None:
    recipe = Recipe(epochs=10, batch_size=100, budget="epochs")
    assert recipe.total_steps(500, full_size=1_000) == 50


def test_a_length_in_steps_shrinks_with_the_subset_under_the_epoch_budget() -> None:
    recipe = Recipe(epochs=None, steps=100, batch_size=100, budget="epochs")
    assert recipe.total_steps(1_000, full_size=1_000) == 100
    assert recipe.total_steps(500, full_size=1_000) == 50


def test_the_last_smaller_batch_counts_unless_it_is_dropped() -> None:
    assert Recipe(batch_size=100).steps_per_epoch(250) == 3
    assert Recipe(batch_size=100, drop_last=True).steps_per_epoch(250) == 2
    assert Recipe(batch_size=100, drop_last=True).steps_per_epoch(30) == 1


def test_a_recipe_survives_yaml(tmp_path) -> None:
    recipe = named_recipe("paper").replace(model_options={"width": 16}, lr=0.05)
    recipe.to_yaml(tmp_path / "recipe.yaml")
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == recipe


def test_a_yaml_recipe_may_build_on_a_named_one(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("base: paper\nlr: 0.05\nsteps: 100\n")
    recipe = named_recipe(str(tmp_path / "mine.yaml"))
    assert (recipe.lr, recipe.steps, recipe.epochs, recipe.momentum) == (0.05, 100, None, 0.9)
    assert recipe.name == "mine"


def test_small_data_sees_more_epochs_of_smaller_batches() -> None:
    small, large = fast_for("image", 1_500, pretrained=False), fast_for("image", 50_000, pretrained=False)
    assert (large.epochs, large.batch_size, large.lr) == (10, 256, 0.4)
    assert (
        small.batch_size < large.batch_size and fast_for("image", 300, pretrained=False).epochs > large.epochs
    )
    assert small.total_steps(1_500) >= 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": -1}, "above 0"),
        ({"epochs": 0}, "above 0"),
        ({"epochs": None}, "epochs or in steps"),
        ({"epochs": 1, "steps": 5}, "not both"),
        ({"optimizer": "lion"}, "sgd, adamw"),
        ({"budget": "hours"}, "steps, epochs"),
        ({"warmup": 1.0}, r"\[0, 1\)"),
        ({"milestones": (0.5, 1.5)}, "between 0 and 1"),
        ({"learning_rate": 0.1}, "no field 'learning_rate'"),
        ({"momentun": 0.9}, "Did you mean 'momentum'"),
    ],
)
def test_a_bad_field_is_refused_with_what_to_do(change, words) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        Recipe().replace(**change)


@pytest.mark.parametrize("text", ["[1, 2]", "lr: [", "nonsense: 1"])
def test_a_bad_recipe_file_is_refused(tmp_path, text) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(dd.BadInputError):
        named_recipe(str(tmp_path / "bad.yaml"))


def test_fields_that_joined_later_leave_the_addresses_of_runs_as_they_were() -> None:
    first = {
        "name", "model", "model_options", "epochs", "steps", "batch_size", "drop_last", "optimizer", "lr",
        "momentum", "nesterov", "weight_decay", "schedule", "warmup", "milestones", "decay", "label_smoothing",
        "crop_pad", "flip", "cutout", "max_length", "precision", "memory_format", "budget", "score_epoch",
    }  # fmt: skip
    assert set(Recipe().described()) == set(named_recipe("paper").described()) == first
    assert set(Recipe(clip_norm=2.0).described()) == first | {"clip_norm"}
    later = {"decay_norms_and_biases", "clip_norm", "bucket_by_length"}
    assert set(named_recipe("finetune").described()) == first | later
    assert set(Recipe().to_dict()) >= first | later  # what a recipe file and a table say is whole
