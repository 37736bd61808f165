"""Rules of selection: from scores to the ids that stay."""

from datadiet.selection.agreement import mixture
from datadiet.selection.geometry import class_centre_distance, prototype_distance
from datadiet.selection.graph import pick_and_quiet
from datadiet.selection.ordered import beta_parameters, default_beta, hardest_rows, score_strata, window_rows
from datadiet.selection.registry import Pool, RuleCard, forget_rule, rule_card, rule_cards, selection_rule
from datadiet.selection.select import AutoChoice, explain_auto, select
from datadiet.selection.sizes import emptied_classes, kept_size

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
