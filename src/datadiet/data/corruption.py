"""Label noise for experiments: wrong labels of a known kind, with the mask and the old labels kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy import stats

from datadiet.data.arrow import chunks_of, matrix_chunks, texts_in
from datadiet.data.encodings.images import ImageEncoding
from datadiet.data.examples import CLASS_TASKS, Examples, IntArray
from datadiet.data.fingerprint import fingerprint
from datadiet.data.stores import open_store
from datadiet.foundation.atomic import atomic_path
from datadiet.foundation.errors import BadInputError

Kind = Literal["symmetric", "class_dependent", "instance_dependent"]
Floats = npt.NDArray[np.float64]

_SPREAD = 0.1  # of the flip rates of single examples in instance-dependent noise (Xia et al. 2020)
_PICTURE_SIDE = 8  # images are averaged down to this many pixels a side before they drive the noise
_TEXT_FEATURES = 256


@dataclass(frozen=True, eq=False)
class Corrupted:
    """Examples with wrong labels among those of the training part, and which they are.

    Args:
        examples: the data with the new labels; its fingerprint is another than before.
        mask: whether a label was made wrong, bool (n_train,), in id order.
        old_labels: the labels before, int64 (n_train,), in id order.
        kind: the kind of noise.
        fraction: the share that was asked for.
        seed: of all draws.
    """

    examples: Examples
    mask: npt.NDArray[np.bool_]
    old_labels: IntArray
    kind: Kind
    fraction: float
    seed: int

    def write(self, path: str | Path) -> None:
        """Write what was done as Parquet: `id`, `old_label`, `new_label`, `corrupted`, a row an example."""
        train = self.examples.train
        names = self.examples.class_names
        rows = {
            "id": train.ids,
            "old_label": [names[label] for label in self.old_labels],
            "new_label": [names[label] for label in train.labels],
            "corrupted": self.mask,
        }
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(rows), temporary)


def corrupt(
    examples: Examples,
    fraction: float,
    kind: Kind = "symmetric",
    *,
    seed: int = 0,
    transition: npt.ArrayLike | None = None,
    features: npt.ArrayLike | None = None,
) -> Corrupted:
    """Make exactly `round(fraction * n)` training labels wrong; the test part stays as it is.

    - `symmetric`: examples are drawn evenly; each gets one of the other classes, all equally likely.
    - `class_dependent`: the same share of every class (largest remainder); class c turns into what row c of
      `transition` says, by default into class c + 1, and the last into the first.
    - `instance_dependent`: examples are drawn with weights around `fraction` (normal, spread 0.1, cut to
      [0, 1]), and which class one turns into follows from its features through a random linear map for each
      class, so that similar examples are mistaken in the same way (Xia et al. 2020, algorithm 2, with the
      number of wrong labels made exact).

    A chosen example never keeps its class: a nominal 10 % is 10 % wrong. Where texts have an intent and tags of
    words, the intents are made wrong and the tags stay.

    Args:
        examples: the data.
        fraction: share of wrong labels, in [0, 1].
        kind: which noise.
        seed: of all draws.
        transition: (classes, classes) weights for `class_dependent`, row = old class; the diagonal is not used.
        features: (n_train, d) for `instance_dependent`, in id order; by default the vectors themselves, pixels
            averaged down to 8 x 8, or hashed words.

    Raises:
        BadInputError: a fraction outside [0, 1], an unknown kind, examples without classes, fewer than two
            classes, a transition or features of the wrong shape.

    Example:
        >>> from datadiet.data import load
        >>> found = corrupt(load("digits"), 0.1, seed=3)
        >>> int(found.mask.sum()), bool((found.examples.train.labels[found.mask] != found.old_labels[found.mask]).all())
        (144, True)
    """
    if not 0 <= fraction <= 1:
        raise BadInputError(f"fraction is {fraction:g}; it is the share of wrong labels, from 0 to 1.")
    if kind not in get_args(Kind):
        raise BadInputError(f"There is no noise of kind {kind!r}; there are {', '.join(get_args(Kind))}.")
    if seed < 0:
        raise BadInputError(f"seed is {seed}; it must be 0 or above.")
    if examples.task not in CLASS_TASKS:
        raise BadInputError(
            f"Labels can be made wrong where there is one class an example; '{examples.name}' is of the task "
            f"'{examples.task}'."
        )
    classes = examples.num_classes
    if classes < 2:
        raise BadInputError(f"'{examples.name}' has {classes} class; labels can be wrong with two or more.")
    if transition is not None and kind != "class_dependent":
        raise BadInputError("transition is for the noise of kind 'class_dependent'.")
    if features is not None and kind != "instance_dependent":
        raise BadInputError("features are for the noise of kind 'instance_dependent'.")
    old = examples.train.labels
    generator = np.random.default_rng([seed, get_args(Kind).index(kind), 0x6E6F697365])
    count = round(fraction * len(old))
    if kind == "symmetric":
        chosen = generator.choice(len(old), size=count, replace=False)
        weights = np.ones((count, classes))
    elif kind == "class_dependent":
        chosen = _same_share_of_every_class(old, count, generator)
        weights = _checked_transition(transition, classes)[old[chosen]]
    else:
        chosen, weights = _instance_dependent(examples, fraction, features, generator)
    weights[np.arange(count), old[chosen]] = 0.0
    new = old.copy()
    new[chosen] = _draw_columns(weights, generator)
    mask = np.zeros(len(old), dtype=bool)
    mask[chosen] = True
    train = dataclasses.replace(examples.train, labels=new)
    noise = f"{fraction:.0%} {kind.replace('_', '-')} label noise, seed {seed}"
    corrupted = dataclasses.replace(
        examples,
        name=f"{examples.name} ({noise})",
        train=train,
        fingerprint=fingerprint(examples.class_names, (train, examples.test)),
        notes=(*examples.notes, f"{noise}: {count} of {len(old)} labels are wrong."),
    )
    return Corrupted(corrupted, mask, old.copy(), kind, fraction, seed)


def _same_share_of_every_class(labels: IntArray, count: int, generator: np.random.Generator) -> IntArray:
    """Positions of `count` examples: from every class in proportion, by largest remainder."""
    names, sizes = np.unique(labels, return_counts=True)
    shares = sizes * (count / len(labels))
    quotas = np.floor(shares).astype(np.int64)
    order = np.argsort(-(shares - quotas), kind="stable")
    quotas[order[: count - int(quotas.sum())]] += 1
    of_classes = (np.flatnonzero(labels == name) for name in names)
    pairs = zip(of_classes, quotas, strict=True)
    return np.concatenate([generator.choice(rows, size=quota, replace=False) for rows, quota in pairs])


def _checked_transition(transition: npt.ArrayLike | None, classes: int) -> Floats:
    if transition is None:
        return np.roll(np.eye(classes), 1, axis=1)
    weights = np.array(transition, dtype=np.float64)
    if weights.shape != (classes, classes):
        raise BadInputError(
            f"transition has shape {weights.shape}; it needs a row and a column for each of {classes} classes."
        )
    others = weights * (1 - np.eye(classes))
    if not np.isfinite(weights).all() or (weights < 0).any() or (others.sum(axis=1) <= 0).any():
        raise BadInputError(
            "transition must hold weights of 0 and above, and every class needs another class to turn into."
        )
    return others


def _instance_dependent(
    examples: Examples, fraction: float, features: npt.ArrayLike | None, generator: np.random.Generator
) -> tuple[IntArray, Floats]:
    """Chosen positions, and for each the weights (chosen, classes) of what it turns into."""
    labels, classes = examples.train.labels, examples.num_classes
    given = _features(examples) if features is None else np.asarray(features, dtype=np.float64)
    if given.ndim != 2 or len(given) != len(labels) or not np.isfinite(given).all():
        raise BadInputError(
            f"features have shape {given.shape}; they need one row of finite numbers for each of "
            f"{len(labels)} training examples."
        )
    low, high = (0 - fraction) / _SPREAD, (1 - fraction) / _SPREAD
    spread = stats.truncnorm(low, high, loc=fraction, scale=_SPREAD)
    rates = spread.rvs(size=len(labels), random_state=generator)
    # Weighted draws without replacement: the largest of log(weight) plus Gumbel noise.
    keys = np.log(np.maximum(rates, 1e-300)) + generator.gumbel(size=len(labels))
    chosen = np.argsort(-keys, kind="stable")[: round(fraction * len(labels))]
    std = given.std(axis=0)
    scaled = (given - given.mean(axis=0)) / np.where(std > 0, std, 1.0) / np.sqrt(given.shape[1])
    weights = np.empty((len(chosen), classes))
    for label in range(classes):
        projection = generator.standard_normal((given.shape[1], classes))
        members = labels[chosen] == label
        logits = scaled[chosen[members]] @ projection
        logits[:, label] = -np.inf
        weights[members] = np.exp(logits - logits.max(axis=1, keepdims=True))
    return chosen, weights


def _draw_columns(weights: Floats, generator: np.random.Generator) -> IntArray:
    """One column a row, drawn by the row's weights."""
    sums = np.cumsum(weights, axis=1)
    points = generator.random(len(weights))[:, None] * sums[:, -1:]
    return np.asarray((points >= sums).sum(axis=1), dtype=np.int64)


def _features(examples: Examples) -> Floats:
    train = examples.train
    if examples.kind == "vector":
        return np.concatenate([rows for _, rows in matrix_chunks(train.dataset, train.input_columns)])
    if examples.kind == "text":
        from sklearn.feature_extraction.text import HashingVectorizer

        words = HashingVectorizer(n_features=_TEXT_FEATURES, alternate_sign=False)
        parts = []
        for _, table in chunks_of(train.dataset, train.input_columns):
            columns = [texts_in(table, column) for column in train.input_columns]
            parts.append(words.transform(" ".join(texts) for texts in zip(*columns, strict=True)).toarray())
        return np.concatenate(parts)
    pictures = []
    for batch in open_store(train, ImageEncoding.fit(examples)).epoch(batch_size=1024):
        assert isinstance(batch.inputs, torch.Tensor)
        small = torch.nn.functional.adaptive_avg_pool2d(batch.inputs, _PICTURE_SIDE)
        pictures.append(small.flatten(1).double().cpu().numpy())
    return np.concatenate(pictures)
