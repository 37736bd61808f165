"""Tasks beside classification are found by their columns, and their targets are those of the rows."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet.data as dd
from datadiet.foundation.errors import BadInputError

TEXTS = ["fly to rome", "what a day it is", "to new york", "rain"] * 5
SLOTS = ["O O B-city", "O O B-date O O", "O B-city I-city", "B-weather"] * 5
INTENTS = ["flight", "day", "flight", "day"] * 5


def joint(**changes):
    return pa.table({"text": TEXTS, "slots": SLOTS, "intent": INTENTS, **changes})


def names_of_rows(part, names):
    return [[names[tag] for tag in row] for row in part.targets.rows()]


def test_texts_with_slots_and_an_intent_are_a_joint_task():
    examples = dd.load(joint(), test_fraction=0.3)
    assert examples.task == "intent_slots" and examples.label_column == "intent"
    assert examples.class_names == examples.output_names == ("day", "flight") and examples.num_outputs == 2
    assert examples.tag_names == ("O", "B-city", "B-date", "B-weather", "I-city")
    for part in (examples.train, examples.test):
        assert names_of_rows(part, examples.tag_names) == [SLOTS[i].split() for i in part.ids]
        assert [examples.class_names[label] for label in part.labels] == [INTENTS[i] for i in part.ids]
        assert part.targets.values.dtype == np.int32
    assert any("slots" in note and "5 tags" in note for note in examples.notes)


def test_lists_of_tags_and_words_say_the_same_as_strings():
    lists = joint(text=[t.split() for t in TEXTS], slots=[s.split() for s in SLOTS])
    examples, reference = dd.load(lists), dd.load(joint())
    assert examples.task == "intent_slots" and examples.tag_names == reference.tag_names
    assert examples.train.targets.digest() == reference.train.targets.digest()


def test_the_same_table_is_a_classification_if_asked():
    plain = dd.load(joint(), task="classification")
    bare = dd.load(joint().drop_columns(["slots"]))
    assert plain.task == bare.task == "classification" and plain.train.targets is None
    assert plain.fingerprint == bare.fingerprint != dd.load(joint()).fingerprint


def test_fingerprints_of_classifications_are_those_they_always_were():
    examples = dd.load((["good", "fine", "bad", "poor"], [1, 1, 0, 0]), test_fraction=0.5)
    assert examples.fingerprint == CLASSIFICATION_FINGERPRINT


CLASSIFICATION_FINGERPRINT = "37e596d6f4b965fc3f4ba41a32c2b0436857fa645a73ecdf7996aceb7b4f7984"


def test_tokens_with_tags_and_no_label_are_token_classification():
    feature = datasets.List(datasets.ClassLabel(names=["O", "B-x", "I-x", "B-never"]))
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": feature, "pos_tags": feature}
    )
    rows = {"tokens": [["a", "b c"], ["d", "e", "f"]] * 4, "ner_tags": [[0, 1], [2, 0, -100]] * 4}
    table = datasets.Dataset.from_dict({**rows, "pos_tags": rows["ner_tags"]}, features=features)
    examples = dd.load(table)
    assert examples.task == "token_classification" and examples.label_column == "ner_tags"
    assert examples.tag_names == ("O", "B-x", "I-x", "B-never")
    assert examples.class_names == ("all",) and examples.output_names == ()
    assert set(examples.train.labels) == {0}
    expected = [[0, 1], [2, 0, dd.IGNORED]] * 4
    assert [row.tolist() for row in examples.train.targets.rows()] == [
        expected[i] for i in examples.train.ids
    ]


def test_tags_of_the_grammar_beside_a_label_leave_it_a_classification():
    table = joint().rename_columns(["text", "pos_tags", "label"])
    assert dd.load(table).task == "classification"
    assert dd.load(table, tags="pos_tags").task == "intent_slots"
    assert dd.load(table.drop_columns(["label"])).task == "token_classification"
    assert dd.load(table, tags="pos_tags", task="token_classification").task == "token_classification"
    assert dd.load(table, label="pos_tags").task == "token_classification"


def test_strings_that_happen_to_have_as_many_words_are_classes():
    names = pa.table(
        {"text": ["Smith", "Rossi", "Dupont", "Verdi"] * 3, "label": ["en", "it", "fr", "it"] * 3}
    )
    assert dd.load(names).task == "classification"
    tags = pa.table({"tokens": [t.split() for t in TEXTS], "labels": [s.split() for s in SLOTS]})
    assert dd.load(tags).task == "token_classification"


def test_two_columns_of_tags_are_ambiguous(refused):
    refused("Both 'slot_tags' and 'slots' could be", joint(slot_tags=SLOTS))
    assert dd.load(joint(slot_tags=SLOTS), tags="slots").task == "intent_slots"


def test_words_and_tags_that_do_not_line_up_are_named_by_row(refused):
    slots = list(SLOTS)
    slots[17] = "O B-date O O"
    refused(r"Row 17 .* it has 5 words .* and 4 tags", joint(slots=slots))
    slots[3] = None
    refused(r"Row 3 .* its tags .* are missing \(and 1 more", joint(slots=slots))
    examples = dd.load(joint(slots=slots), on_bad_example="skip")
    assert examples.left_out == (3, 17)
    kept = [i for i in range(20) if i not in (3, 17)]
    assert sorted([*examples.train.ids, *examples.test.ids]) == kept
    assert names_of_rows(examples.test, examples.tag_names) == [SLOTS[i].split() for i in examples.test.ids]


def test_a_tag_in_a_list_must_be_there(refused):
    tokens = [["a", "b"], ["c"]] * 4
    refused("Row 1 .* a tag of it", pa.table({"tokens": tokens, "tags": [["O", "O"], [None]] * 4}))
    refused(
        "Row 1 .* no words", pa.table({"tokens": [["a", "b"], [" "]] * 4, "tags": [["O", "O"], ["O"]] * 4})
    )


def test_tags_that_only_the_test_part_has_are_named_or_left_out(refused):
    other = joint(slots=["O O B-town", *SLOTS[1:]])
    refused(r"Row 0 of the test rows .* its tag 'B-town' is never seen", joint(), test=other)
    examples = dd.load(joint(), test=other, on_bad_example="skip")
    assert examples.left_out_test == (0,) and "B-town" not in examples.tag_names
    assert names_of_rows(examples.test, examples.tag_names) == [row.split() for row in SLOTS[1:]]


def test_tags_of_left_out_rows_are_gone():
    slots = ["O B-rare", *SLOTS[1:]]
    examples = dd.load(joint(slots=slots), test=joint(), on_bad_example="skip")
    assert examples.left_out == (0,) and "B-rare" not in examples.tag_names
    assert names_of_rows(examples.train, examples.tag_names) == [row.split() for row in SLOTS[1:]]


def test_tags_that_are_not_bio_are_said_once():
    table = pa.table({"tokens": [t.split() for t in TEXTS], "tags": [["N"] * len(t.split()) for t in TEXTS]})
    assert sum("not BIO" in note for note in dd.load(table).notes) == 1
    assert not any("not BIO" in note for note in dd.load(joint()).notes)


def test_label_lists_become_zeros_and_ones_and_sets_become_classes():
    labels = [["b"], ["a", "b"], [], ["a", "a"]] * 5
    examples = dd.load(pa.table({"text": TEXTS, "label": labels}))
    assert examples.task == "multilabel" and examples.output_names == ("a", "b") and examples.num_outputs == 2
    assert set(examples.class_names) == {"b", "a+b", "none", "a"}
    for part in (examples.train, examples.test):
        assert part.targets.values.dtype == np.float32
        for row, example, label in zip(part.targets.values, part.ids, part.labels, strict=True):
            wanted = set(labels[example])
            assert row.tolist() == [float("a" in wanted), float("b" in wanted)]
            assert examples.class_names[label] == ("+".join(sorted(wanted)) or "none")


def test_lists_of_zeros_and_ones_are_positions():
    labels = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]] * 5
    for given in (
        labels,
        [[float(x) for x in row] for row in labels],
        [[bool(x) for x in row] for row in labels],
    ):
        examples = dd.load(pa.table({"text": TEXTS, "label": given}))
        assert examples.output_names == ("0", "1", "2")
        assert examples.train.targets.values.tolist() == [labels[i] for i in examples.train.ids]


def test_class_names_of_lists_keep_their_order():
    feature = datasets.List(datasets.ClassLabel(names=["z", "y", "x"]))
    features = datasets.Features({"text": datasets.Value("string"), "labels": feature})
    rows = datasets.Dataset.from_dict(
        {"text": TEXTS, "labels": [[0], [1, 0], [], [1]] * 5}, features=features
    )
    examples = dd.load(rows)
    assert examples.output_names == ("z", "y", "x")
    assert examples.train.targets.values[:, 2].sum() == 0


def test_rare_sets_make_one_class_of_all():
    labels = [["b"], ["a", "b"], [], ["a"]] * 5
    labels[0] = ["a", "b", "c"]
    examples = dd.load(pa.table({"text": TEXTS, "label": labels}))
    assert examples.class_names == ("all",) and set(examples.train.labels) == {0}
    many = [[str(j) for j in range(8) if i >> j & 1] for i in range(202)] * 2
    examples = dd.load(pa.table({"text": [f"t {i}" for i in range(404)], "label": many}))
    assert examples.class_names == ("all",)


def test_missing_and_unseen_labels_are_named_or_left_out(refused):
    labels = [["a"], ["b"], ["a", "b"], []] * 5
    refused(
        "Row 2 .* its labels .* missing",
        pa.table({"text": TEXTS, "label": [None if i == 2 else x for i, x in enumerate(labels)]}),
    )
    train = pa.table({"text": TEXTS, "label": labels})
    test = pa.table({"text": TEXTS, "label": [["c"], *labels[1:]]})
    refused("Row 0 of the test rows .* its label 'c' is never seen", train, test=test)
    examples = dd.load(train, test=test, on_bad_example="skip")
    assert examples.output_names == ("a", "b") and examples.left_out_test == (0,)
    assert examples.test.targets.values.shape == (19, 2)


def test_a_regression_is_asked_for_and_its_bins_are_classes(refused):
    numbers = np.random.default_rng(0).normal(size=20)
    table = pa.table({"text": TEXTS, "score": numbers})
    refused("task='regression'", table, label="score")
    examples = dd.load(table, task="regression")
    assert examples.output_names == ("score",) and examples.num_outputs == 1
    assert len(examples.class_names) == 5
    assert np.allclose(examples.train.targets.values, numbers[examples.train.ids])
    bins = np.concatenate([examples.train.labels, examples.test.labels])
    assert np.bincount(bins).tolist() == [4] * 5
    order = np.argsort(examples.train.targets.values)
    assert (np.diff(examples.train.labels[order]) >= 0).all()


def test_regressions_on_vectors_of_whole_numbers_work():
    table = pa.table({"a": np.arange(30.0), "b": np.ones(30), "y": np.arange(30) % 3})
    examples = dd.load(table, task="regression")
    assert examples.kind == "vector" and examples.label_column == "y"
    assert examples.class_names == ("<= 0", "0 to 1", "> 1")


def test_numbers_that_are_none_are_named_or_left_out(refused):
    numbers = [0.5, float("nan"), None, float("inf"), *np.linspace(0, 1, 16)]
    table = pa.table({"text": TEXTS, "label": numbers})
    refused("Row 1 .* NaN or infinite", table, task="regression")
    assert dd.load(table, task="regression", on_bad_example="skip").left_out == (1, 2, 3)
    refused("only one value", pa.table({"text": TEXTS, "label": [2.5] * 20}), task="regression")
    refused("needs numbers", pa.table({"text": TEXTS, "label": ["x", "y"] * 10}), task="regression")


def test_what_cannot_be_asked_is_refused(refused):
    refused("no task 'ranking'", joint(), task="ranking")
    refused("no column 'slotz'.*did you mean 'slots'", joint(), tags="slotz")
    refused("has no tags", joint(), tags="slots", task="multilabel")
    refused("with a tag for each word", joint().drop_columns(["slots"]), task="token_classification")
    refused("one list a row", joint(), task="multilabel")
    refused("no column 'slots' in the test part", joint(), test=joint().drop_columns(["slots"]))


def test_targets_enter_the_fingerprint_and_travel_with_subsets():
    slots = list(SLOTS)
    slots[1] = "O O O O B-date"
    assert dd.load(joint(), test=joint()).fingerprint != dd.load(joint(slots=slots), test=joint()).fingerprint
    labels = [["a"], ["b"]] * 10
    other = [["a"], ["b"]] * 9 + [["a"], ["a", "b"]]
    found = [
        dd.load(pa.table({"text": TEXTS, "label": x}), test=joint(label=labels)) for x in (labels, other)
    ]
    assert found[0].fingerprint != found[1].fingerprint
    part = dd.load(joint(), test=joint()).train
    some = part.take([1, 4, 7])
    assert some.ids.tolist() == [1, 4, 7] and some.dataset["text"][:] == [TEXTS[i] for i in (1, 4, 7)]
    assert [row.tolist() for row in some.targets.rows()] == [
        part.targets.rows()[i].tolist() for i in (1, 4, 7)
    ]


def test_a_part_needs_a_target_for_each_row():
    part = dd.load(joint(), test=joint()).train
    with pytest.raises(BadInputError, match="one target a row"):
        dd.Part(part.dataset, part.ids, part.labels, targets=part.targets.take([0]))
    with pytest.raises(BadInputError, match="offsets"):
        dd.TargetRows("regression", np.zeros(3), np.array([0, 3]))


def test_words_that_the_other_rooms_use_mean_the_same_here():
    import datadiet.tasks

    assert dd.IGNORED == datadiet.tasks.IGNORED == -100


def test_a_table_on_disk_is_read_the_same(tmp_path):
    pq.write_table(joint(), tmp_path / "train.parquet")
    assert dd.load(tmp_path / "train.parquet").fingerprint == dd.load(joint()).fingerprint
