"""The papers' experiments on anybody's data, with claims that can fail."""

# Importing a file registers its study; the order here is that of the list.
# isort: off
from datadiet.studies import score_epoch as score_epoch
from datadiet.studies import keep_fraction as keep_fraction
from datadiet.studies import window as window
from datadiet.studies import label_noise as label_noise
from datadiet.studies import seeds as seeds
from datadiet.studies import transfer as transfer
from datadiet.studies import early_features as early_features
from datadiet.studies import init_correlation as init_correlation
from datadiet.studies import ntk_velocity as ntk_velocity
from datadiet.studies import mode_connectivity as mode_connectivity
from datadiet.studies import why_el2n as why_el2n
from datadiet.studies import bert_diet as bert_diet
from datadiet.studies import pool_selection as pool_selection
from datadiet.studies import active_learning as active_learning
from datadiet.studies import time_accuracy as time_accuracy
from datadiet.studies import lottery_ticket as lottery_ticket
from datadiet.studies import ticket_connectivity as ticket_connectivity

# isort: on
from datadiet.studies.toolbox.claims import Claim, Finding
from datadiet.studies.toolbox.protocol import STUDIES, Study, StudyResult, open_context, plan_of, run_study

__all__ = ["STUDIES", "Claim", "Finding", "Study", "StudyResult", "open_context", "plan_of", "run_study"]
