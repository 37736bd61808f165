"""What decides a result decides its address: contents of model folders, revisions of hub ids, code of factories."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import datadiet as dd
from datadiet.engine.embedding import encode
from datadiet.engine.runs import describe, train_run
from datadiet.engine.setup import prepare
from datadiet.foundation.errors import BadInputError
from datadiet.models import MODELS, ModelContext, build_model, identity_of
from datadiet.models.factories import code_of_factory
from datadiet.scores.registry import SCORES
from tiny_models import bert_config, save_tokenizer, small_recipe, vit_config

WORDS = ["good", "bad", "day", "film", "a", "very"]
TEXTS = [" ".join(pair) for pair in itertools.product(WORDS, WORDS)][:16]
NUMBERS = itertools.count()


def change(path: Path, old: bytes, new: bytes) -> None:
    """Other bytes in a file of the same size and the same times."""
    before, content = path.stat(), path.read_bytes()
    assert len(old) == len(new) and old in content
    path.write_bytes(content.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def here(forgets_modules: Path) -> Path:
    return forgets_modules


@pytest.fixture
def texts() -> dd.Examples:
    return dd.load((TEXTS, [index % 2 for index in range(len(TEXTS))]), test_fraction=0.25)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    save_tokenizer(folder, WORDS)
    transformers = pytest.importorskip("transformers")
    transformers.BertModel(bert_config(vocab_size=20)).save_pretrained(folder)
    return folder


def flip_weights(folder: Path) -> None:
    """The last bit of a weight is another; size and times of the file are the same."""
    path = folder / "model.safetensors"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def address_of(examples: dd.Examples, model: str, workspace: Path, **changes: object) -> str:
    recipe = small_recipe(model=model, model_options={}, epochs=1, **changes)
    setup = prepare(examples, recipe, workspace=workspace, device="cpu")
    return setup.workspace.folder(describe(setup, 0, None, False)).path.name


def test_built_in_models_have_no_identity_of_their_own(vectors, tmp_path) -> None:
    assert identity_of("mlp") == {}
    setup = prepare(vectors, small_recipe(), workspace=tmp_path, device="cpu")
    recipe = describe(setup, 0, None, False)["recipe"]
    assert not {"model_files", "model_code", "model_revision", "model_version"} & set(recipe)


def test_a_version_of_ones_own_makes_other_runs(vectors, tmp_path) -> None:
    plain, one, two = (
        address_of(vectors, "mlp", tmp_path, **({} if version is None else {"model_version": version}))
        for version in (None, "1", "2")
    )
    assert len({plain, one, two}) == 3


def test_a_folder_is_its_contents_wherever_it_lies(bert, texts, tmp_path, monkeypatch) -> None:
    ws = tmp_path / "runs"
    first = address_of(texts, str(bert), ws)
    shutil.copytree(bert, tmp_path / "elsewhere" / "copy")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert address_of(texts, str(tmp_path / "elsewhere" / "copy"), ws) == first
    assert address_of(texts, "copy", ws) == address_of(texts, "../bert", ws) == first
    (bert / "README.md").write_text("prose")
    (bert / "checkpoint-5").mkdir()
    (bert / "checkpoint-5" / "model.safetensors").write_bytes(b"of a training")
    assert address_of(texts, str(bert), ws) == first


def test_every_file_of_a_folder_that_decides_counts_by_content(bert) -> None:
    (bert / "modeling.py").write_text("A = 1\n")
    (bert / "parts").mkdir()
    (bert / "parts" / "block.py").write_text("A = 1\n")
    seen = [identity_of(str(bert))]
    for name, old, new in (
        ("config.json", b"gelu", b"relu"),
        ("tokenizer.json", b"film", b"fila"),
        ("modeling.py", b"1", b"2"),
        ("parts/block.py", b"1", b"2"),
    ):
        change(bert / name, old, new)
        seen.append(identity_of(str(bert)))
    flip_weights(bert)
    seen.append(identity_of(str(bert)))
    assert len({json.dumps(identity) for identity in seen}) == len(seen)


def test_weights_changed_in_place_are_trained_and_scored_anew(bert, texts, tmp_path) -> None:
    recipe = small_recipe(model=str(bert), model_options={}, epochs=1)

    def scored(workspace: str) -> dd.ScoreTable:
        return dd.score(
            texts, recipe, ["el2n"], seeds=1, at_epoch=0, workspace=tmp_path / workspace, device="cpu"
        )

    first = scored("runs")
    path = bert / "model.safetensors"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-4000:] = bytes(4000)
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = scored("runs")
    assert not np.array_equal(first.column("el2n"), second.column("el2n"))
    np.testing.assert_array_equal(second.column("el2n"), scored("apart").column("el2n"))
    assert first.provenance["model_identity"] != second.provenance["model_identity"]


def test_an_encoder_changed_in_place_embeds_anew(bert, texts, tmp_path) -> None:
    setup = prepare(texts, small_recipe(model="ngrams", model_options={}), workspace=tmp_path / "runs")
    first = encode(setup, str(bert))
    path = bert / "model.safetensors"
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-8000] + bytes(8000))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert np.abs(encode(setup, str(bert)) - first).max() > 0
    path.write_bytes(content)
    np.testing.assert_array_equal(encode(setup, str(bert)), first)


FACTORY = """
from torch import nn
{imports}

def make(context, **options):
    return nn.Linear(context.input_shape[0], context.num_outputs, bias={bias})
"""


def write_factory(folder: Path, name: str, imports: str = "", bias: str = "True ") -> Path:
    path = folder / f"{name}.py"
    path.write_text(FACTORY.format(imports=imports, bias=bias))
    return path


def test_a_factory_is_its_code_and_the_new_code_is_run(here, vectors) -> None:
    name = f"helpers{next(NUMBERS)}"
    path = write_factory(here, name)
    recipe = small_recipe(model=f"{name}:make", model_options={}, epochs=1)
    one = prepare(vectors, recipe, workspace=here / "runs", device="cpu")
    assert one.build(0).bias is not None
    change(path, b"True ", b"False")
    two = prepare(vectors, recipe, workspace=here / "runs", device="cpu")
    assert two.build(0).bias is None
    runs = [train_run(setup, 0, weights_at=[0]) for setup in (one, two)]
    assert len({run.folder.path for run in runs}) == 2
    assert "bias" not in runs[1].weights(0)[0]


@pytest.mark.parametrize(
    ("imports", "file"),
    [
        ("import LAYERS", "LAYERS.py"),
        ("from LAYERS import width", "LAYERS.py"),
        ("def later():\n    import LAYERS", "LAYERS.py"),
        ("import LAYERS.deep.block", "LAYERS/deep/block.py"),
        ("from LAYERS.deep import block", "LAYERS/deep/block.py"),
        ("from LAYERS.deep import block", "LAYERS/__init__.py"),
    ],
)
def test_what_a_factory_imports_from_its_folder_counts(here, imports, file) -> None:
    name = f"part{next(NUMBERS)}"
    other = f"layers{next(NUMBERS)}"
    path = here / file.replace("LAYERS", other)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("width = 1\n")
    if "/" in file:
        for package in (here / other, here / other / "deep"):
            package.mkdir(exist_ok=True)
            (package / "__init__.py").touch()
        path.write_text("width = 1\n")
        (here / other / "deep" / "block.py").write_text("width = 1\n")
    write_factory(here, name, imports.replace("LAYERS", other))
    before = code_of_factory(f"{name}:make")
    change(path, b"1", b"2")
    assert code_of_factory(f"{name}:make") != before
    (here / "unrelated.py").write_text("x = 1\n")
    assert code_of_factory(f"{name}:make") == code_of_factory(f"{name}:make")


def test_relative_imports_of_a_package_count(here) -> None:
    package = here / f"pack{next(NUMBERS)}"
    (package / "inner").mkdir(parents=True)
    for file in ("__init__.py", "inner/__init__.py", "near.py", "inner/far.py"):
        (package / file).write_text("x = 1\n")
    write_factory(package / "inner", "models", "from ..near import x\nfrom . import far")
    seen = {code_of_factory(f"{package.name}.inner.models:make")}
    for file in ("near.py", "inner/far.py", "inner/__init__.py", "__init__.py"):
        change(package / file, b"1", b"2")
        seen.add(code_of_factory(f"{package.name}.inner.models:make"))
    assert len(seen) == 5


def test_sources_are_run_and_no_bytecode_of_older_ones(here, vectors) -> None:
    """Python tells bytecode apart by size and seconds: another process finds the older one."""
    import py_compile

    name = f"helpers{next(NUMBERS)}"
    path = write_factory(here, name)
    py_compile.compile(str(path))
    change(path, b"True ", b"False")
    recipe = small_recipe(model=f"{name}:make", model_options={}, epochs=1)
    assert prepare(vectors, recipe, workspace=here / "runs", device="cpu").build(0).bias is None


def test_the_same_code_in_another_current_folder_is_the_same_and_other_code_is_not(
    here, vectors, monkeypatch
) -> None:
    name, seen = f"helpers{next(NUMBERS)}", []
    for folder, bias in (("a", "True "), ("b", "False"), ("c", "True ")):
        (here / folder).mkdir()
        write_factory(here / folder, name, bias=bias)
        monkeypatch.chdir(here / folder)
        seen.append(address_of(vectors, f"{name}:make", here / "runs"))
    assert seen[0] == seen[2] != seen[1]


def test_a_registered_model_and_a_registered_score_are_their_code(here, vectors, monkeypatch) -> None:
    name = f"mine{next(NUMBERS)}"
    code = (
        "import datadiet as dd\nimport torch\nfrom torch import nn\n"
        f"@dd.model('{name}', kinds=('vector',), summary='mine')\n"
        "def make(context):\n    return nn.Linear(context.input_shape[0], context.num_outputs)\n"
        f"@dd.register_score('{name}', needs='outputs', higher_is_harder=True, range=(0, 9), source='mine', "
        "summary='mine')\n"
        "def score(logits, labels):\n    return torch.full((len(labels),), 1.0)\n"
    )
    (here / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(here)
    values, addresses = [], []
    for constant in ("1.0", "2.0"):
        (here / f"{name}.py").write_text(code.replace("1.0", constant))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        sys.path_importer_cache.clear()
        exec((here / f"{name}.py").read_text(), {"__name__": name})
        addresses.append(address_of(vectors, name, here / "runs"))
        table = dd.score(
            vectors, small_recipe(), [name], seeds=1, at_epoch=0, workspace=here / "runs", device="cpu"
        )
        values.append(set(table.column(name).tolist()))
        MODELS.forget(name)
        SCORES.forget(name)
    assert values == [{1.0}, {2.0}] and len(set(addresses)) == 2


def test_where_the_model_comes_from_is_said(here, vectors) -> None:
    name = f"helpers{next(NUMBERS)}"
    write_factory(here, name)
    recipe = small_recipe(model=f"{name}:make", model_options={}, epochs=1)
    setup = prepare(vectors, recipe, workspace=here / "runs", device="cpu")
    assert f"The model comes from '{name}.py' in the current folder, which is run." in setup.notes


@pytest.mark.parametrize(
    "code", ["def make(:", "raise KeyError('x')", "import no_such_module", "exit()", "make = 3"]
)
def test_a_factory_that_cannot_be_imported_is_one_sentence(here, code) -> None:
    name = f"helpers{next(NUMBERS)}"
    (here / f"{name}.py").write_text(code)
    with pytest.raises(BadInputError, match=name):
        build_model(f"{name}:make", ModelContext("vector", 3, (5,)))


def test_a_factory_that_fails_is_one_sentence(here) -> None:
    name = f"helpers{next(NUMBERS)}"
    (here / f"{name}.py").write_text("def make(context, width=1):\n    return [][width]\n")
    with pytest.raises(BadInputError, match="IndexError"):
        build_model(f"{name}:make", ModelContext("vector", 3, (5,)), {"width": 2})
    with pytest.raises(BadInputError, match="depth"):
        build_model(f"{name}:make", ModelContext("vector", 3, (5,)), {"depth": 2})


def hub_cache(root: Path, source: Path, commits: dict[str, str]) -> None:
    """A cache as huggingface_hub lays it out, of 'owner/tiny': a snapshot a commit, a ref a name."""
    model = root / "models--owner--tiny"
    for name, commit in commits.items():
        if not (model / "snapshots" / commit).exists():
            shutil.copytree(source, model / "snapshots" / commit)
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / name).write_text(commit)


def test_a_hub_id_is_the_commit_that_lies_in_the_cache(bert, texts, tmp_path, monkeypatch) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    one, two = "1" * 40, "2" * 40
    hub_cache(cache, bert, {"main": one})
    first = address_of(texts, "owner/tiny", tmp_path / "runs")
    assert identity_of("owner/tiny") == {"model_revision": one}
    flip_weights(bert)
    hub_cache(cache, bert, {"main": two, "v1": one})
    assert identity_of("owner/tiny") == {"model_revision": two}
    assert identity_of("owner/tiny", {"revision": "v1"}) == {"model_revision": one}
    assert address_of(texts, "owner/tiny", tmp_path / "runs") != first
    with pytest.raises(BadInputError, match="gave no model configuration"):
        identity_of("owner/none")


BROKEN = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "truncated weights": lambda folder: os.truncate(folder / "model.safetensors", 3000),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "config of half": lambda folder: os.truncate(folder / "config.json", 40),
    "config of a list": lambda folder: (folder / "config.json").write_text("[1]"),
    "config of another type": lambda folder: change(folder / "config.json", b'"bert"', b'"bort"'),
    "no tokenizer": lambda folder: (
        [p.unlink() for p in folder.glob("*token*")] + [(folder / "vocab.txt").unlink()]
    ),
    "tokenizer of half": lambda folder: os.truncate(folder / "tokenizer.json", 40),
    "width of others": lambda folder: change(
        folder / "config.json", b'"hidden_size": 16', b'"hidden_size": 32'
    ),
    "width beyond memory": lambda folder: change(
        folder / "config.json", b'"hidden_size": 16,', b'"hidden_size":1e9,'
    ),
    "more layers than weights": lambda folder: change(
        folder / "config.json", b'"num_hidden_layers": 1', b'"num_hidden_layers": 3'
    ),
    "pickled code": lambda folder: pickled(folder),
    "empty": lambda folder: [path.unlink() for path in folder.iterdir()],
}


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["HOSTILE_FOLDER"],)


def pickled(folder: Path) -> None:
    import pickle

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile()))


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_one_sentence_as_model_and_as_encoder(
    what, bert, texts, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HOSTILE_FOLDER", str(tmp_path / "made"))
    fine = prepare(texts, small_recipe(model="ngrams", model_options={}), workspace=tmp_path / "runs")
    BROKEN[what](bert)
    for attempt in (
        lambda: prepare(
            texts, small_recipe(model=str(bert), model_options={}), workspace=tmp_path / "runs", device="cpu"
        ),
        lambda: encode(fine, str(bert)),
    ):
        with pytest.raises(BadInputError) as refused:
            attempt()
        assert "\n" not in str(refused.value) and str(bert) in str(refused.value)
    assert not (tmp_path / "made").exists()


def test_images_of_a_folder_with_a_broken_preprocessor_are_one_sentence(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "vit"
    transformers.ViTModel(vit_config()).save_pretrained(folder)
    pictures = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
    examples = dd.load((pictures, np.arange(12) % 2), test_fraction=0.25)
    for content in ("{", "[]", '{"size": "large"}', '{"image_mean": 3, "image_std": 1}'):
        (folder / "preprocessor_config.json").write_text(content)
        with pytest.raises(BadInputError, match="vit"):
            prepare(examples, small_recipe(model=str(folder), model_options={}), workspace=tmp_path / "runs")


def test_an_encoder_without_a_stored_pooler_embeds_the_same_each_time(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "vit"
    transformers.ViTForImageClassification(vit_config(num_channels=1)).save_pretrained(folder)
    pictures = np.random.default_rng(0).integers(0, 255, (12, 16, 16), dtype=np.uint8)
    examples = dd.load((pictures, np.arange(12) % 2), test_fraction=0.25)
    found = [
        encode(
            prepare(examples, small_recipe(epochs=1), workspace=tmp_path / name, device="cpu"), str(folder)
        )
        for name in ("one", "two")
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("model", "kind", "options"),
    [
        ("mlp", "vector", {"hidden": [10**9, 10**9]}),
        ("mlp", "vector", {"hidden": [-3]}),
        ("mlp", "vector", {"hidden": "wide"}),
        ("smallcnn", "image", {"widths": [10**9]}),
        ("resnet18", "image", {"width": 10**7}),
        ("tiny-bert", "text", {"hidden": 10**9}),
        ("ngrams", "text", {"width": 10**12}),
    ],
)
def test_absurd_options_are_one_sentence_before_anything_is_allocated(model, kind, options, tmp_path) -> None:
    data = {
        "vector": lambda: np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32),
        "image": lambda: np.random.default_rng(0).integers(0, 255, (16, 8, 8, 3), dtype=np.uint8),
        "text": lambda: TEXTS,
    }[kind]()
    examples = dd.load((data, [index % 2 for index in range(16)]), test_fraction=0.25)
    recipe = small_recipe(model=model, model_options=options, epochs=1)
    with pytest.raises(BadInputError, match=model):
        prepare(examples, recipe, workspace=tmp_path / "runs", device="cpu")


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 10**9},
        {"num_hidden_layers": 10**7},
        {"hidden_size": 17},
        {"hidden_size": "wide"},
        {"weights_only": False},
        {"cache_dir": "somewhere"},
        {"attn_implementation": "owner/kernel"},
        {"num_labels": 5},
        {"_name_or_path": "x"},
    ],
)
def test_options_that_a_folder_does_not_take_are_one_sentence(options, bert, texts, tmp_path) -> None:
    recipe = small_recipe(model=str(bert), model_options=options, epochs=1)
    with pytest.raises(BadInputError, match=next(iter(options)) + "|bert"):
        prepare(texts, recipe, workspace=tmp_path / "runs", device="cpu")
