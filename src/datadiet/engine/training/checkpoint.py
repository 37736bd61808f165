"""Checkpoints: one safetensors file each, written aside and renamed, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from datadiet.foundation.atomic import atomic_file
from datadiet.foundation.errors import RunFailedError


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able facts as one safetensors file that appears whole or not at all."""
    with atomic_file(path) as file:
        file.write(tensor_bytes(tensors, facts))


def tensor_bytes(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> bytes:
    """Tensors and JSON-able facts as the bytes of a safetensors file."""
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data: bytes = save(contiguous, metadata={"facts": json.dumps(facts, sort_keys=True)})
    return data


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `write_tensors` wrote.

    Raises:
        RunFailedError: the file is damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("facts", "{}"))
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors raises its own error type, without a public name in all versions
        raise RunFailedError(
            f"The checkpoint {str(path)!r} cannot be read: {error}. Delete it and run again."
        ) from error


def weights_hash(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of a model's state, 64 hexadecimal digits.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> weights_hash(net.state_dict()) == weights_hash(net.state_dict())
        True
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass
class TrainingState:
    """Where a run stands: all that must come back for it to go on to the same bits.

    The randomness of step t is a function of the seed and t, so no generator's state is kept.

    Attributes:
        step: of the schedule.
        model: the model's state, by name.
        seconds: of training so far.
        optimizer: its `state_dict`; None for one at rest.
        recorder: state of the recorder of the trace.
        ledger: of the run, as plain data.
        selection: what a dynamic sampler chooses by.
    """

    step: int
    model: dict[str, torch.Tensor]
    seconds: float = 0.0
    optimizer: dict[str, Any] | None = None
    recorder: dict[str, torch.Tensor] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)
    selection: dict[str, torch.Tensor] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the state as one file."""
        with atomic_file(path) as file:
            file.write(self.as_bytes())

    def as_bytes(self) -> bytes:
        """The bytes of that file."""
        tensors = {
            f"{part}/{name}": tensor
            for part in ("model", "recorder", "selection")
            for name, tensor in getattr(self, part).items()
        }
        optimizer = self.optimizer or {"state": {}, "param_groups": []}
        scalars: dict[str, dict[str, Any]] = {}
        for index, values in optimizer["state"].items():
            for key, value in values.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"optimizer/{index}/{key}"] = value
                else:
                    scalars.setdefault(str(index), {})[key] = value
        facts = {
            "step": self.step,
            "seconds": self.seconds,
            "ledger": self.ledger,
            "param_groups": optimizer["param_groups"],
            "optimizer_scalars": scalars,
        }
        return tensor_bytes(tensors, facts)

    @classmethod
    def read(cls, path: Path) -> TrainingState:
        """Read what `write` wrote."""
        tensors, facts = read_tensors(path)
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "recorder": {}, "selection": {}}
        state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in facts["optimizer_scalars"].items()}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            if part == "optimizer":
                index, _, key = rest.partition("/")
                state.setdefault(int(index), {})[key] = tensor
            else:
                parts[part][rest] = tensor
        optimizer = {"state": state, "param_groups": facts["param_groups"]}
        return cls(
            facts["step"],
            seconds=facts["seconds"],
            optimizer=optimizer,
            ledger=facts.get("ledger", {}),
            **parts,
        )
