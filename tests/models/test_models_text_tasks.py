"""Models of words, label sets and numbers: from folders of transformers, and tiny-bert from a configuration."""

from __future__ import annotations

import warnings

import pytest
import torch

import datadiet as dd
from datadiet.models import ModelContext, build_model, check_vocabulary
from datadiet.models.pretrained import IntentSlotModel

transformers = pytest.importorskip("transformers")

TASKS = {
    "classification": (4, 5),
    "multilabel": (4, 5),
    "regression": (4, 1),
    "token_classification": (4, 7, 3),
    "intent_slots": {"intent": (4, 5), "slots": (4, 7, 3)},
}
SMALL = {"vocab_size": 40, "num_attention_heads": 2, "num_hidden_layers": 1}
ENCODERS = {
    "bert": lambda: transformers.BertModel(
        transformers.BertConfig(hidden_size=16, intermediate_size=32, hidden_dropout_prob=0.3, **SMALL)
    ),
    "distilbert": lambda: transformers.DistilBertModel(
        transformers.DistilBertConfig(vocab_size=40, dim=16, n_heads=2, n_layers=1, hidden_dim=32)
    ),
    "roberta": lambda: transformers.RobertaModel(
        transformers.RobertaConfig(hidden_size=16, intermediate_size=32, pad_token_id=1, **SMALL)
    ),
    "electra": lambda: transformers.ElectraModel(
        transformers.ElectraConfig(hidden_size=16, embedding_size=8, intermediate_size=32, **SMALL)
    ),
    "albert": lambda: transformers.AlbertModel(
        transformers.AlbertConfig(hidden_size=16, embedding_size=8, intermediate_size=32, **SMALL)
    ),
    "gpt2": lambda: transformers.GPT2Model(
        transformers.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1)
    ),
    "llama": lambda: transformers.LlamaModel(
        transformers.LlamaConfig(hidden_size=16, intermediate_size=32, **SMALL)
    ),
}
LOOK_BACK = ("gpt2", "llama")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    found = {}
    for name, make in ENCODERS.items():
        folder = tmp_path_factory.mktemp(name)
        make().save_pretrained(folder)
        found[name] = str(folder)
    return found


def context_of(task: str) -> ModelContext:
    return ModelContext(
        "text",
        5,
        (),
        40,
        task=task,
        num_tags=3,
        num_outputs=1 if task == "regression" else 0,
        padding_token=0,
    )


def tokens(lengths: tuple[int, ...] = (7, 4, 7, 2), width: int = 7) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(2, 40, (len(lengths), width), generator=generator)
    return {"input_ids": torch.where(mask > 0, ids, 0), "attention_mask": mask}


def shapes(outputs):
    return (
        {k: tuple(v.shape) for k, v in outputs.items()} if isinstance(outputs, dict) else tuple(outputs.shape)
    )


@pytest.mark.parametrize("task", TASKS)
def test_tiny_bert_puts_out_what_every_task_needs_and_every_weight_takes_part(task) -> None:
    model = build_model("tiny-bert", context_of(task), {"hidden": 16, "layers": 1})
    outputs = model(tokens())
    assert shapes(outputs) == TASKS[task]
    sum(o.sum() for o in (outputs.values() if isinstance(outputs, dict) else [outputs])).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ENCODERS)
def test_a_folder_gives_what_every_task_needs(folders, name, task) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build_model(folders[name], context_of(task))
    assert shapes(model(tokens())) == TASKS[task]


@pytest.mark.parametrize("name", ENCODERS)
def test_the_joint_model_has_the_folders_encoder_and_two_fresh_heads(folders, name) -> None:
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(build_model(folders[name], context_of("intent_slots")))
    stored = transformers.AutoModel.from_pretrained(folders[name]).state_dict()
    bodies = [model.encoder.state_dict() for model in models]
    assert len(bodies[0]) > 5
    assert all(torch.equal(body[key], stored[key]) for body in bodies for key in body)
    assert not torch.equal(models[0].intent_head.weight, models[1].intent_head.weight)
    assert not torch.equal(models[0].slot_head.weight, models[1].slot_head.weight)


def test_the_intent_is_read_from_the_first_token_and_tags_from_each(folders) -> None:
    model = build_model(folders["bert"], context_of("intent_slots")).eval()
    outputs, hidden = model(tokens()), model.encoder(**tokens()).last_hidden_state
    torch.testing.assert_close(outputs["intent"], model.intent_head(hidden[:, 0]))
    torch.testing.assert_close(outputs["slots"][2, 5], model.slot_head(hidden[2, 5]))


@pytest.mark.parametrize("name", ENCODERS)
def test_the_intent_knows_the_whole_text_and_nothing_of_the_padding(folders, name) -> None:
    model = build_model(folders[name], context_of("intent_slots")).eval()
    assert model.causal == (name in LOOK_BACK)
    batch = tokens()
    alone = model({key: value[1:2, :4] for key, value in batch.items()})
    torch.testing.assert_close(model(batch)["intent"][1:2], alone["intent"], rtol=1e-4, atol=1e-5)
    for place in range(4):
        changed = batch["input_ids"].clone()
        changed[1, place] = (changed[1, place] + 1) % 40
        other = model({**batch, "input_ids": changed})["intent"]
        assert not torch.allclose(other[1], alone["intent"][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(other[0], model(batch)["intent"][0])


@pytest.mark.parametrize("name", LOOK_BACK)
def test_classifiers_that_only_look_back_are_told_what_padding_is(folders, name) -> None:
    model = build_model(folders[name], context_of("classification")).eval()
    batch = tokens()
    alone = model({key: value[1:2, :4] for key, value in batch.items()})
    torch.testing.assert_close(model(batch)[1:2], alone, rtol=1e-4, atol=1e-5)


def test_trying_an_encoder_leaves_it_in_its_mode(folders) -> None:
    encoder = transformers.AutoModel.from_pretrained(folders["gpt2"])
    for mode in (True, False):
        assert IntentSlotModel(encoder.train(mode), 2, 2).encoder.training is mode


def test_dropout_before_the_heads_is_the_configurations(folders) -> None:
    assert build_model(folders["bert"], context_of("intent_slots")).dropout.p == 0.3
    assert build_model(folders["distilbert"], context_of("intent_slots")).dropout.p == 0.2
    changed = build_model(folders["bert"], context_of("intent_slots"), {"classifier_dropout": 0.05})
    assert changed.dropout.p == 0.05
    assert build_model("tiny-bert", context_of("intent_slots"), {"dropout": 0.0}).dropout.p == 0.0


@pytest.mark.parametrize("task", TASKS)
def test_padding_changes_no_output(task) -> None:
    model = build_model("tiny-bert", context_of(task), {"hidden": 16}).eval()
    short = tokens()
    long = {key: torch.cat([value, value.new_zeros(4, 5)], dim=1) for key, value in short.items()}
    with torch.no_grad():
        a, b = model(short), model(long)
    a, b = (x if isinstance(x, dict) else {"only": x} for x in (a, b))
    for key in a:
        there = b[key][:, :7] if a[key].ndim == 3 else b[key]
        torch.testing.assert_close(there, a[key], rtol=1e-5, atol=1e-6)


def test_tiny_bert_is_as_large_as_its_options_say_and_the_same_for_the_same_seed() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(build_model("tiny-bert", context_of("intent_slots"), {"layers": 3, "hidden": 32}))
    first, second = (model.state_dict() for model in weights)
    assert all(torch.equal(first[key], second[key]) for key in first)
    config = weights[0].encoder.config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (3, 32, 128)
    assert isinstance(weights[0], IntentSlotModel)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"hidden": 30, "heads": 4}, "multiple of its 4 heads"), ({"depth": 2}, "could not be built")],
)
def test_options_of_tiny_bert_that_do_not_fit_are_one_sentence(options, words) -> None:
    with pytest.raises(dd.BadInputError, match=words):
        build_model("tiny-bert", context_of("classification"), options)


def test_tiny_bert_without_a_vocabulary_is_refused() -> None:
    with pytest.raises(dd.BadInputError, match="vocabulary"):
        build_model("tiny-bert", ModelContext("text", 2))


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_without_a_model_is_one_sentence_for_every_task(tmp_path, task) -> None:
    with pytest.raises(dd.BadInputError, match=r"The folder .*save_pretrained") as raised:
        build_model(str(tmp_path), context_of(task))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("task", TASKS)
def test_a_hub_id_that_cannot_be_reached_is_one_sentence_for_every_task(monkeypatch, task) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(dd.BadInputError, match="The hub id 'owner/no-such-model'") as raised:
        build_model("owner/no-such-model", context_of(task))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("task", TASKS)
def test_options_that_the_folders_model_refuses_are_one_sentence(folders, task) -> None:
    with pytest.raises(dd.BadInputError, match=r"with the options.*no_such_option"):
        build_model(folders["bert"], context_of(task), {"no_such_option": 3})


def test_words_of_images_are_refused(folders) -> None:
    with pytest.raises(dd.BadInputError, match="is for texts"):
        build_model(folders["bert"], ModelContext("image", 5, (3, 8, 8), task="intent_slots", num_tags=3))


@pytest.mark.parametrize("task", TASKS)
def test_a_tokenizer_larger_than_the_table_of_embeddings_does_not_match(folders, task) -> None:
    for name in ("bert", "distilbert"):
        model = build_model(folders[name], context_of(task))
        check_vocabulary(model, 40)
        check_vocabulary(model, 39)
        with pytest.raises(dd.BadInputError, match="a tokenizer that does not match"):
            check_vocabulary(model, 41)


def test_models_without_a_table_of_tokens_pass_the_check_of_the_vocabulary() -> None:
    check_vocabulary(build_model("mlp", ModelContext("vector", 2, (3,))), 1_000)
