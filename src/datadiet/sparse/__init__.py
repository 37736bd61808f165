"""Magnitude masks, rewinding and lottery tickets."""

from datadiet.sparse.applying import SparseTraining, apply_mask
from datadiet.sparse.iterative import Ticket, Tickets, iterative_magnitude_pruning, tickets
from datadiet.sparse.magnitude import full_mask, magnitude_mask, mask_of, random_mask
from datadiet.sparse.mask import Mask
from datadiet.sparse.rewinding import (
    RewindingPoint,
    pretrain,
    rewinding_point,
    train_from,
    with_random_labels,
)
from datadiet.sparse.schedule import schedule_to, sparsity_schedule
from datadiet.sparse.weights import prunable_weights

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
