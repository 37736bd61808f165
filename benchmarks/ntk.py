"""Cost of the neural tangent kernel of 100 examples, relative to the backward passes of one logit at a time."""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

from datadiet.landscape import ntk_gram
from datadiet.models.resnet import resnet18
from datadiet.models.small import SmallCNN

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "smallcnn": lambda: SmallCNN(10, (3, 32, 32)),
    "resnet18": lambda: resnet18(10),
}


def made(name: str, examples: int) -> tuple[nn.Module, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return MODELS[name]().eval(), torch.randn(examples, 3, 32, 32, generator=generator)


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def backward_passes(model: nn.Module, images: torch.Tensor) -> None:
    """One forward pass for each example, one backward pass for each of its logits; gradients are thrown away."""
    for example in range(len(images)):
        logits = model(images[example : example + 1])[0]
        for logit in logits:
            torch.autograd.grad(logit, trained(model), retain_graph=True)


def training_passes(model: nn.Module, images: torch.Tensor) -> None:
    """A forward and a backward pass for each logit of each example."""
    for example in range(len(images)):
        for position in range(10):
            torch.autograd.grad(model(images[example : example + 1])[0, position], trained(model))


def batched_jacobian(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """`vmap` over `jacrev`, all of the Jacobian in memory, and one product."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    wanted = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def logits(parameters: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return functional_call(model, parameters, (image[None],))[0]

    jacobians = vmap(jacrev(logits), (None, 0), chunk_size=10)(wanted, images)
    flat = torch.cat([j.reshape(len(images) * 10, -1) for j in jacobians.values()], dim=1)
    return flat @ flat.T


def ratios(examples: int, repeats: int, clock: str) -> None:
    """Medians of interleaved repeats, in seconds and relative to the backward passes."""
    model, images = made("smallcnn", examples)
    rivals: dict[str, Callable[[], object]] = {
        "backward passes": lambda: backward_passes(model, images),
        "forward and backward passes": lambda: training_passes(model, images),
        "ntk_gram": lambda: ntk_gram(model, images),
        "ntk_gram, 16 blocks": lambda: ntk_gram(model, images, chunk_size=9_500),
        "vmap(jacrev), all in memory": lambda: batched_jacobian(model, images),
    }
    backward_passes(model, images[:2])
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    now = CLOCKS[clock]
    for _ in range(repeats):
        for name, rival in rivals.items():
            start = now()
            rival()
            taken[name].append(now() - start)
            print(f"  {name}: {taken[name][-1]:.1f} s", file=sys.stderr, flush=True)
    base = statistics.median(taken["backward passes"])
    print(f"smallcnn, {examples} examples x 10 logits, {clock} time, median of {repeats}")
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"  {name:30s} {middle:8.2f} s   {middle / base:5.2f} times the backward passes")


def peak_of(name: str, examples: int, method: str, threads: int, answer: object) -> None:
    """Run in a process of its own: resident memory before and at its peak, and the time taken."""
    torch.set_num_threads(threads)
    model, images = made(name, examples)
    backward_passes(model, images[:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    ntk_gram(model, images, method=method)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.put((before, after, time.perf_counter() - wall, time.process_time() - cpu))  # type: ignore[attr-defined]


def memory(name: str, examples: int, method: str, threads: int) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=peak_of, args=(name, examples, method, threads, answer))
    process.start()
    process.join()
    before, after, wall, cpu = answer.get()
    print(
        f"{name}, {examples} examples x 10 logits, {method}: peak {after / 2**20:.2f} GiB resident "
        f"({before / 2**20:.2f} GiB before), {wall:.0f} s wall, {cpu:.0f} s cpu"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=["ratios", "memory"], default="ratios")
    parser.add_argument("--model", choices=list(MODELS), default="smallcnn", help="for memory")
    parser.add_argument(
        "--method", choices=["auto", "explicit", "implicit"], default="auto", help="for memory"
    )
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu on a machine that is shared"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "ratios":
        ratios(arguments.examples, arguments.repeats, arguments.clock)
    else:
        memory(arguments.model, arguments.examples, arguments.method, arguments.threads)


if __name__ == "__main__":
    main()
