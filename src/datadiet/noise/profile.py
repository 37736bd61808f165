"""How many labels are wrong, from predictions of models that did not see them; and when that cannot be told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from datadiet.foundation.errors import BadInputError
from datadiet.noise.calibration import WIDEST, NoiseRate, binomial_interval
from datadiet.noise.signals import Floats, Ints, checked_logits, log_probabilities

_LARGEST_GAP = 20.0  # between log probabilities: a model's certainty beyond e^-20 is not evidence
_SHARPNESS = np.geomspace(0.05, 12.0, 28)  # factors on the gaps: inverse temperatures
_POWERS = (0.7, 1.0, 1.4)  # of the gaps: models whose certainty grows too fast, as it should, too slowly
_MIXES = (
    0.0,
    0.6,
    1.0,
)  # how much of the noise follows the mistakes that are seen; the rest is spread evenly
_SURE_SHARES = (
    0.2,
    0.3,
    0.5,
    0.7,
    1.0,
)  # of each predicted class, where labels are compared with predictions
_OWN_ERRORS = 0.5  # of the disagreement that hardness explains, so much may be sure mistakes of the models
_HARDER = 3.0  # so many times as often as among the surest, labels may be wrong among the hard
_PARTS_BY_SURENESS = 10
_MOST_EXAMPLES = 10_000


def noise_rate(
    views: Sequence[ArrayLike],
    labels: ArrayLike,
    held_out: Sequence[ArrayLike] | None = None,
    *,
    seed: int = 0,
) -> NoiseRate:
    """The share of wrong labels, with an interval that hardness cannot stretch, or that it cannot be told.

    Two classes that overlap and labels that are wrong both make models and labels differ. The labels are taken to be
    drawn from `p(y | x)`; wrong is what was changed then.

    1. Estimate and lower end come from a profile likelihood (`profile_likelihood`): at each rate the models are given
       the sharpness that explains most, so that only disagreement beyond what hardness explains counts.
    2. Of what hardness explains, up to half may be sure mistakes of the models themselves, which look like wrong
       labels, and which a likelihood takes for them. The lower end gives way by so much.
    3. The upper end follows from how often labels and predictions differ where the models are surest (`most_wrong`):
       among hard examples labels may be wrong up to three times as often. People's mistakes that gather there more
       than that are not seen.
    4. The interval reaches over the exact binomial one of as many wrong labels, and where it is wider than 0.15 the
       answer is that it cannot be told.

    Args:
        views: logits (n, classes) of models.
        labels: (n,) given labels.
        held_out: for each view (n,) bool, examples drawn at random that its model was not trained on; by default all
            of every view. An example is judged by those views alone, and by none where no view held it out.
        seed: which examples are used where there are very many.

    Raises:
        BadInputError: shapes that do not fit, values that are not finite, no example held out.

    Example:
        >>> true = np.arange(600) % 3
        >>> sure = np.random.default_rng(0).uniform(4, 9, 600)[:, None] * np.eye(3)[true]
        >>> print(noise_rate([sure], np.where(np.arange(600) % 10 == 0, (true + 1) % 3, true)))
        about 10.0 % of the labels are wrong (95 % interval 7.7 to 13.6 %)
    """
    if not views:
        raise BadInputError("A noise rate needs the predictions of at least one model.")
    checked = [checked_logits(view, labels) for view in views]
    given = checked[0][1]
    masks = np.ones((len(views), len(given)), bool) if held_out is None else np.asarray(held_out, dtype=bool)
    if masks.shape != (len(views), len(given)) or not masks.any():
        raise BadInputError(
            f"held_out must be {len(views)} masks of {len(given)} examples, with one or more in them."
        )
    rows = np.flatnonzero(masks.any(axis=0))
    if len(rows) > _MOST_EXAMPLES:
        rows = np.sort(np.random.default_rng([seed, 0x4E4F49]).choice(rows, _MOST_EXAMPLES, replace=False))
    logs = np.zeros((len(rows), checked[0][0].shape[1]))
    for (logits, _), mask in zip(checked, masks, strict=True):
        logs += np.where(mask[rows, None], np.maximum(log_probabilities(logits[rows]), -_LARGEST_GAP), 0.0)
    return _rate(log_probabilities(logs / masks[:, rows].sum(axis=0)[:, None]), given[rows])


def _rate(logs: Floats, given: Ints) -> NoiseRate:
    count, classes = logs.shape
    rates = _rates(classes)
    likelihood = profile_likelihood(logs, given, rates)
    best = float(rates[likelihood.argmax()])
    low = _lowest(rates, likelihood, float(chi2.ppf(0.95, 1)) / 2)
    most = most_wrong(logs, given)
    estimate = min(best, most)
    binomial_low, binomial_high = binomial_interval(estimate * count, count)
    hardness = max(0.0, float((logs.argmax(axis=1) != given).mean()) - estimate)
    low = max(0.0, min(low, binomial_low) - _OWN_ERRORS * hardness)
    high = max(most, binomial_high)
    return NoiseRate(estimate, low, high, identified=high - low <= WIDEST)


def _rates(classes: int) -> Floats:
    """Rates to look at, denser where they are small. Of two classes more than half cannot be wrong."""
    most = 0.5 if classes == 2 else 0.7
    fine, middle = np.geomspace(3e-4, 0.02, 13), np.arange(0.025, 0.1, 0.005)
    return np.concatenate([[0.0], fine, middle, np.arange(0.1, most + 1e-9, 0.01)])


def profile_likelihood(logs: ArrayLike, labels: ArrayLike, rates: ArrayLike) -> Floats:
    """The largest log likelihood of the labels at each noise rate, whatever the models' sharpness, (rates,).

    With `g_c = log p_max - log p_c` of the predictions, the class of x is c with `q_c ∝ exp(-w g_c^s)`, and the label
    is l with

        (1 - r) q_l + r [(1 - m) (1 - q_l) / (C - 1) + m Σ_c q_c M[c, l]],

    where M are the mistakes seen among the surer half of the predictions (`_seen_mistakes`). The maximum over w, s and
    m is taken on a grid, along w with a parabola through the best point and its neighbours.

    Args:
        logs: (n, classes) log probabilities of models that were not trained on the labels.
        labels: (n,) given labels.
        rates: r, (rates,).

    Source: transitions as in Patrini et al., CVPR 2017, section 3; temperature as in Guo et al., "On Calibration of
    Modern Neural Networks", ICML 2017, section 4; profiling one over the other is our choice.

    Example:
        >>> logs = np.log([[0.9, 0.1]] * 9 + [[0.1, 0.9]])
        >>> profile_likelihood(logs, [0] * 10, [0.0, 0.1]).round(2)
        array([-3.25, -3.25])
    """
    log_p, given, at = np.asarray(logs, np.float64), np.asarray(labels), np.asarray(rates, np.float64)
    classes = log_p.shape[1]
    gaps = np.minimum(log_p.max(axis=1, keepdims=True) - log_p, _LARGEST_GAP)
    mistakes = _seen_mistakes(gaps, given)[:, given].T
    mixes = _MIXES[:1] if classes == 2 else _MIXES  # of two classes there is one other
    best = np.full(len(at), -np.inf)
    for power in _POWERS:
        shaped = gaps**power
        found = np.empty((len(mixes), len(at), len(_SHARPNESS)))
        for place, sharpness in enumerate(_SHARPNESS):
            q = np.exp(-sharpness * shaped)
            q /= q.sum(axis=1, keepdims=True)
            own = q[np.arange(len(given)), given]
            even, seen = (1.0 - own) / (classes - 1), (q * mistakes).sum(axis=1)
            for index, mix in enumerate(mixes):
                wrong = (1.0 - mix) * even + mix * seen
                chance = np.outer(1.0 - at, own) + np.outer(at, wrong)
                found[index, :, place] = np.log(np.maximum(chance, 1e-300)).sum(axis=1)
        best = np.maximum(best, _peaks(found).max(axis=0))
    return best


def _peaks(values: Floats) -> Floats:
    """The maximum along the last axis, of the parabola through the largest value and its neighbours."""
    place = np.clip(values.argmax(axis=-1), 1, values.shape[-1] - 2)[..., None]
    left, middle, right = (np.take_along_axis(values, place + step, -1)[..., 0] for step in (-1, 0, 1))
    bend = np.minimum(left - 2 * middle + right, -1e-12)
    inside = (middle >= left) & (middle >= right)
    return np.asarray(np.where(inside, middle - (left - right) ** 2 / (8 * bend), values.max(axis=-1)))


def _seen_mistakes(gaps: Floats, given: Ints) -> Floats:
    """(classes, classes) which other labels stand where a class is predicted, among the surer half; rows sum to 1."""
    classes = gaps.shape[1]
    predicted = gaps.argmin(axis=1)
    to_second = np.partition(gaps, 1, axis=1)[:, 1]
    surer = to_second >= np.median(to_second)
    counts = np.full((classes, classes), 1.0 / classes)
    np.add.at(counts, (predicted[surer], given[surer]), 1.0)
    np.fill_diagonal(counts, 0.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _lowest(rates: Floats, likelihood: Floats, drop: float) -> float:
    """The lowest rate at which the likelihood is so much below its maximum, between points by a line."""
    over = likelihood - (likelihood.max() - drop)
    first = int(np.argmax(over >= 0))
    if first == 0:
        return float(rates[0])
    share = over[first] / (over[first] - over[first - 1])
    return float(rates[first] - share * (rates[first] - rates[first - 1]))


def most_wrong(logs: ArrayLike, labels: ArrayLike, confidence: float = 0.95) -> float:
    """How many labels can be wrong at most: three times as often as where predictions are surest.

    Where labels are made wrong alike all over a class, they differ from what they were in any set that was chosen
    without looking at them at least as often as in all. So each share of the surest predictions of every class gives
    a bound, and the smallest counts; the chance of an error is divided among them. People are wrong more often where
    examples are hard: in each tenth of the examples by sureness, labels may be wrong three times as often as that
    bound, if so many differ from the predictions.

    Args:
        logs: (n, classes) log probabilities of models that were not trained on the labels.
        labels: (n,) given labels.
        confidence: of the two-sided interval whose upper end it is.

    Source: the surest examples as anchor points, Liu and Tao, "Classification with Noisy Labels by Importance
    Reweighting", 2016, section 5; taking shares of them, with their binomial error, and the factor are our choice.

    Example:
        >>> logs = np.log([[0.99, 0.01]] * 500 + [[0.6, 0.4]] * 500)
        >>> round(most_wrong(logs, [0] * 600 + [1] * 400), 2)
        0.01
    """
    log_p, given = np.asarray(logs, np.float64), np.asarray(labels)
    predicted, sureness = log_p.argmax(axis=1), log_p.max(axis=1)
    differs = predicted != given
    place = np.empty(len(given))
    order = np.lexsort((~differs, -sureness, predicted))  # among equals those that differ come first
    sizes = np.bincount(predicted, minlength=log_p.shape[1])
    first = np.cumsum(sizes) - sizes
    place[order] = (np.arange(len(given)) - first[predicted[order]] + 0.5) / sizes[predicted[order]]
    each = 1.0 - (1.0 - confidence) / len(_SURE_SHARES)
    surest = [place <= share for share in _SURE_SHARES]
    bound = min(
        binomial_interval(differs[sure].sum(), int(sure.sum()), each)[1] for sure in surest if sure.any()
    )
    tenths = np.array_split(np.lexsort((~differs, -sureness)), _PARTS_BY_SURENESS)
    among_hard = sum(len(rows) * min(differs[rows].mean(), _HARDER * bound) for rows in tenths if len(rows))
    return float(max(bound, among_hard / len(given)))
