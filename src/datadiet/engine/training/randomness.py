"""Seeds: every purpose draws from a stream of its own, derived from the run's seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that is a pure function of its parts.

    Example:
        >>> derive_seed(0, "init") == derive_seed(0, "init")
        True
        >>> derive_seed(0, "init") == derive_seed(1, "init")
        False
    """
    digest = hashlib.sha256("\x1f".join(f"{type(p).__name__}:{p}" for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def local_randomness(device: torch.device | str = "cpu") -> Iterator[None]:
    """Give torch's global generators back as they were, whatever is seeded inside."""
    device = torch.device(device)
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        if mps is not None:
            torch.mps.set_rng_state(mps)


def seed_generators(seed: int, device: torch.device | str = "cpu") -> None:
    """Seed the global generators of the CPU and of one device; only inside `local_randomness`.

    `torch.manual_seed` would do, but where CUDA is not in use it remembers every call and its stack.
    """
    torch.default_generator.manual_seed(seed)
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.manual_seed(seed)
    elif kind == "mps":
        torch.mps.manual_seed(seed)
