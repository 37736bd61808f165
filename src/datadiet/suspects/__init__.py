"""Which labels are likely wrong: signals, their combination without clean labels, calibration, noise rate."""

from datadiet.suspects.aum_threshold import draw_threshold_examples, threshold_margin, threshold_suspicion
from datadiet.suspects.calibrate import along_reference, mixture_posterior, separation
from datadiet.suspects.combine import Combination, combine, second_view, with_mean
from datadiet.suspects.label_model import LabelModel, fit_label_model
from datadiet.suspects.noise_rate import NoiseRate, label_noise_rate, mixture_noise_rate, together
from datadiet.suspects.signals import el2n, label_probability, log_probabilities, logit_margin

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
