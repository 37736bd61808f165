"""Embeddings of training examples: from the trained model's last layer or an encoder of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datadiet.data import Batch, ImageEncoding, TokenEncoding, open_store
from datadiet.engine.points import FullColumns, HeadInputs, remembered
from datadiet.engine.runs import Run
from datadiet.engine.setup import Setup, image_encoding, tokenizer_of
from datadiet.engine.training.checkpoint import read_tensors, weights_hash, write_tensors
from datadiet.engine.training.evaluation import evaluate
from datadiet.engine.workspace import content_address
from datadiet.foundation.arrays import read_array
from datadiet.foundation.errors import BadInputError, RunFailedError
from datadiet.foundation.parsing import misfit
from datadiet.models import identity_of, is_pretrained
from datadiet.models.pretrained import build_encoder


@dataclass(frozen=True, eq=False)
class Embeddings:
    """A vector for every training example, and where the vectors come from.

    Args:
        ids: (n,) int64, increasing.
        values: (n, d) float32.
        about: `fingerprint` of the data, `source`, and the model that the vectors are of.
    """

    ids: np.ndarray
    values: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Write as one safetensors file, `ids` and `embeddings`, whole or not at all.

        Raises:
            BadInputError: the file cannot be written.
        """
        tensors = {"ids": torch.from_numpy(self.ids), "embeddings": torch.from_numpy(self.values)}
        try:
            write_tensors(Path(path), tensors, dict(self.about))
        except OSError as error:
            raise BadInputError(
                f"The embeddings cannot be written to {str(path)!r}: {error.strerror}."
            ) from error

    @classmethod
    def read(cls, path: str | Path, ids: np.ndarray | None = None) -> Embeddings:
        """Read what `write` wrote; or a `.npy` file of shape (n, d) whose rows are in the order of `ids`.

        Raises:
            BadInputError: no such file, not readable, or a `.npy` file of another number of rows.
        """
        path = Path(path)
        if not path.is_file():
            raise BadInputError(f"There are no embeddings at {str(path)!r}.")
        if path.suffix == ".npy":
            values = read_array(path, f"The file of embeddings {str(path)!r}")
            if ids is None or values.ndim != 2 or len(values) != len(ids):
                wanted = "one row an example" if ids is None else f"({len(ids)}, dimensions)"
                raise BadInputError(
                    f"The embeddings {str(path)!r} have shape {values.shape}; it must be {wanted}."
                )
            return cls(np.asarray(ids), values)._checked(path)
        try:
            tensors, facts = read_tensors(path)
            found = cls(tensors["ids"].numpy(), tensors["embeddings"].float().numpy(), facts)
        except (RunFailedError, KeyError, TypeError) as error:
            raise BadInputError(
                f"{str(path)!r} holds no embeddings; give a file of `datadiet score --embeddings`, or a .npy file."
            ) from error
        return found._checked(path)

    def _checked(self, path: Path) -> Embeddings:
        """These vectors as float32.

        Raises:
            BadInputError: they are not one finite row for each of some increasing ids.
        """
        ids, values = self.ids, self.values
        wrong = None
        if ids.ndim != 1 or ids.dtype != np.int64 or np.any(ids[1:] <= ids[:-1]):
            wrong = "its ids are not increasing whole numbers"
        elif (
            values.dtype.kind not in "fiu"
            or values.ndim != 2
            or len(values) != len(ids)
            or not values.shape[1]
        ):
            wrong = f"its vectors are {values.dtype} of shape {values.shape}, and there are {len(ids)} ids"
        elif not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            wrong = f"the vector of example {ids[row]} is not finite"
        elif not isinstance(self.about, Mapping) or misfit(self.about.get("fingerprint"), str | None, "it"):
            wrong = "it does not say in words which data it is of"
        if wrong is not None:
            raise BadInputError(f"The embeddings {str(path)!r} cannot be used: {wrong}. Make them again.")
        return replace(self, values=np.ascontiguousarray(values, dtype=np.float32))

    def of(self, ids: np.ndarray) -> np.ndarray:
        """The vectors of some ids, in their order, (len(ids), d).

        Raises:
            BadInputError: an id that has no vector.
        """
        places = np.searchsorted(self.ids, ids)
        places[places == len(self.ids)] = 0
        wrong = np.flatnonzero(self.ids[places] != ids) if len(self.ids) else np.arange(len(ids))
        if wrong.size:
            raise BadInputError(
                f"{len(wrong)} examples have no embedding (the first: {int(np.asarray(ids)[wrong[0]])}); "
                "make the embeddings of the same data."
            )
        return np.asarray(self.values[places])

    def check_data(self, fingerprint: str) -> None:
        """Refuse to be used with other data than they were made of.

        Raises:
            BadInputError: the fingerprint differs.
        """
        if self.about.get("fingerprint") not in (None, fingerprint):
            raise BadInputError(
                "These embeddings were made of other data than is given here (the fingerprints differ); make "
                "them of this data."
            )


def embeddings_of(setup: Setup, run: Run, step: int, encoder: str | None = None) -> Embeddings:
    """Embeddings of the training part: of a run's model at a step, or of an encoder.

    Those of a model are what goes into the linear layer that the logits come out of, taken in evaluation mode, and
    read back where they were taken before.

    Args:
        setup: data and machine.
        run: whose model is taken where there is no encoder.
        step: of its weights.
        encoder: a folder or hub id of `transformers`, for images and texts.

    Raises:
        BadInputError: a model whose logits do not come out of one linear layer; an encoder that cannot be had.
    """
    about: dict[str, Any] = {"fingerprint": setup.examples.fingerprint, "source": setup.examples.source}
    ids = setup.examples.train.ids
    if encoder is not None:
        about |= {"encoder": encoder, "encoder_identity": encoder_identity(setup, encoder)}
        return Embeddings(ids, encode(setup, encoder), about)
    points = remembered(setup, run, step, "embeddings", lambda model: _penultimate(setup, model))
    about |= {"model": setup.recipe.model, "step": step, "weights": points.weights}
    return Embeddings(ids, points.columns["embeddings"], about)


def _penultimate(setup: Setup, model: nn.Module) -> dict[str, torch.Tensor]:
    columns = FullColumns(setup, None)
    with (
        setup.display.step("embedding", len(columns.ids), unit="examples/s") as advance,
        HeadInputs(model) as head,
    ):

        def visit(batch: Batch, logits: torch.Tensor) -> None:
            features = head.features(logits)
            if features is None:
                raise BadInputError(
                    f"The model {setup.recipe.model!r} does not end in one linear layer, so there is no embedding "
                    "to take from it; name an encoder (--encoder, a folder or hub id of transformers)."
                )
            columns.put(batch, {"embeddings": features})
            advance(len(batch))

        evaluate(model, setup.train, setup.recipe, setup.accelerator, visit)
    return columns.merged()


def encode(setup: Setup, encoder: str) -> np.ndarray:
    """Embeddings by any encoder of `transformers`: texts averaged over real tokens, images pooled or averaged.

    Read back where the same encoder has seen the same data in this workspace.

    Returns:
        (n, d) float32 in id order.

    Raises:
        BadInputError: data that is neither images nor texts; no model under that name.
    """
    if setup.examples.kind == "vector":
        raise BadInputError("Vectors need no encoder; leave --encoder out.")
    identity = encoder_identity(setup, encoder)
    question = {
        "encoder": identity,
        "data": setup.examples.fingerprint,
        "max_length": setup.recipe.max_length,
    }
    path = setup.workspace.path / "embeddings" / f"{content_address(question)}.safetensors"
    known = _read_encoded(path, question)
    setup.accelerator.wait_for_everyone()
    if known is None:
        if path.exists() and setup.accelerator.is_main_process:
            setup.display.say(f"'{path}' is not as it was written; it is made again.", passing=True)
        loading = {"trust_remote_code": setup.trust_remote_code, "revision": identity.get("model_revision")}
        known = _encoded(setup, encoder, loading)
        if setup.accelerator.is_main_process:
            write_tensors(
                path, {"embeddings": known}, {"question": question, "hash": weights_hash({"": known})}
            )
        setup.accelerator.wait_for_everyone()
    return np.asarray(known.numpy())


def _read_encoded(path: Path, question: dict[str, Any]) -> torch.Tensor | None:
    """What was written for a question; None where that is not there as it was written."""
    try:
        tensors, facts = read_tensors(path)
    except (FileNotFoundError, RunFailedError):
        return None
    values = tensors.get("embeddings")
    if values is None or facts.get("question") != json.loads(json.dumps(question)):
        return None
    return values if facts.get("hash") == weights_hash({"": values}) else None


def encoder_identity(setup: Setup, encoder: str) -> dict[str, Any]:
    """What an encoder is, by its content or its revision, wherever it lies.

    Raises:
        BadInputError: it is no folder and no hub id of a model.
    """
    if not is_pretrained(encoder):
        raise BadInputError(
            f"There is no encoder {encoder!r}; give a folder written by save_pretrained, or an 'owner/name' of the hub."
        )
    return {"model": encoder, **identity_of(encoder, trust_remote_code=setup.trust_remote_code)}


def _encoded(setup: Setup, encoder: str, loading: Mapping[str, Any]) -> torch.Tensor:
    encoding: ImageEncoding | TokenEncoding
    if setup.examples.kind == "text":
        kept = str(setup.workspace.path / "tokens")
        tokenizer = tokenizer_of(encoder, **loading)
        encoding = TokenEncoding(tokenizer, max_length=setup.recipe.max_length, cache_dir=kept)
    else:
        encoding = image_encoding(setup.examples, encoder, **loading)
    device = setup.accelerator.device
    model = build_encoder(encoder, **loading).eval().to(device)
    store = open_store(setup.examples.train, encoding, device=str(device))
    columns = FullColumns(setup, None)
    with (
        setup.display.step("embedding", len(columns.ids), unit="examples/s") as advance,
        torch.inference_mode(),
    ):
        for batch in store.epoch(
            batch_size=64,
            rank=setup.accelerator.process_index,
            world_size=setup.accelerator.num_processes,
            device=device,
        ):
            if len(batch):
                columns.put(batch, {"embeddings": model(batch.inputs).float()})
                advance(len(batch))
    return columns.merged()["embeddings"]
