"""Tags stand on the first sub-token of each word, whatever the tokenizer, and nowhere else."""

import pickle

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import datadiet.data as dd
from datadiet.foundation.errors import BadInputError

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers  # noqa: E402

TEXTS = ["fly to newyork", "o'hare to rome ,it", "rain", "unbelievable prices from baltimore to rome"]
TAGS = [[0, 1, 2], [3, 0, 2, 0], [1], [0, 0, 0, 2, 0, 2]]
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "fly",
    "to",
    "new",
    "##york",
    "o",
    "'",
    "hare",
    "rome",
    ",",
    "it",
]
LETTERS = sorted(set("".join(TEXTS)) - {" "})


def fast(tokenizer, special=False):
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


def word_piece():
    tokenizer = Tokenizer(
        models.WordPiece({piece: index for index, piece in enumerate(PIECES)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return fast(tokenizer, special=True)


def trained(model, trainer, pre_tokenizer, special=True):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(TEXTS, trainer)
    return fast(tokenizer, special)


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def byte_level():
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))


def unigram():
    trainer = trainers.UnigramTrainer(
        vocab_size=45, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
    )
    return trained(models.Unigram(), trainer, pre_tokenizers.Metaspace())


def word_level():
    trainer = trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False)
    return trained(models.WordLevel(unk_token="[UNK]"), trainer, pre_tokenizers.Whitespace(), special=False)


TOKENIZERS = {f.__name__: f for f in (word_piece, byte_level, unigram, word_level)}


def part_of(texts=TEXTS, tags=TAGS, task="token_classification"):
    rows = datasets.Dataset.from_dict({"text": texts})
    offsets = np.cumsum([0, *map(len, tags)])
    targets = dd.TargetRows(task, np.concatenate([np.asarray(t) for t in tags]), offsets)
    n = len(texts)
    return dd.Part(rows, np.arange(n), np.arange(n) % 2, ("text",), "text", targets=targets)


def test_a_worked_example_of_word_pieces():
    encoding = dd.TokenEncoding(word_piece(), words=True)
    (batch,) = dd.open_store(part_of(TEXTS[:2], TAGS[:2]), encoding).epoch(batch_size=2)
    assert batch.inputs["input_ids"].tolist() == [
        [2, 4, 5, 6, 7, 3, 0, 0, 0],  # [CLS] fly to new ##york [SEP]
        [2, 8, 9, 10, 5, 11, 12, 13, 3],  # [CLS] o ' hare to rome , it [SEP]
    ]
    n = dd.IGNORED
    assert batch.targets.tolist() == [[n, 0, 1, 2, n, n, n, n, n], [n, 3, n, n, 0, 2, 0, n, n]]
    assert set(batch.inputs) <= {"input_ids", "attention_mask", "token_type_ids"}


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_first_tokens_are_those_of_words_tokenised_one_by_one(name):
    tokenizer = TOKENIZERS[name]()
    encoding = dd.TokenEncoding(tokenizer, words=True, max_length=60)
    (batch,) = dd.open_store(part_of(), encoding).epoch(batch_size=4)
    space = " " if name == "byte_level" else ""
    for row, (text, tags) in enumerate(zip(TEXTS, TAGS, strict=True)):
        ids, expected = [], []
        for word, tag in zip(text.split(), tags, strict=True):
            pieces = tokenizer(space + word, add_special_tokens=False)["input_ids"]
            ids += pieces
            expected += [tag] + [dd.IGNORED] * (len(pieces) - 1)
        if name != "word_level":
            ids, expected = [2, *ids, 3], [dd.IGNORED, *expected, dd.IGNORED]
        length = len(ids)
        assert batch.inputs["input_ids"][row, :length].tolist() == ids
        assert batch.targets[row, :length].tolist() == expected
        assert (batch.targets[row, length:] == dd.IGNORED).all()
        assert batch.inputs["attention_mask"][row].sum() == length


def test_words_beyond_max_length_have_no_tag():
    encoding = dd.TokenEncoding(word_piece(), words=True, max_length=5)
    (batch,) = dd.open_store(part_of(TEXTS[:3], TAGS[:3]), encoding).epoch(batch_size=3)
    n = dd.IGNORED
    assert batch.targets.tolist() == [[n, 0, 1, 2, n], [n, 3, n, n, n], [n, 1, n, n, n]]


def test_a_word_that_leaves_no_token_has_no_tag_and_moves_no_other():
    tokenizer = word_piece()
    tokenizer.backend_tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    part = part_of(["fly \u200b to"], [[1, 2, 3]])
    (batch,) = dd.open_store(part, dd.TokenEncoding(tokenizer, words=True)).epoch(batch_size=1)
    assert [tag for tag in batch.targets[0].tolist() if tag != dd.IGNORED] == [1, 3]


def test_cut_texts_are_counted_and_may_be_refused():
    part = part_of()
    for words in (True, False):
        tokenizer = word_piece()
        whole = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
        for limit in range(3, 12):
            encoding = dd.TokenEncoding(tokenizer, max_length=limit, words=words)
            assert encoding.truncated(part) == sum(length > limit for length in whole)
            strict = dd.TokenEncoding(tokenizer, max_length=limit, words=words, on_long="error")
            if max(whole) > limit:
                with pytest.raises(BadInputError, match=f"longer than {limit} tokens"):
                    strict.encode_all(part)
            else:
                assert len(strict.encode_all(part)) == 4
    assert dd.TokenEncoding(word_piece(), 60).truncation_note(part) is None
    note = dd.TokenEncoding(word_piece(), 4).truncation_note(part)
    assert note == f"{sum(length > 4 for length in whole)} of 4 texts are longer than 4 tokens and are cut."
    with pytest.raises(BadInputError, match="on_long"):
        dd.TokenEncoding("x", on_long="maybe")
    with pytest.raises(BadInputError, match="example 1"):
        strict = dd.TokenEncoding(word_piece(), 6, on_long="error")
        list(dd.open_store(part.take([0, 1]), strict, memory_limit=0).epoch(batch_size=2))


def test_a_joint_task_has_intents_and_slots_in_memory_streamed_and_by_ranks():
    part = part_of(TEXTS * 3, TAGS * 3, "intent_slots")
    encoding = dd.TokenEncoding(word_piece(), words=True)
    memory = dd.open_store(part, encoding)
    streaming = dd.open_store(part, encoding, memory_limit=0, num_workers=1)
    for arguments in ({"seed": 1}, {"seed": None}, {"seed": 2, "bucket_by_length": 2}):
        whole = list(memory.epoch(batch_size=5, **arguments))
        for one, two in zip(whole, streaming.epoch(batch_size=5, **arguments), strict=True):
            assert torch.equal(one.ids, two.ids)
            assert torch.equal(one.targets["slots"], two.targets["slots"])
            assert torch.equal(one.targets["intent"], two.targets["intent"])
            assert one.targets["slots"].shape == one.inputs["input_ids"].shape
            assert one.targets["intent"].tolist() == [int(i) % 2 for i in one.ids]
        for rank in range(2):
            for one, share in zip(
                whole, memory.epoch(batch_size=5, rank=rank, world_size=2, **arguments), strict=True
            ):
                assert share.ids.tolist() == one.ids[rank::2].tolist()
                width = share.targets["slots"].shape[1]
                assert torch.equal(share.targets["slots"], one.targets["slots"][rank::2, :width])
                assert (one.targets["slots"][rank::2, width:] == dd.IGNORED).all()


def test_an_empty_share_has_empty_targets_of_the_same_form():
    part = part_of(task="intent_slots")
    store = dd.open_store(part, dd.TokenEncoding(word_piece(), words=True))
    (batch,) = store.epoch([0], batch_size=2, rank=1, world_size=2)
    assert batch.targets["intent"].shape == (0,) and batch.targets["slots"].shape == (0, 0)


def test_without_words_the_targets_are_the_classes():
    (batch,) = dd.open_store(part_of(), dd.TokenEncoding(word_piece())).epoch(batch_size=4)
    assert batch.targets.tolist() == [0, 1, 0, 1]
    (batch,) = dd.open_store(part_of(), dd.NgramEncoding()).epoch(batch_size=4)
    assert batch.targets.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_numbers_and_label_sets_travel_on_their_ids(memory_limit):
    numbers = np.random.default_rng(0).normal(size=12)
    examples = dd.load(pa.table({"text": TEXTS * 3, "label": numbers}), task="regression")
    store = dd.open_store(examples.train, dd.NgramEncoding(), memory_limit=memory_limit)
    for batch in store.epoch(batch_size=4, seed=0):
        assert batch.targets.dtype == torch.float32
        assert np.allclose(batch.targets, numbers[batch.ids])
    labels = [["a"], ["b"], ["a", "b"]] * 4
    examples = dd.load(pa.table({"text": TEXTS * 3, "label": labels}))
    store = dd.open_store(examples.train, dd.NgramEncoding(), memory_limit=memory_limit)
    for batch in store.epoch(batch_size=4, seed=0):
        assert batch.targets.dtype == torch.float32
        assert batch.targets.tolist() == [
            [float("a" in labels[i]), float("b" in labels[i])] for i in batch.ids
        ]


def test_lists_of_words_are_taken_as_they_are():
    table = pa.table(
        {"tokens": [["new", "york city"], ["fly", "to", "rome"]] * 4, "tags": [["N", "C"], list("VPC")] * 4}
    )
    examples = dd.load(table, test=table)
    encoding = dd.TokenEncoding(word_piece(), words=True)
    (batch,) = dd.open_store(examples.test, encoding).epoch([0], batch_size=1)
    assert batch.inputs["input_ids"].tolist() == [[2, 6, 1, 1, 3]]
    assert batch.targets[0, 1:4].tolist() == [
        examples.tag_names.index("N"),
        examples.tag_names.index("C"),
        -100,
    ]
    joined = dd.TokenEncoding(word_piece()).encode(examples.test, np.array([0]))
    assert joined.columns["input_ids"].tolist() == [2, 6, 1, 1, 3]


def test_words_need_a_tokenizer_that_knows_them_and_one_column():
    class Slow:
        is_fast = False

    with pytest.raises(BadInputError, match="fast tokenizer"):
        dd.TokenEncoding(Slow(), words=True).tokenizer  # noqa: B018
    rows = datasets.Dataset.from_dict({"a": ["x"], "b": ["y"]})
    part = dd.Part(rows, np.arange(1), np.zeros(1, dtype=np.int64), ("a", "b"), "text")
    with pytest.raises(BadInputError, match="one text column"):
        dd.TokenEncoding(word_piece(), words=True).encode_all(part)
    assert dd.TokenEncoding(word_piece()).encode_all(part).columns["input_ids"].numel() > 0


def test_a_given_tokenizer_is_not_changed_and_describes_itself_by_content():
    tokenizer = byte_level()
    encoding = dd.TokenEncoding(tokenizer, words=True)
    described = encoding.describe()
    assert tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space is False
    encoding.encode_all(part_of())
    assert encoding.describe() == described == pickle.loads(pickle.dumps(encoding)).describe()
    assert dd.TokenEncoding(tokenizer).describe() != described
    assert "words" not in dd.TokenEncoding(tokenizer).describe()
    assert encoding.vocabulary_size == len(tokenizer)


def test_descriptions_are_the_same_before_and_after_encoding():
    encoding = dd.TokenEncoding(word_piece(), 7)
    before = encoding.describe()
    encoding.encode_all(part_of())
    encoding.tokenizer(["a b"], padding="max_length", max_length=30)
    assert encoding.describe() == before


def test_kept_token_ids_are_read_back_and_follow_their_content(tmp_path, monkeypatch):
    part, encoding = part_of(), dd.TokenEncoding(word_piece(), 6, words=True, cache_dir=str(tmp_path))
    first = encoding.encode_all(part)
    (kept,) = tmp_path.iterdir()
    again = dd.TokenEncoding(word_piece(), 6, words=True, cache_dir=str(tmp_path))
    monkeypatch.setattr(dd.TokenEncoding, "_encoded", None)  # what is read back is not tokenised again
    second = again.encode_all(part)
    assert again.truncated(part) == 2
    monkeypatch.undo()
    assert torch.equal(first.offsets, second.offsets) and set(first.columns) == set(second.columns)
    for name in first.columns:
        assert torch.equal(first.columns[name], second.columns[name])
        assert first.columns[name].dtype == second.columns[name].dtype
    for other, rows in (
        (dd.TokenEncoding(word_piece(), 7, words=True, cache_dir=str(tmp_path)), part),
        (dd.TokenEncoding(word_piece(), 6, cache_dir=str(tmp_path)), part),
        (encoding, part.take([0, 1])),
        (encoding, part_of(["other words here", *TEXTS[1:]])),
    ):
        count = len(list(tmp_path.iterdir()))
        other.encode_all(rows)
        assert len(list(tmp_path.iterdir())) == count + 1
    for damage in (b"", kept.read_bytes()[:-40], b"x" * 100):
        kept.write_bytes(damage)
        mended = encoding.encode_all(part)
        assert torch.equal(mended.columns["input_ids"], first.columns["input_ids"])
        assert len(kept.read_bytes()) > 100


def test_token_ids_that_cannot_be_kept_are_used_all_the_same(tmp_path):
    part, plain = part_of(), dd.TokenEncoding(word_piece(), 6, words=True)
    (tmp_path / "tokens").write_text("a file where the folder should be")
    kept = dd.TokenEncoding(word_piece(), 6, words=True, cache_dir=str(tmp_path / "tokens"))
    expected, found = plain.encode_all(part), kept.encode_all(part)
    assert torch.equal(found.columns["input_ids"], expected.columns["input_ids"])
    assert (tmp_path / "tokens").read_text() == "a file where the folder should be"


def test_a_trained_tokenizer_knows_the_words_of_its_texts():
    texts = ["Flüge to Boston", "to boston from denver", "denver to boston"] * 4
    rows = datasets.Dataset.from_dict({"text": texts})
    part = dd.Part(rows, np.arange(12), np.zeros(12, dtype=np.int64), ("text",), "text")
    tokenizer = dd.trained_tokenizer(part, vocabulary_size=400)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("Boston to DENVER")["input_ids"])
    assert tokens == ["[CLS]", "boston", "to", "denver", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("##a")["input_ids"])[1] == "[UNK]"  # no such letter
    assert tokenizer.get_vocab()["[PAD]"] == tokenizer.pad_token_id == 0
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    pair = tokenizer("boston", "denver")
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]
    cased = dd.trained_tokenizer(part, vocabulary_size=400, lowercase=False)
    assert "Boston" in cased.get_vocab() and "Boston" not in tokenizer.get_vocab()
    backwards = dd.Part(rows.select(range(11, -1, -1)), part.ids, part.labels, ("text",), "text")
    again = dd.trained_tokenizer(backwards, vocabulary_size=400)
    assert again.get_vocab() == tokenizer.get_vocab()
    with pytest.raises(BadInputError, match="different letters"):
        dd.trained_tokenizer(part, vocabulary_size=10)
    with pytest.raises(BadInputError, match="trained on texts"):
        dd.trained_tokenizer(dd.load("digits").train)


def test_training_again_gives_the_same_pieces_with_the_same_numbers():
    # Without care the trainer numbers letters in another order each time, and breaks ties by it.
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abcdefghij"), draw.integers(1, 7))) for _ in range(480)]
    part = part_of([" ".join(words[i : i + 8]) for i in range(0, 480, 8)], [[0]] * 60)
    found = {
        dd.TokenEncoding(dd.trained_tokenizer(part, vocabulary_size=150)).describe()["tokenizer"]
        for _ in range(6)
    }
    assert len(found) == 1


def test_a_trained_tokenizer_travels_to_workers():
    part = part_of(TEXTS * 5, TAGS * 5)
    encoding = dd.TokenEncoding(dd.trained_tokenizer(part, vocabulary_size=120), words=True)
    memory = dd.open_store(part, encoding)
    workers = dd.open_store(part, encoding, memory_limit=0, num_workers=1, start_method="spawn")
    for one, two in zip(memory.epoch(batch_size=8, seed=0), workers.epoch(batch_size=8, seed=0), strict=True):
        assert torch.equal(one.inputs["input_ids"], two.inputs["input_ids"])
        assert torch.equal(one.targets, two.targets)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=8), st.data())
def test_taken_and_aligned_tags_are_those_of_a_loop(tags, data):
    flat = [tag for row in tags for tag in row]
    rows = dd.TargetRows("intent_slots", np.array(flat, dtype=np.int64), np.cumsum([0, *map(len, tags)]))
    picked = data.draw(st.lists(st.integers(0, len(tags) - 1), max_size=6))
    assert [row.tolist() for row in rows.take(picked).rows()][: len(picked)] == [tags[i] for i in picked]
    words = data.draw(
        st.lists(
            st.lists(st.integers(-1, 6), min_size=4, max_size=4), min_size=len(picked), max_size=len(picked)
        )
    )
    expected = [
        [tags[i][word] if 0 <= word < len(tags[i]) else dd.IGNORED for word in row]
        for i, row in zip(picked, words, strict=True)
    ]
    found = rows.aligned(picked, np.array(words, dtype=np.int64).reshape(len(picked), 4))
    assert found.tolist() == expected
