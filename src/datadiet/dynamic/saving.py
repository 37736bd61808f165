"""The state of a sampler as a flat mapping of tensors, and how a sampler goes on from one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from datadiet.dynamic.measurements import process_count
from datadiet.dynamic.state import check_identity, pack_json, pack_sparse, unpack_json, unpack_sparse
from datadiet.foundation.errors import BadInputError

if TYPE_CHECKING:
    from datadiet.dynamic.sampler import DynamicSampler


def saved_state(sampler: DynamicSampler, done: int | None) -> dict[str, torch.Tensor]:
    """See `DynamicSampler.state_dict`."""
    reports = sampler._reports
    numbers = reports.flush()
    if done is None:
        ranks = process_count() // sampler.world_size if process_count() > sampler.world_size else 1
        told = -(-reports.count * ranks // (sampler.batch_size or 1))
        done = told if reports.count else sampler._done
    progress = (
        sampler.epoch,
        done,
        reports.count,
        sampler._prepared_epoch,
        sampler._scored_epoch,
        sampler.scoring_passes,
    )
    state = {
        "identity": pack_json(identity_of(sampler)),
        "progress": torch.tensor(progress),
        "scoring.seconds": torch.tensor(sampler.scoring_seconds, dtype=torch.float64),
        "broken": torch.from_numpy(sampler._broken.places.copy()),
        **sampler._standing.state(),
    }
    if numbers is not None:
        state.update({f"reported.{name}": part for name, part in pack_sparse(numbers).items()})
    for name, array in sampler.selector.arrays.items():
        state[f"selector.{name}"] = torch.from_numpy(array.copy())
    return state


def go_on_from(
    sampler: DynamicSampler, state: Mapping[str, torch.Tensor], *, rewind: bool, any_world_size: bool
) -> None:
    """See `DynamicSampler.load_state_dict`."""
    if "identity" not in state:
        raise BadInputError("this is not the state of a DynamicSampler.")
    theirs, mine = unpack_json(state["identity"]), identity_of(sampler)
    epoch, done, count, prepared, scored, passes = state["progress"].tolist()
    if any_world_size and done == 0:
        for identity in (theirs, mine):
            del identity["world_size"]
    check_identity(theirs, mine)
    n, prefix = sampler.num_examples, "reported."
    reported = {key[len(prefix) :]: part for key, part in state.items() if key.startswith(prefix)}
    sampler.epoch, sampler._prepared_epoch, sampler._scored_epoch = epoch, prepared, scored
    sampler.scoring_passes, sampler.scoring_seconds = passes, float(state["scoring.seconds"])
    sampler._broken.places = state["broken"].cpu().numpy().copy()
    sampler._reports.restore(unpack_sparse(reported, n) if reported else None, count)
    for name in sampler.selector.arrays:
        sampler.selector.arrays[name] = state[f"selector.{name}"].cpu().numpy().copy()
    sampler._standing.load(state)
    sampler._done = sampler._start = 0 if rewind else done
    sampler._complete = sampler._scoring = False


def identity_of(sampler: DynamicSampler) -> dict[str, Any]:
    """What two samplers must have in common for one to go on from the other's state."""
    known, lengths = sampler._places.ids, sampler._lengths
    by_length = {} if lengths is None else {"lengths": f"crc32:{zlib.crc32(lengths.tobytes()):08x}"}
    return {
        **by_length,
        "num_examples": sampler.num_examples,
        "ids": "0 to n - 1" if known is None else f"crc32:{zlib.crc32(known.tobytes()):08x}",
        "selector": sampler.selector.name,
        "options": sampler.selector.options(),
        "schedule": dict(vars(sampler.schedule)),
        "seed": sampler.seed,
        "shuffle": sampler.shuffle,
        "batch_size": sampler.batch_size,
        "drop_last": sampler.drop_last,
        "even_batches": sampler.even_batches,
        "world_size": sampler.world_size,
    }
