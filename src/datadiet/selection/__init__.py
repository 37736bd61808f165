"""Rules of selection: from scores to the ids that stay."""

# Imported in the order in which the rules are to be listed; importing a file registers its rules.
# isort: off
from datadiet.selection.ordered import hardest_rows, window_rows
from datadiet.selection.stratified import default_beta, score_strata
from datadiet.selection.beta_weighted import beta_parameters
from datadiet.selection.geometry import class_centre_distance, prototype_distance
from datadiet.selection.graph import pick_and_quiet
from datadiet.selection import coverage as coverage
from datadiet.selection.auto import AutoChoice, explain_auto

# isort: on
from datadiet.selection.groups import emptied_classes
from datadiet.selection.mixture import mixture
from datadiet.selection.pool import Pool
from datadiet.selection.registry import RuleCard, forget_rule, rule_card, rule_cards, selection_rule
from datadiet.selection.select import select
from datadiet.selection.sizes import kept_size

__all__ = [
    "AutoChoice",
    "Pool",
    "RuleCard",
    "beta_parameters",
    "class_centre_distance",
    "default_beta",
    "emptied_classes",
    "explain_auto",
    "forget_rule",
    "hardest_rows",
    "kept_size",
    "mixture",
    "pick_and_quiet",
    "prototype_distance",
    "rule_card",
    "rule_cards",
    "score_strata",
    "select",
    "selection_rule",
    "window_rows",
]
