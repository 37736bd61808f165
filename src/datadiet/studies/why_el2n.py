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

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from datadiet.engine.points import load_weights
from datadiet.foundation.errors import BadInputError
from datadiet.pages.report.canvas import LIGHT, dress, new_figure
from datadiet.studies.toolbox.claims import Claim, Measured, mean_correlation, mean_within
from datadiet.studies.toolbox.context import Workbench
from datadiet.studies.toolbox.figures import caption, draw_lines, finish, in_epochs, plain_log, spread_of
from datadiet.studies.toolbox.influence import changes_of_a_step, logit_gradients
from datadiet.studies.toolbox.study import Conclusion, Planned, Row, Study, add_study

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


def sample_size(bench: Workbench) -> int:
    """Examples of the minibatch; less than 64 is noted.

    Raises:
        BadInputError: too few examples or too many classes.
    """
    have, classes = len(bench.setup.examples.train), bench.setup.examples.num_classes
    size = min(SAMPLE, have, MOST_ROWS // classes)
    if size < LEAST:
        raise BadInputError(
            f"why-el2n takes all logit gradients of a sample, at most {MOST_ROWS:,}; with {have:,} training examples "
            f"of {classes:,} classes that is less than {LEAST} examples."
        )
    note = f"The sample has {size} examples in place of {SAMPLE}: with {classes:,} classes no more fit."
    if size < SAMPLE and note not in bench.notes:
        bench.notes.append(note)
    return size


def models(bench: Workbench) -> int:
    """How many scoring runs."""
    return max(MODELS, bench.scale.score_seeds)


def plan(bench: Workbench) -> Sequence[Planned]:
    """Only the scoring runs."""
    sample_size(bench)
    return [Planned("scoring runs", models(bench), bench.total_steps)]


def measure(bench: Workbench, kept: dict[str, Any]) -> Iterator[Row]:
    """A row a moment and model."""
    train = bench.setup.examples.train
    generator = np.random.default_rng([bench.seed, 0x3E])
    ids = np.sort(generator.choice(train.ids, sample_size(bench), replace=False))
    for step in bench.score_steps.values():
        grand, el2n = (bench.per_seed(name, step, models(bench)) for name in ("grand", "el2n"))
        for index in range(models(bench)):
            row, pairs = measured_at(bench, index, step, ids)
            row["grand_el2n"] = float(stats.spearmanr(grand[index], el2n[index]).statistic)
            kept.setdefault("pairs", []).extend(pairs)
            yield row


def measured_at(bench: Workbench, index: int, step: int, ids: np.ndarray) -> tuple[Row, list[Row]]:
    """What is measured of one model at one moment, and the pairs that were measured in a finite step."""
    setup = bench.setup
    model, _ = load_weights(setup, bench.scoring_run(index), step)
    channels_last = setup.recipe.memory_format == "channels_last"
    batch = next(
        iter(
            setup.train.epoch(
                ids,
                batch_size=len(ids),
                device=setup.accelerator.device,
                memory_format=torch.channels_last if channels_last else torch.contiguous_format,
            )
        )
    )
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
        "epoch": bench.epoch_of(step),
        "step": step,
        "model": index,
        "sample": len(ids),
        "derivative_over_bound_mean": float(of_derivative.mean()),
        "derivative_over_bound_max": float(of_derivative.max()),
        "step_over_bound_median": float(np.median(ratios)),
        "step_over_bound_max": float(ratios.max()),
        "beyond_bound": float((ratios > 1).mean()),
        "norm_and_effect": float(stats.spearmanr(norms, effect).statistic),
        "cosine": float(np.abs(gradients.cosines).mean()),
        "size_variation": float(gradients.norms.std() / gradients.norms.mean()),
    }
    place = {"epoch": row["epoch"], "model": index}
    pairs = [
        {
            **place,
            "removed": int(ids[removed[r]]),
            "other": int(ids[i]),
            "change": done[r, i],
            "bound": allowed[r, i],
        }
        for r, i in zip(*np.nonzero(seen), strict=True)
    ]
    return row, pairs


def conclude(bench: Workbench, rows: Sequence[Row], kept: Mapping[str, Any]) -> Conclusion:
    """Each step of the reasoning as a claim at the moment of scores, and all moments as a figure."""
    epoch = bench.epoch_of(bench.score_step)
    at = f"after {in_epochs(epoch)}"
    now = [row for row in rows if row["step"] == bench.score_step]

    def mean(column: str, most: float) -> Measured | None:
        return mean_within([row[column] for row in now], "models", 0, most) if now else None

    def correlation(column: str) -> Measured | None:
        values = [row[column] for row in now if np.isfinite(row[column])]
        return mean_correlation(values, "models") if values else None

    claims = [
        (
            Claim(
                "Removing an example changes the loss decrease of another by no more than the lemma's bound, also "
                f"in a real step at the recipe's learning rate {at}: at most 1 % of pairs are beyond it.",
                f"{DATA_DIET}, lemma 2.2",
                "share of pairs whose change in one step is larger than the bound",
                "below",
                BEYOND,
            ),
            mean("beyond_bound", 1),
        ),
        (
            Claim(
                f"Examples of larger gradient norm can change others' losses more {at}.",
                DATA_DIET,
                "Spearman correlation of an example's gradient norm with its largest effect on another",
            ),
            correlation("norm_and_effect"),
        ),
        (
            Claim(
                f"Gradients of different logits are roughly orthogonal {at} (mean cosine under {COSINE:g}).",
                DATA_DIET,
                "absolute cosine of two logits' gradients on the same example, mean",
                "below",
                COSINE,
            ),
            mean("cosine", 1),
        ),
        (
            Claim(
                f"Gradients of logits are of a similar size across logits and examples {at} (they vary by less than "
                "half of their mean).",
                DATA_DIET,
                "standard deviation of the norms of logit gradients over their mean",
                "below",
                VARIATION,
            ),
            mean("size_variation", np.inf),
        ),
        (
            Claim(
                f"Hence EL2N orders examples as GraNd does {at}.",
                DATA_DIET,
                "Spearman correlation of GraNd and EL2N of one model, mean over models",
                "above",
                0.8,
            ),
            correlation("grand_el2n"),
        ),
    ]
    pairs = kept.get("pairs", [])
    return Conclusion(claims, {"why-el2n": drawn(bench, rows, pairs)}, {"pairs": pairs})


def drawn(bench: Workbench, rows: Sequence[Row], pairs: Sequence[Row]) -> Figure:
    """Left: the steps of the reasoning by epoch. Right: each measured change against its bound."""
    figure = new_figure(LIGHT, 9.0, 4.6)
    axes = figure.add_subplot(1, 2, 1)
    shown = {
        "GraNd against EL2N, Spearman": "grand_el2n",
        "norm against effect, Spearman": "norm_and_effect",
        "logit gradients: mean |cosine|": "cosine",
        "logit gradients: spread of norms": "size_variation",
    }
    epochs = sorted({row["epoch"] for row in rows})
    draw_lines(
        axes,
        {
            name: [
                (epoch, *spread_of([row[column] for row in rows if row["epoch"] == epoch]))
                for epoch in epochs
            ]
            for name, column in shown.items()
        },
    )
    axes.set_xlabel("epoch")
    axes.set_ylabel("correlation, cosine, share of the mean")
    dress(axes, LIGHT)
    right = figure.add_subplot(1, 2, 2)
    epoch = min(epochs, key=lambda found: abs(found - bench.epoch_of(bench.score_step)))
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
    right.set_xlabel(f"bound on the change of a loss, nats (epoch {epoch:g})")
    right.set_ylabel("change in a real step, nats")
    dress(right, LIGHT)
    more = f"{rows[0]['sample']} examples a minibatch; bars span models"
    finish(figure, axes, caption(bench, models(bench), more), columns=2)
    return figure


STUDY = add_study(
    Study(
        name="why-el2n",
        title="The reasoning behind the scores, measured: removal, gradient norm, orthogonal logit gradients, EL2N.",
        source="Deep Learning on a Data Diet, section 2",
        plan=plan,
        measure=measure,
        conclude=conclude,
    )
)
