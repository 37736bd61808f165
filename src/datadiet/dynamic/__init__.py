"""Samplers that change what is trained on while training."""

from datadiet.dynamic.builtin_selectors import Curriculum as Curriculum
from datadiet.dynamic.builtin_selectors import InfoBatch as InfoBatch
from datadiet.dynamic.builtin_selectors import NluDataDiet as NluDataDiet
from datadiet.dynamic.builtin_selectors import RandomCycles as RandomCycles
from datadiet.dynamic.builtin_selectors import Uncertainty as Uncertainty
from datadiet.dynamic.choice import Choice as Choice
from datadiet.dynamic.choice import Cycle as Cycle
from datadiet.dynamic.positions import WithIds as WithIds
from datadiet.dynamic.positions import with_ids as with_ids
from datadiet.dynamic.sampler import DynamicSampler as DynamicSampler
from datadiet.dynamic.schedule import Schedule as Schedule
from datadiet.dynamic.scoring_pass import score_everything as score_everything
from datadiet.dynamic.selector import Selector as Selector
from datadiet.dynamic.selector import SelectorCard as SelectorCard
from datadiet.dynamic.selector import forget_selector as forget_selector
from datadiet.dynamic.selector import make_selector as make_selector
from datadiet.dynamic.selector import register_selector as register_selector
from datadiet.dynamic.selector import selector_card as selector_card
from datadiet.dynamic.selector import selector_cards as selector_cards
from datadiet.dynamic.weighing import weighed_loss as weighed_loss
