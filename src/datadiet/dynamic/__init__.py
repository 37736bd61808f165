"""Samplers that change what is trained on while training."""

from datadiet.dynamic.curriculum import Curriculum
from datadiet.dynamic.infobatch import InfoBatch
from datadiet.dynamic.nlu_data_diet import NluDataDiet
from datadiet.dynamic.random_cycles import RandomCycles
from datadiet.dynamic.registry import (
    SelectorCard,
    forget_selector,
    make_selector,
    register_selector,
    selector_card,
    selector_cards,
)
from datadiet.dynamic.sampler import DynamicSampler
from datadiet.dynamic.schedule import Schedule
from datadiet.dynamic.scoring_pass import score_everything
from datadiet.dynamic.selector import Choice, Cycle, Selector
from datadiet.dynamic.uncertainty import Uncertainty
from datadiet.dynamic.with_ids import WithIds, with_ids

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
