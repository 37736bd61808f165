"""Samplers that change what is trained on while training."""

from datadiet.dynamic.builtin_selectors import Curriculum, InfoBatch, NluDataDiet, RandomCycles, Uncertainty
from datadiet.dynamic.choice import Choice, Cycle
from datadiet.dynamic.sampler import DynamicSampler
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.scoring_pass import WithIds, score_everything, with_ids
from datadiet.dynamic.selector import (
    Selector,
    SelectorCard,
    forget_selector,
    make_selector,
    register_selector,
    selector_card,
    selector_cards,
)

__all__ = [
    "Choice",
    "Curriculum",
    "Cycle",
    "DynamicSampler",
    "InfoBatch",
    "NluDataDiet",
    "RandomCycles",
    "Schedule",
    "Selector",
    "SelectorCard",
    "Uncertainty",
    "WithIds",
    "forget_selector",
    "make_selector",
    "register_selector",
    "score_everything",
    "selector_card",
    "selector_cards",
    "with_ids",
]
