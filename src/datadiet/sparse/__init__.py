"""Magnitude masks, rewinding and lottery tickets."""

from datadiet.sparse.iterative import Ticket, Tickets, iterative_magnitude_pruning, tickets
from datadiet.sparse.magnitude import (
    full_mask,
    magnitude_mask,
    mask_of,
    prunable_weights,
    random_mask,
    schedule_to,
    sparsity_schedule,
)
from datadiet.sparse.mask import Mask, SparseTraining, apply_mask
from datadiet.sparse.rewinding import (
    RewindingPoint,
    pretrain,
    rewinding_point,
    train_from,
    with_random_labels,
)

__all__ = [
    "Mask",
    "RewindingPoint",
    "SparseTraining",
    "Ticket",
    "Tickets",
    "apply_mask",
    "full_mask",
    "iterative_magnitude_pruning",
    "magnitude_mask",
    "mask_of",
    "pretrain",
    "prunable_weights",
    "random_mask",
    "rewinding_point",
    "schedule_to",
    "sparsity_schedule",
    "tickets",
    "train_from",
    "with_random_labels",
]
