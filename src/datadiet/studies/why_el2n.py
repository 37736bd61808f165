"""Study `why-el2n`: the reasoning from removing an example, to its gradient norm, to its error norm, measured.

Lemma 2.2 of the paper. Let `l_i` be the loss of any example i, `g_i` its gradient at the weights of step t, and
`D_i(S)` the decrease of `l_i` per unit of time under the minibatch S, when SGD is taken as a flow
`dw/dt = -rate * (sum over k in S of g_k)`: `D_i(S) = -<g_i, dw/dt>`. Then for every i there is a constant c_i such
that for every j in S

    |D_i(S) - D_i(S without j)| = rate * |<g_i, g_j>| <= c_i * |g_j|,   c_i = rate * |g_i|.

The constant does not depend on j, so examples of small gradient norm can be left out with little effect on any
other, in that step. Here a minibatch's loss is a mean, so that rate stands for rate / n. The converse does not
follow: how far the two sides are apart is measured.

With the gradients `psi_c` of the logits, `g_i = sum over c of errors[i, c] * psi_c(x_i)`. Where these are orthogonal
and of one size, `|g_i|` is that size times the norm of the errors, which is EL2N.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy import stats
from torch import nn

from datadiet.engine.points import load_weights
from datadiet.foundation.errors import BadInputError
from datadiet.landscape import ntk_gram
from datadiet.pages.report.canvas import LIGHT, new_figure
from datadiet.pergrad.calls import logits_of
from datadiet.studies.toolbox.claims import Claim, Measurement, mean_correlation, mean_within
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.figures import (
    caption,
    draw_lines,
    finish,
    in_epochs,
    label,
    plain_log,
    spread_of,
)
from datadiet.studies.toolbox.protocol import Conclusion, Planned, Row, study

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, section 2"
SAMPLE = 64  # examples of the minibatch that one is removed from
REMOVED = 16  # of them, one after the other
MOST_ROWS = 10_000  # logits of one kernel
LEAST = 4
MODELS = 4  # at least: with fewer, no interval is short enough to decide anything
# Our choices of what "roughly orthogonal" and "of a similar size" are.
COSINE = 0.25
VARIATION = 0.5
BEYOND = 0.01  # share of pairs whose change in a finite step may exceed a bound on derivatives


def sample_size(context: StudyContext) -> int:
    """Examples of the minibatch; less than 64 is noted.

    Raises:
        BadInputError: too few examples or too many classes.
    """
    have, classes = len(context.setup.examples.train), context.setup.examples.num_classes
    size = min(SAMPLE, have, MOST_ROWS // classes)
    if size < LEAST:
        raise BadInputError(
            f"why-el2n takes all logit gradients of a sample, at most {MOST_ROWS:,}; with {have:,} training examples "
            f"of {classes:,} classes that is less than {LEAST} examples."
        )
    if size < SAMPLE:
        context.note(
            f"The sample has {size} examples in place of {SAMPLE}: with {classes:,} classes no more fit."
        )
    return size


def models(context: StudyContext) -> int:
    """How many scoring runs."""
    return max(MODELS, context.scale.score_seeds)


def plan(context: StudyContext) -> Sequence[Planned]:
    """Only the scoring runs."""
    sample_size(context)
    return [Planned("scoring runs", models(context), context.total_steps)]


def measure(context: StudyContext, kept: dict[Any, Any]) -> Iterator[Row]:
    """A row a moment and model."""
    train = context.setup.examples.train
    generator = np.random.default_rng([context.seed, 0x3E])
    ids = np.sort(generator.choice(train.ids, sample_size(context), replace=False))
    for step in context.score_steps.values():
        grand, el2n = (context.per_seed(name, step, models(context)) for name in ("grand", "el2n"))
        for index in range(models(context)):
            row, pairs = row_of_model(context, index, step, ids)
            row["grand_el2n"] = float(stats.spearmanr(grand[index], el2n[index]).statistic)
            kept.setdefault("pairs", []).extend(pairs)
            yield row


def row_of_model(context: StudyContext, index: int, step: int, ids: np.ndarray) -> tuple[Row, list[Row]]:
    """What is measured of one model at one moment, and the pairs that were measured in a finite step."""
    setup = context.setup
    model, _ = load_weights(setup, context.scoring_run(index), step)
    batch = next(context.batches(ids, len(ids)))
    assert isinstance(batch.targets, torch.Tensor)
    gradients = logit_gradients(model, batch.inputs, batch.targets)
    gram = gradients.loss_gram
    norms = np.sqrt(np.maximum(np.diag(gram), 0))
    rate = setup.recipe.lr
    others = ~np.eye(len(ids), dtype=bool)
    bound = np.maximum(norms[:, None] * norms[None, :], np.finfo(np.float64).tiny)
    removed = np.unique(np.linspace(0, len(ids) - 1, min(REMOVED, len(ids))).round().astype(int))
    done = np.abs(changes_of_a_step(model, batch.inputs, batch.targets, rate, removed))
    allowed = rate / len(ids) * bound[removed]
    seen = others[removed]
    ratios = done[seen] / allowed[seen]
    of_derivative = (np.abs(gram) / bound)[others]
    effect = np.abs(np.where(others, gram, 0)).max(axis=0)
    row = {
        "epoch": context.epoch_of(step),
        "step": step,
        "model": index,
        "sample": len(ids),
        "derivative_over_bound_mean": float(of_derivative.mean()),
        "derivative_over_bound_max": float(of_derivative.max()),
        "step_over_bound_median": float(np.median(ratios)),
        "step_over_bound_max": float(ratios.max()),
        "beyond_bound": float((ratios > 1).mean()),
        "pairs": len(ratios),
        "norm_and_effect": float(stats.spearmanr(norms, effect).statistic),
        "cosine": float(np.abs(gradients.cosines).mean()),
        "size_variation": float(gradients.norms.std() / gradients.norms.mean()),
    }
    pairs = [
        {
            "epoch": row["epoch"],
            "model": index,
            "removed": int(ids[removed[r]]),
            "other": int(ids[i]),
            "change": done[r, i],
            "bound": allowed[r, i],
        }
        for r, i in zip(*np.nonzero(seen), strict=True)
    ]
    return row, pairs


@study(
    "why-el2n",
    "The reasoning behind the scores, measured: removal, gradient norm, orthogonal logit gradients, EL2N.",
    "Deep Learning on a Data Diet, section 2",
    plan=plan,
    measure=measure,
)
def conclude(context: StudyContext, rows: Sequence[Row], kept: Mapping[Any, Any]) -> Conclusion:
    """Each step of the reasoning as a claim at the moment of scores, and all moments as a figure."""
    epoch = context.score_epoch
    at = f"after {in_epochs(epoch)}"
    now = [row for row in rows if row["step"] == context.score_step]

    def mean(column: str, most: float, step: float | None = None) -> Measurement | None:
        return mean_within([row[column] for row in now], "models", 0, most, resolution=step) if now else None

    def correlation(column: str) -> Measurement | None:
        values = [row[column] for row in now if np.isfinite(row[column])]
        return mean_correlation(values, "models") if values else None

    claims = [
        Claim(
            "Removing an example changes the loss decrease of another by no more than the lemma's bound, also "
            f"in a real step at the recipe's learning rate {at}: at most 1 % of pairs are beyond it.",
            f"{DATA_DIET}, lemma 2.2",
            "share of pairs whose change in one step is larger than the bound",
            mean("beyond_bound", 1, 1 / now[0]["pairs"] if now else None),
            below=BEYOND,
        ),
        Claim(
            f"Examples of larger gradient norm can change others' losses more {at}.",
            DATA_DIET,
            "Spearman correlation of an example's gradient norm with its largest effect on another",
            correlation("norm_and_effect"),
        ),
        Claim(
            f"Gradients of different logits are roughly orthogonal {at} (mean cosine under {COSINE:g}).",
            DATA_DIET,
            "absolute cosine of two logits' gradients on the same example, mean",
            mean("cosine", 1),
            below=COSINE,
        ),
        Claim(
            f"Gradients of logits are of a similar size across logits and examples {at} (they vary by less than "
            "half of their mean).",
            DATA_DIET,
            "standard deviation of the norms of logit gradients over their mean",
            mean("size_variation", np.inf),
            below=VARIATION,
        ),
        Claim(
            f"Hence EL2N orders examples as GraNd does {at}.",
            DATA_DIET,
            "Spearman correlation of GraNd and EL2N of one model, mean over models",
            correlation("grand_el2n"),
            above=0.8,
        ),
    ]
    pairs = kept.get("pairs", [])
    return Conclusion(claims, {"why-el2n": _figure(context, rows, pairs)}, {"pairs": pairs})


def _figure(context: StudyContext, rows: Sequence[Row], pairs: Sequence[Row]) -> Figure:
    """Left: the steps of the reasoning by epoch. Right: each measured change against its bound."""
    figure = new_figure(LIGHT, 9.0, 4.6)
    axes, right = figure.subplots(1, 2)
    shown = {
        "GraNd against EL2N, Spearman": "grand_el2n",
        "norm against effect, Spearman": "norm_and_effect",
        "logit gradients: mean |cosine|": "cosine",
        "logit gradients: spread of norms": "size_variation",
    }
    epochs = sorted({row["epoch"] for row in rows})
    series = {
        name: [(at, *spread_of([row[column] for row in rows if row["epoch"] == at])) for at in epochs]
        for name, column in shown.items()
    }
    draw_lines(axes, series)
    label(axes, "epoch", "correlation, cosine, share of the mean")
    epoch = min(epochs, key=lambda found: abs(found - context.score_epoch))
    chosen = [pair for pair in pairs if pair["epoch"] == epoch and pair["change"] > 0]
    bounds = np.array([pair["bound"] for pair in chosen])
    changes = np.array([pair["change"] for pair in chosen])
    right.scatter(bounds, changes, s=4, alpha=0.3, color=LIGHT.series[0], linewidths=0, rasterized=True)
    if len(bounds):
        ends = [bounds.min(), bounds.max()]
        right.plot(ends, ends, color=LIGHT.series[1], linewidth=1.2)
        right.text(
            ends[1], ends[1], "the bound ", fontsize=8.5, color=LIGHT.series[1], ha="right", va="bottom"
        )
        plain_log(right, "x")
        plain_log(right, "y")
    label(right, f"bound on the change of a loss, nats (epoch {epoch:g})", "change in a real step, nats")
    more = f"{rows[0]['sample']} examples a minibatch; bars span models"
    return finish(figure, axes, caption(context, models(context), more))


@dataclass(frozen=True)
class LogitGradients:
    """Inner products of all logit gradients of a sample, and what follows from them; float64 on the CPU.

    Args:
        kernel: `<grad f_c(x_i), grad f_d(x_j)>`, shape (n, classes, n, classes).
        errors: `softmax(f(x_i)) - one_hot(y_i)`, shape (n, classes).
    """

    kernel: np.ndarray
    errors: np.ndarray

    @property
    def loss_gram(self) -> np.ndarray:
        """`<g_i, g_j>` of the loss gradients `g_i = sum_c errors[i, c] grad f_c(x_i)`, shape (n, n)."""
        return np.asarray(np.einsum("ic,icjd,jd->ij", self.errors, self.kernel, self.errors, optimize=True))

    @property
    def norms(self) -> np.ndarray:
        """Norm of each logit's gradient, shape (n, classes)."""
        count, classes = self.errors.shape
        diagonal = np.diagonal(self.kernel.reshape(count * classes, -1))
        return np.asarray(np.sqrt(np.maximum(diagonal, 0)).reshape(count, classes))

    @property
    def cosines(self) -> np.ndarray:
        """Cosines between the gradients of two different logits of the same example, (n, pairs of classes)."""
        count, classes = self.errors.shape
        own = self.kernel[np.arange(count), :, np.arange(count), :]
        norms = self.norms
        scale = np.maximum(norms[:, :, None] * norms[:, None, :], np.finfo(np.float64).tiny)
        rows, columns = np.triu_indices(classes, 1)
        return np.asarray((own / scale)[:, rows, columns])


def logit_gradients(model: nn.Module, inputs: Any, targets: torch.Tensor) -> LogitGradients:
    """Inner products of the logit gradients of a sample, from the exact tangent kernel.

    Args:
        model: in evaluation mode.
        inputs: the sample, as the model takes it.
        targets: int64 (n,).

    Example:
        >>> model = nn.Linear(2, 2, bias=False).eval()
        >>> _ = nn.init.zeros_(model.weight)
        >>> found = logit_gradients(model, torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> found.loss_gram.round(6).tolist(), found.cosines.tolist()
        ([[12.5, -4.0], [-4.0, 2.0]], [[0.0], [0.0]])
    """
    with torch.no_grad():
        logits = logits_of(model, inputs).double().cpu()
    errors = (torch.softmax(logits, dim=1) - F.one_hot(targets.cpu(), logits.shape[1])).numpy()
    count, classes = errors.shape
    kernel = ntk_gram(model, inputs).double().cpu().numpy().reshape(count, classes, count, classes)
    return LogitGradients(kernel, errors)


def changes_of_a_step(
    model: nn.Module, inputs: Any, targets: torch.Tensor, rate: float, removed: np.ndarray
) -> np.ndarray:
    """How much less (or more) each loss falls in one step when an example is left out of the minibatch: really done.

    The minibatch is the whole sample; a step is `w - rate / n * (sum of loss gradients)`, without momentum and
    decay. Leaving out example j takes its share `rate / n * g_j` out of the step and rescales nothing, as in the
    lemma. Weights are moved and losses computed anew, in float64 where the device has it.

    Args:
        model: in evaluation mode; a copy is moved.
        inputs: the sample.
        targets: int64 (n,).
        rate: learning rate.
        removed: positions of the examples that are left out, one after the other.

    Returns:
        `loss_i after the step without j - loss_i after the step with all`, shape (removed, n).
    """
    moved = copy.deepcopy(model).eval()
    if targets.device.type != "mps":
        moved = moved.double()
        inputs = _doubled(inputs)
    parameters = [parameter for parameter in moved.parameters() if parameter.requires_grad]
    share = rate / len(targets)
    start = [parameter.detach().clone() for parameter in parameters]

    def gradient_of(loss: torch.Tensor) -> list[torch.Tensor]:
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]

    def losses() -> torch.Tensor:
        return F.cross_entropy(logits_of(moved, inputs), targets, reduction="none")

    whole = gradient_of(losses().sum())
    rows = []
    for position in [None, *removed.tolist()]:
        step = whole
        if position is not None:
            _set(parameters, start)
            alone = gradient_of(losses()[position])
            step = [total - one for total, one in zip(whole, alone, strict=True)]
        _set(parameters, [w - share * g for w, g in zip(start, step, strict=True)])
        with torch.no_grad():
            rows.append(losses().double().cpu().numpy())
    return np.asarray(np.stack(rows[1:]) - rows[0])


def _set(parameters: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _doubled(inputs: Any) -> Any:
    if isinstance(inputs, torch.Tensor):
        return inputs.double() if inputs.is_floating_point() else inputs
    return {name: _doubled(value) for name, value in inputs.items()}
