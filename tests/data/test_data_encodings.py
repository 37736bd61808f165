"""Stored rows and prepared batches against slow direct computations."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import datadiet.data as dd
from datadiet.data.encodings import DenseRows, RaggedRows, join
from datadiet.foundation.errors import BadInputError
from tiny_models import save_tokenizer


def test_image_statistics_are_those_of_the_train_pixels():
    examples = dd.load("digits")
    encoding = dd.ImageEncoding.fit(examples)
    pixels = encoding.encode_all(examples.train).values.numpy().astype(np.float64) / 255
    assert encoding.mean == pytest.approx((pixels.mean(),), abs=1e-12)
    assert encoding.std == pytest.approx((pixels.std(),), abs=1e-12)
    batch = encoding.prepare(encoding.encode_all(examples.train))
    assert batch.dtype == torch.float32
    assert np.abs(batch.numpy() - (pixels - pixels.mean()) / pixels.std()).max() < 1e-5
    assert batch.numpy().std() == pytest.approx(1, abs=1e-4)


def test_statistics_of_large_data_come_from_a_seeded_sample(monkeypatch, pictures):
    monkeypatch.setattr("datadiet.data.encodings.images._WHOLE_BYTES", 100)
    monkeypatch.setattr("datadiet.data.encodings.images._SAMPLE", 5)
    examples = dd.load((np.repeat(pictures, 2, axis=0), np.arange(24) % 2))
    sampled = dd.ImageEncoding.fit(examples)
    assert sampled == dd.ImageEncoding.fit(examples)
    monkeypatch.undo()
    whole = dd.ImageEncoding.fit(examples)
    assert sampled != whole and sampled.mean == pytest.approx(whole.mean, abs=0.1)


def test_a_constant_channel_is_not_divided_by_zero():
    examples = dd.load((np.full((8, 4, 4), 9, np.uint8), np.arange(8) % 2))
    assert dd.ImageEncoding.fit(examples).std == (1.0,)


def test_images_can_be_fitted_at_another_size():
    encoding = dd.ImageEncoding.fit(dd.load("digits"), size=16)
    assert encoding.shape == (1, 16, 16)
    assert encoding.encode(dd.load("digits").test, np.array([0, 5])).values.shape == (2, 1, 16, 16)


def test_memory_format_changes_the_layout_and_not_the_numbers():
    encoding = dd.ImageEncoding(3, 4, 4, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    rows = DenseRows(torch.arange(96, dtype=torch.uint8).reshape(2, 3, 4, 4))
    plain = encoding.prepare(rows)
    last = encoding.prepare(rows, memory_format=torch.channels_last)
    assert torch.equal(plain, last) and last.is_contiguous(memory_format=torch.channels_last)


def test_vectors_are_standardised_by_the_train_part():
    matrix = np.random.default_rng(0).normal([5, -3, 1e9], [2, 0.1, 1.0], size=(60, 3))
    matrix = np.column_stack([matrix, np.ones(60)])
    examples = dd.load((matrix, np.arange(60) % 2))
    encoding = dd.VectorEncoding.fit(examples)
    train = matrix[examples.train.ids]
    std = np.where(train.std(axis=0) == 0, 1, train.std(axis=0))
    for part in (examples.train, examples.test):
        expected = (matrix[part.ids] - train.mean(axis=0)) / std
        values = encoding.encode_all(part).values
        assert values.dtype == torch.float32
        # 1e9 with a spread of 1 is exact in float64; rounded to float32 first, it would lose all.
        assert np.abs(values.numpy() - expected).max() < 1e-5
        assert torch.equal(encoding.encode(part, np.array([3, 1])).values, values[[3, 1]])


def text_part(texts, second=None):
    columns = {"text": texts} if second is None else {"sentence1": texts, "sentence2": second}
    import datasets

    rows = datasets.Dataset.from_dict(columns)
    n = len(texts)
    return dd.Part(rows, np.arange(n), np.zeros(n, dtype=np.int64), tuple(columns), "text")


def sequences(rows, name="ngrams"):
    return [
        rows.columns[name][a:b].tolist() for a, b in zip(rows.offsets[:-1], rows.offsets[1:], strict=True)
    ]


def test_ngrams_of_a_text_are_its_words_and_pairs():
    encoding = dd.NgramEncoding(buckets=2**20)
    rows = sequences(
        encoding.encode_all(text_part(["the cat sat", "cat sat", "the", "sat cat", "The Cat SAT"]))
    )
    (the, cat, sat, the_cat, cat_sat) = rows[0]
    assert len({the, cat, sat, the_cat, cat_sat}) == 5 and min(rows[0]) >= 1
    assert rows[1] == [cat, sat, cat_sat] and rows[2] == [the]
    assert rows[3][:2] == [sat, cat] and rows[3][2] not in (cat_sat, the_cat)
    assert rows[4] == rows[0]


def test_ngrams_of_two_columns_do_not_mix():
    encoding = dd.NgramEncoding(buckets=2**20)
    one, two = sequences(encoding.encode_all(text_part(["cat", "dog"], ["dog", "cat"])))
    assert len(one) == len(two) == 2 and not set(one) & set(two)


def test_ngram_settings_bound_the_numbers_and_the_lengths():
    encoding = dd.NgramEncoding(buckets=7, orders=(1, 3), max_tokens=4)
    rows = sequences(encoding.encode_all(text_part(["a b c d e f g", "a b", "!"])))
    assert [len(row) for row in rows] == [4 + 2, 2, 1]
    assert all(1 <= number <= 6 for row in rows for number in row)
    for wrong in ({"buckets": 1}, {"orders": ()}, {"orders": (0,)}, {"max_tokens": 0}):
        with pytest.raises(BadInputError):
            dd.NgramEncoding(**wrong)


def test_buckets_are_used_evenly():
    words = [f"w{i}" for i in range(20_000)]
    rows = dd.NgramEncoding(buckets=101, orders=(1,)).encode_all(text_part(words))
    counts = np.bincount(rows.columns["ngrams"].numpy(), minlength=101)[1:]
    assert ((counts - 200) ** 2 / 200).sum() < 148.3  # chi-square, 99 degrees, 0.1 %


def slow_ngrams(texts, buckets, orders):
    """The hash of each n-gram, by Python's whole numbers; nothing in it differs between processes."""

    def mixed(state):
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return state ^ (state >> 31)

    found = []
    for column, text in enumerate(texts):
        words = text.lower().split()
        hashes = [
            int.from_bytes(hashlib.blake2b(w.encode(), digest_size=8).digest(), "little") for w in words
        ]
        for order in orders:
            for start in range(len(words) - order + 1):
                state = order * 1000 + column
                for number in hashes[start : start + order]:
                    state = mixed(state ^ number)
                found.append(state % (buckets - 1) + 1)
    return found


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "B", "word", "über", "7"]), min_size=1, max_size=6),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from([(1,), (1, 2), (2, 3), (3,)]),
)
def test_ngrams_are_those_of_a_slow_loop_on_every_machine(texts, orders):
    first = [" ".join(words) for words in texts]
    encoding = dd.NgramEncoding(buckets=1009, orders=orders)
    rows = encoding.encode_all(text_part(first, first[::-1]))
    assert sequences(rows) == [
        slow_ngrams(pair, 1009, orders) for pair in zip(first, first[::-1], strict=True)
    ]


def test_padding_fills_up_to_the_longest_of_the_batch():
    encoding = dd.NgramEncoding()
    rows = encoding.encode_all(text_part(["a b c", "d", "e f g h i"]))
    batch = encoding.prepare(rows.take(torch.tensor([1, 0])))
    assert batch.shape == (2, 5) and batch.dtype == torch.int64
    assert batch[0].tolist()[1:] == [0, 0, 0, 0] and (batch[1] > 0).all()
    assert encoding.prepare(rows.take(torch.empty(0, dtype=torch.int64))).shape == (0, 0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=8), st.data())
def test_ragged_rows_behave_like_lists(lists, data):
    values = torch.tensor([v for row in lists for v in row], dtype=torch.int32)
    rows = RaggedRows({"v": values}, torch.tensor(np.cumsum([0, *map(len, lists)])))
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=10))
    taken = rows.take(torch.tensor(chosen, dtype=torch.int64))
    assert sequences(taken, "v") == [lists[i] for i in chosen]
    longest = max((len(lists[i]) for i in chosen), default=0)
    assert taken.padded("v", -1).tolist() == [lists[i] + [-1] * (longest - len(lists[i])) for i in chosen]
    assert sequences(join([rows, taken]), "v") == lists + [lists[i] for i in chosen]
    assert len(taken) == len(chosen)


@pytest.fixture
def tokenizer_folder(tmp_path):
    save_tokenizer(tmp_path / "tokenizer", ["the", "cat", "sat", "##s"])
    return str(tmp_path / "tokenizer")


def bert_tokens(*texts):
    """What the vocabulary above gives, written by hand."""
    known = {"the": 5, "cat": 6, "sat": 7}
    ids, types = [2], [0]
    for kind, text in enumerate(texts):
        piece = [known.get(word, 1) for word in text.split()] + [3]
        ids, types = ids + piece, types + [kind] * len(piece)
    return ids, types


def test_tokens_are_padded_to_the_longest_with_their_mask(tokenizer_folder):
    transformers = pytest.importorskip("transformers")
    vocabulary = transformers.AutoTokenizer.from_pretrained(tokenizer_folder).get_vocab()
    if vocabulary.get("cat") != 6:
        pytest.skip("this version of transformers does not read a vocab.txt")
    encoding = dd.TokenEncoding(tokenizer_folder, max_length=6)
    rows = encoding.encode_all(text_part(["the cat", "the cat sat the cat sat", "dog"]))
    batch = encoding.prepare(rows)
    expected = [bert_tokens("the cat")[0], [2, 5, 6, 7, 5, 3], bert_tokens("dog")[0]]
    assert [
        row[:n] for row, n in zip(batch["input_ids"].tolist(), map(len, expected), strict=True)
    ] == expected
    assert batch["attention_mask"].tolist() == [[1] * len(row) + [0] * (6 - len(row)) for row in expected]
    assert set(batch) >= {"input_ids", "attention_mask"} and batch["input_ids"].shape == (3, 6)
    assert encoding.prepare(rows.take(torch.tensor([2])))["input_ids"].tolist() == [[2, 1, 3]]
    assert encoding.encode(text_part(["the"]), np.empty(0, dtype=np.int64)).offsets.tolist() == [0]


def test_sentence_pairs_have_token_types(tokenizer_folder):
    encoding = dd.TokenEncoding(tokenizer_folder)
    if encoding.tokenizer.get_vocab().get("cat") != 6:
        pytest.skip("this version of transformers does not read a vocab.txt")
    batch = encoding.prepare(encoding.encode_all(text_part(["the cat", "sat"], ["sat", "the cat sat"])))
    expected = [bert_tokens("the cat", "sat"), bert_tokens("sat", "the cat sat")]
    assert batch["input_ids"][1].tolist() == expected[1][0]
    assert batch["token_type_ids"][1].tolist() == expected[1][1]


def test_a_token_encoding_travels_without_its_tokenizer_and_is_described_by_content(
    tokenizer_folder, tmp_path
):
    import shutil

    encoding = dd.TokenEncoding(tokenizer_folder, max_length=5)
    described = encoding.describe()
    copy = pickle.loads(pickle.dumps(encoding))
    assert copy == encoding and copy._loaded == {} and copy.describe() == described
    shutil.copytree(tokenizer_folder, tmp_path / "elsewhere")
    assert dd.TokenEncoding(str(tmp_path / "elsewhere"), max_length=5).describe() == described
    assert dd.TokenEncoding(tokenizer_folder, max_length=6).describe() != described


def test_a_missing_tokenizer_is_one_sentence(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="No tokenizer can be loaded from") as caught:
        dd.TokenEncoding(str(tmp_path / "empty")).describe()
    assert "\n" not in str(caught.value)


def test_descriptions_are_json_and_tell_encodings_apart():
    import json

    one = dd.ImageEncoding(1, 8, 8, (0.1,), (0.2,))
    for encoding in (one, dd.VectorEncoding((0.0,), (1.0,)), dd.NgramEncoding()):
        assert json.loads(json.dumps(encoding.describe())) == encoding.describe()
    assert dd.ImageEncoding(1, 8, 8, (0.1,), (0.3,)).describe() != one.describe()
    assert dd.NgramEncoding(buckets=99).describe() != dd.NgramEncoding().describe()


def test_encodings_refuse_examples_of_another_kind():
    texts = dd.load((list("abcdabcd"), [0, 1] * 4))
    with pytest.raises(BadInputError, match="not images"):
        dd.ImageEncoding.fit(texts)
    with pytest.raises(BadInputError, match="not vectors"):
        dd.VectorEncoding.fit(texts)
    with pytest.raises(BadInputError, match="std"):
        dd.ImageEncoding(1, 2, 2, (0.0,), (0.0,))
    with pytest.raises(BadInputError, match="each of 3 channels"):
        dd.ImageEncoding(3, 2, 2, (0.0,), (1.0,))


def test_storage_bytes_estimate_what_is_stored():
    texts = text_part([" ".join(["word"] * (i % 7 + 1)) for i in range(3000)])
    encoding = dd.NgramEncoding()
    actual = encoding.encode_all(texts).nbytes
    assert encoding.storage_bytes(texts) == pytest.approx(actual, rel=0.05)
    digits = dd.load("digits")
    image = dd.ImageEncoding.fit(digits)
    assert image.storage_bytes(digits.train) == image.encode_all(digits.train).nbytes
