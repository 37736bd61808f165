"""The slow way: every measure of every task in float64 NumPy, one example and one word at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

NOTHING = -100
TASK_NAMES = ("classification", "intent_slots", "token_classification", "multilabel", "regression")
OPTIONS = {"intent_weight": 0.3, "target_scale": 4.0, "target_mean": 10.0}


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def of_row(logits: np.ndarray, target: int) -> dict[str, Any]:
    p = softmax(logits.astype(np.float64))
    error = p.copy()
    error[target] -= 1
    return {
        "error": error,
        "entropy": -sum(x * np.log(x) for x in p),
        "loss": -np.log(p[target]),
        "margin": p[target] - max(np.delete(p, target)),
        "logit_margin": logits[target] - max(np.delete(logits, target)),
        "prediction": int(np.argmax(logits)),
        "right": int(np.argmax(logits)) == target,
    }


def of_words(logits: np.ndarray, targets: np.ndarray) -> list[dict[str, Any]]:
    return [of_row(row, int(t)) for row, t in zip(logits, targets, strict=True) if t != NOTHING]


def norms(errors: list[np.ndarray]) -> dict[str, float]:
    flat = np.concatenate([e.reshape(-1) for e in errors]) if errors else np.zeros(1)
    return {"el2n": float(np.sqrt((flat**2).sum())), "l1_error": float(np.abs(flat).sum())}


def mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def example(name: str, outputs: Any, targets: Any) -> dict[str, float]:
    """The measures of one example by the formulas in the docs; outputs and targets without a batch dimension."""
    if name in ("classification", "intent_slots", "token_classification"):
        intent, words = [], []
        if name == "classification":
            intent = [of_row(outputs, int(targets))]
        elif name == "intent_slots":
            intent = [of_row(outputs["intent"], int(targets["intent"]))]
            words = of_words(outputs["slots"], targets["slots"])
        else:
            words = of_words(outputs, targets)
        share = {"classification": 1.0, "intent_slots": OPTIONS["intent_weight"]}.get(name, 0.0)
        loss = share * sum(r["loss"] for r in intent) + (1 - share) * mean([r["loss"] for r in words])
        rows = intent + words
        wrong = sum(not r["right"] for r in rows)
        return {
            **norms([r["error"] for r in rows]),
            "loss": loss,
            "probability": float(np.exp(-loss)),
            "entropy": sum(r["entropy"] for r in intent) + mean([r["entropy"] for r in words]),
            "margin": min((r["margin"] for r in rows), default=1.0),
            "logit_margin": min((r["logit_margin"] for r in rows), default=0.0),
            "prediction": intent[0]["prediction"] if intent else wrong,
            "correct": wrong == 0,
        }
    if name == "multilabel":
        p = 1 / (1 + np.exp(-outputs.astype(np.float64)))
        true = np.where(targets > 0.5, p, 1 - p)
        loss = mean(list(-np.log(true)))
        wrong = int(((p > 0.5) != (targets > 0.5)).sum())
        return {
            **norms([p - targets]),
            "loss": loss,
            "probability": float(np.exp(-loss)),
            "entropy": mean([-(x * np.log(x) + (1 - x) * np.log(1 - x)) for x in p]),
            "margin": float((2 * true - 1).min()),
            "logit_margin": float(np.where(targets > 0.5, outputs, -outputs).min()),
            "prediction": wrong,
            "correct": wrong == 0,
        }
    off = abs(
        float(np.reshape(outputs, ())) - (float(targets) - OPTIONS["target_mean"]) / OPTIONS["target_scale"]
    )
    return {
        "el2n": off,
        "l1_error": off,
        "loss": off**2 / 2,
        "probability": float(np.exp(-(off**2) / 2)),
        "prediction": round(off),
        "correct": off <= 0.5,
    }


def expected(name: str, outputs: Any, targets: Any) -> dict[str, np.ndarray]:
    """`example` of every example of a batch of tensors."""
    rows = [example(name, part(outputs, i), part(targets, i)) for i in range(count(targets))]
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def part(value: Any, i: int) -> Any:
    return (
        {k: v[i].double().numpy() if v.is_floating_point() else v[i].numpy() for k, v in value.items()}
        if (isinstance(value, dict))
        else (value[i].double().numpy() if value.is_floating_point() else value[i].numpy())
    )


def count(targets: Any) -> int:
    return len(next(iter(targets.values())) if isinstance(targets, dict) else targets)


def batch(name: str, seed: int = 0, size: int = 6, tokens: int = 9, scale: float = 2.0) -> tuple[Any, Any]:
    """Random outputs and targets of a task; about half of the tokens begin a word, of one example none does."""
    g = torch.Generator().manual_seed(seed)
    intents, tags = 4, 5
    intent, slots = (
        torch.randn(*shape, generator=g) * scale for shape in ((size, intents), (size, tokens, tags))
    )
    classes = torch.randint(0, intents, (size,), generator=g)
    words = torch.randint(0, tags, (size, tokens), generator=g)
    words[torch.rand(size, tokens, generator=g) < 0.5] = NOTHING
    words[:, 0] = words[:, -1] = NOTHING
    words[-1] = NOTHING
    slots[0] = torch.nn.functional.one_hot(words[0].clamp(min=0), tags) * 4.0  # one example that is right
    intent[0] = torch.nn.functional.one_hot(classes[0], intents) * 4.0
    if name == "classification":
        return intent, classes
    if name == "intent_slots":
        return {"intent": intent, "slots": slots}, {"intent": classes, "slots": words}
    if name == "token_classification":
        return slots, words
    if name == "multilabel":
        there = torch.randint(0, 2, (size, intents), generator=g).float()
        intent[0] = (there[0] * 2 - 1) * 3.0
        return intent, there
    numbers = torch.randn(size, generator=g) * OPTIONS["target_scale"] + OPTIONS["target_mean"]
    standardised = (numbers - OPTIONS["target_mean"]) / OPTIONS["target_scale"]
    return (standardised + torch.linspace(0, scale, size))[:, None], numbers


def padded(name: str, outputs: Any, targets: Any, extra: int = 7) -> tuple[Any, Any]:
    """The same batch with more tokens that have no target; what the model puts out there is wild."""

    def longer(logits: torch.Tensor, tags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wild = torch.full((len(logits), extra, logits.shape[-1]), 50.0).cumsum(-1)
        return torch.cat([logits, wild], 1), torch.cat([tags, tags.new_full((len(tags), extra), NOTHING)], 1)

    if name == "intent_slots":
        slots, tags = longer(outputs["slots"], targets["slots"])
        return {**outputs, "slots": slots}, {**targets, "slots": tags}
    return longer(outputs, targets) if name == "token_classification" else (outputs, targets)
