"""Which labels are likely wrong: signals, their combination without clean labels, calibration, noise rate."""

from datadiet.noise.calibration import NoiseRate, along_reference, mixture_noise_rate, mixture_posterior
from datadiet.noise.label_model import Combination, LabelModel, combine, fit_label_model
from datadiet.noise.profile import noise_rate
from datadiet.noise.signals import (
    draw_threshold_examples,
    el2n,
    label_probability,
    log_probabilities,
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
    "label_probability",
    "log_probabilities",
    "mixture_noise_rate",
    "mixture_posterior",
    "noise_rate",
    "threshold_suspicion",
]
