"""Rules of selection: from scores to the ids that stay."""

# Each registers its rules: this order is the one in which they are listed.
from datadiet.selection import ordered, geometry, neighbours, dispatch  # noqa: F401  # isort: skip
from datadiet.selection.dispatch import AutoChoice, Chosen, choose, explain_auto, select
from datadiet.selection.neighbours import nearest_neighbours
from datadiet.selection.ordered import hardest_rows, mixture
from datadiet.selection.registry import RULES, Pool, RuleCard, rule_card, rule_cards, selection_rule
from datadiet.selection.sizes import emptied_classes, kept_size

__all__ = [
    "RULES",
    "AutoChoice",
    "Chosen",
    "Pool",
    "RuleCard",
    "choose",
    "emptied_classes",
    "explain_auto",
    "hardest_rows",
    "kept_size",
    "mixture",
    "nearest_neighbours",
    "rule_card",
    "rule_cards",
    "select",
    "selection_rule",
]
