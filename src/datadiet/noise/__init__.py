"""Which labels are likely wrong: signals, their combination without clean labels, calibration, noise rate."""

from datadiet.noise.calibration import (
    NoiseRate,
    along_reference,
    label_noise_rate,
    mixture_noise_rate,
    mixture_posterior,
    separation,
    together,
)
from datadiet.noise.combine import Combination, combine, second_view, with_mean
from datadiet.noise.label_model import LabelModel, fit_label_model
from datadiet.noise.signals import (
    draw_threshold_examples,
    el2n,
    label_probability,
    log_probabilities,
    logit_margin,
    threshold_margin,
    threshold_suspicion,
)

__all__ = [
    "Combination",
    "LabelModel",
    "NoiseRate",
    "along_reference",
    "combine",
    "draw_threshold_examples",
    "el2n",
    "fit_label_model",
    "label_noise_rate",
    "label_probability",
    "log_probabilities",
    "logit_margin",
    "mixture_noise_rate",
    "mixture_posterior",
    "second_view",
    "separation",
    "threshold_margin",
    "threshold_suspicion",
    "together",
    "with_mean",
]
