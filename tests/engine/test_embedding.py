"""Embeddings against a forward pass written out, and what scores and rules make of them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.engine import embedding
from datadiet.engine.embedding import Embeddings, embeddings_of, encode
from datadiet.engine.points import load_weights
from datadiet.engine.runs import train_run
from datadiet.engine.setup import prepare
from datadiet.jobs.score import score_with
from tiny_models import bert_config, vit_config

transformers = pytest.importorskip("transformers")


def by_hand(setup, run, step) -> np.ndarray:
    """What the last linear layer of the small network is given, one example at a time, in float64."""
    model, _ = load_weights(setup, run, step)
    *body, _ = [m for m in model.modules() if not list(m.children())]
    rows = []
    for batch in setup.train.epoch(batch_size=1):
        value = batch.inputs
        for layer in body:
            value = layer(value)
        rows.append(value[0].detach().double().numpy())
    return np.stack(rows)


def test_embeddings_are_the_input_of_the_last_linear_layer_by_id(tiny) -> None:
    step = tiny.step_of(2)
    run = train_run(tiny, 0, record=True, until=step, weights_at=[step])
    found = embeddings_of(tiny, run, step)
    values, weights = found.values, run.weights(step)[1]["hash"]
    np.testing.assert_allclose(values, by_hand(tiny, run, step), rtol=1e-5, atol=1e-6)
    assert found.about["weights"] == weights and found.about["fingerprint"] == tiny.examples.fingerprint
    ids = tiny.examples.train.ids[[5, 2]]
    np.testing.assert_array_equal(found.of(ids), values[[5, 2]])


def test_embeddings_do_not_depend_on_the_batch_size(vectors, tiny_recipe, tmp_path) -> None:
    found = []
    setup = prepare(vectors, tiny_recipe, workspace=tmp_path / "runs", device="cpu")
    step = setup.step_of(1)
    run = train_run(setup, 0, record=True, until=step, weights_at=[step])
    for size in (4, 64):
        setup.recipe = tiny_recipe.replace(batch_size=size)
        run.folder.points_path(step, "embeddings").unlink(missing_ok=True)
        found.append(embeddings_of(setup, run, step).values)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_a_model_without_a_linear_head_is_refused_with_what_to_do(tiny) -> None:
    class CutOff(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.more = torch.nn.Linear(3, 5)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.more(self.inner(inputs))[:, :3]

    with pytest.raises(dd.BadInputError, match="does not end in one linear layer"):
        embedding._penultimate(tiny, CutOff(tiny.build(0)))


def test_scores_of_embeddings_join_the_table_with_the_weights_they_came_from(tiny) -> None:
    scoring = score_with(tiny, ["centre_distance", "prototype_distance", "el2n"], seeds=2, at_epoch=2)
    labels = tiny.examples.train.labels
    for index, run in enumerate(scoring.runs):
        values = by_hand(tiny, run, tiny.step_of(2))
        centres = np.stack([values[labels == label].mean(0) for label in labels])
        expected = np.linalg.norm(values - centres, axis=1)
        np.testing.assert_allclose(
            scoring.table.per_seed["centre_distance"][index], expected, rtol=1e-4, atol=1e-5
        )
    entry = scoring.table.provenance["scores"]["prototype_distance"]
    assert entry["weights"] == scoring.table.provenance["scores"]["el2n"]["weights"]
    assert entry["embeddings"] == "input of the last linear layer"


def test_a_file_of_embeddings_comes_back_and_serves_a_rule(vectors, tiny_recipe, tmp_path) -> None:
    path = tmp_path / "embeddings.safetensors"
    table = dd.score(
        vectors, tiny_recipe, ["el2n"], seeds=1, at_epoch=1, workspace=tmp_path / "runs", embeddings=path
    )
    read = Embeddings.read(path)
    kept = dd.keep(table, 0.3, by="el2n", rule="kcenter", embeddings=path)
    same = dd.keep(table, 0.3, by="el2n", rule="kcenter", embeddings=read.values)
    np.testing.assert_array_equal(kept, same)
    np.save(tmp_path / "mine.npy", read.values)
    np.testing.assert_array_equal(
        kept, dd.keep(table, 0.3, by="el2n", rule="kcenter", embeddings=tmp_path / "mine.npy")
    )
    with pytest.raises(dd.BadInputError, match="needs embeddings"):
        dd.keep(table, 0.3, by="el2n", rule="kcenter")


def test_embeddings_of_other_data_are_refused(vectors, tiny_recipe, tmp_path) -> None:
    table = dd.score(vectors, tiny_recipe, ["el2n"], seeds=1, at_epoch=1, workspace=tmp_path / "runs")
    other = Embeddings(table.ids, np.ones((len(table), 2), np.float32), {"fingerprint": "other"})
    with pytest.raises(dd.BadInputError, match="other data"):
        dd.keep(table, 0.3, rule="herding", embeddings=other)
    fewer = Embeddings(table.ids[:-1], np.ones((len(table) - 1, 2), np.float32), {})
    with pytest.raises(dd.BadInputError, match="1 examples have no embedding"):
        dd.keep(table, 0.3, rule="herding", embeddings=fewer)
    np.save(tmp_path / "short.npy", np.ones((3, 2)))
    with pytest.raises(dd.BadInputError, match="it must be"):
        dd.keep(table, 0.3, rule="herding", embeddings=tmp_path / "short.npy")
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    with pytest.raises(dd.BadInputError, match="holds no embeddings"):
        dd.keep(table, 0.3, rule="herding", embeddings=tmp_path / "broken.safetensors")


def test_the_rule_dual_takes_its_score_and_the_confidence_from_the_table(
    vectors, tiny_recipe, tmp_path
) -> None:
    table = dd.score(
        vectors, tiny_recipe, ["dual", "confidence", "el2n"], seeds=1, at_epoch=4, workspace=tmp_path / "runs"
    )
    kept = dd.keep(table, 0.4, rule="dual", seed=5)
    expected = dd.select(
        table.ids,
        table.column("dual"),
        0.4,
        rule="dual",
        labels=table.labels,
        extra={"confidence": table.column("confidence")},
        seed=5,
    )
    np.testing.assert_array_equal(kept, expected)
    less = dd.score(vectors, tiny_recipe, ["dual"], seeds=1, at_epoch=4, workspace=tmp_path / "runs")
    with pytest.raises(dd.BadInputError, match="'confidence'"):
        dd.keep(less, 0.4, rule="dual")


def test_run_chooses_by_a_rule_that_needs_embeddings(vectors, tiny_recipe, tmp_path) -> None:
    verdict = dd.run(
        vectors,
        recipe=tiny_recipe,
        keep=[0.5],
        rule="herding",
        seeds=1,
        at_epoch=1,
        workspace=tmp_path / "runs",
        out=tmp_path / "out",
    )
    rules = {subset["rule"] for subset in verdict.data["subsets"]}
    assert rules == {"herding", "random"}


def test_an_encoder_gives_mean_pooled_texts_whatever_the_padding(tmp_path) -> None:
    folder = str(tmp_path / "encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "day", "film", "a", "very"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(folder)
    config = bert_config(vocab_size=10, intermediate_size=32)
    encoder = transformers.BertModel(config).eval()
    encoder.save_pretrained(folder)
    texts = [
        "a good day",
        "bad",
        "a very very bad film",
        "good film",
        "a day",
        "very good",
        "bad day",
        "film",
    ]
    examples = dd.load((texts, [1, 0, 0, 1, 1, 1, 0, 0]), test_fraction=0.25)
    setup = prepare(examples, "fast", workspace=tmp_path / "runs", device="cpu")
    found = encode(setup, folder)
    # Read back as it is; an encoder trained anew in the same folder is another one.
    np.testing.assert_array_equal(encode(setup, folder), found)
    other = transformers.BertModel(config).eval()
    other.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    assert np.abs(encode(setup, folder) - found).max() > 1e-3
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    column = examples.train.dataset[examples.input_columns[0]]
    for text, vector in zip(column, found, strict=True):
        alone = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            hidden = encoder(**alone).last_hidden_state[0]
        np.testing.assert_allclose(vector, hidden.mean(0).numpy(), rtol=1e-4, atol=1e-5)


def test_an_encoder_takes_grey_images_of_another_size(tmp_path) -> None:
    folder = str(tmp_path / "encoder")
    config = vit_config()
    transformers.ViTModel(config).save_pretrained(folder)
    pictures = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
    from PIL import Image

    for index, picture in enumerate(pictures):
        place = tmp_path / "images" / ("ab"[index % 2])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{index}.png")
    examples = dd.load(str(tmp_path / "images"), test_fraction=0.25)
    setup = prepare(examples, "fast", workspace=tmp_path / "runs", device="cpu", overrides={"epochs": 1})
    found = encode(setup, folder)
    assert found.shape == (len(examples.train), 16) and np.isfinite(found).all()
    assert len(np.unique(found.round(5), axis=0)) == len(found)


def test_vectors_have_no_encoder(tiny) -> None:
    with pytest.raises(dd.BadInputError, match="need no encoder"):
        encode(tiny, "anything")
