"""Reports with made-up numbers, as real as needed to look at: for the tests of the report room only."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from datadiet.pages.report import ExampleView, Gallery, ReportContents, subset_key

HOSTILE = (
    "<script>document.title='hacked'</script>",
    "../../x",
    "$x^2$ $\\frac{1}{$",
    "\x1b[31mred\x1b[0m \x1b]0;owned\x07",
    "abc\u202etxt.exe\u2066",
    '"><img src=x onerror="document.title=\'hacked\'">',
    "{{ 7 * 7 }}{% raw %}",
    "[bold red]rich[/bold red] [/nothing]",
    "ol\u00e9 \u6f22\u5b57 \U0001f600 \u0645\u0631\u062d\u0628\u0627",
    "a" * 300,
)
KEEPS = (0.3, 0.5, 0.7, 0.9)


def made_up_verdict(seeds: int = 3, names: tuple[str, ...] = ("el2n", "forgetting")) -> dict[str, Any]:
    generator = np.random.default_rng(5)
    full_accuracy = 0.9712
    losses = {"el2n": 0.0008, "forgetting": 0.0031, "random": 0.006}
    subsets = []
    for keep in KEEPS:
        for score in (*names, "random"):
            loss = losses.get(score, 0.004) / keep**2 - (0.0015 if score != "random" else 0.0)
            accuracies = full_accuracy - loss + generator.normal(0, 0.0015, seeds)
            mean = float(accuracies.mean())
            half = 0.0022
            random_loss = losses["random"] / keep**2
            subsets.append(
                {
                    "score": score,
                    "rule": "random" if score == "random" else "hardest",
                    "keep": keep,
                    "n": round(keep * 1437),
                    "accuracy": mean,
                    "interval": [mean - 0.007, mean + 0.006],
                    "minus_full": [
                        mean - full_accuracy,
                        mean - full_accuracy - half,
                        mean - full_accuracy + half,
                    ],
                    "minus_random": None
                    if score == "random"
                    else [random_loss - loss, random_loss - loss - half, random_loss - loss + half],
                    "holds": None if seeds < 2 else bool(mean - full_accuracy - half > -0.005),
                    "seeds": seeds,
                    "accuracies": [float(value) for value in accuracies],
                }
            )
    for subset in subsets:
        loses = subset["holds"] is False and subset["minus_full"][2] < -0.005
        subset["outcome"] = "holds" if subset["holds"] else "fails" if loses else "undecided"
    holding = [subset for subset in subsets if subset["holds"]]
    recommended = min(holding, key=lambda subset: (subset["n"], -subset["accuracy"])) if holding else None
    return {
        "source": "digits",
        "n_train": 1437,
        "n_test": 360,
        "tolerance": 0.5,
        "budget": "steps",
        "full": {"accuracy": full_accuracy, "interval": [0.9632, 0.9786], "seeds": seeds, "n": 1437},
        "subsets": subsets,
        "recommended": recommended,
        "reason": _reason(seeds) if recommended is None else None,
        "cost": {
            "scoring_seconds": 11.4,
            "full_training_seconds": 6.21,
            "kept_training_seconds": 4.4 if recommended else None,
            "pays_after_trainings": 7 if recommended else None,
        },
    }


def answered(kind: str, budget: str = "epochs") -> dict[str, Any]:
    """A verdict with an answer of a kind: bounds of the loss, what was not asked, what would decide, all costs."""
    verdict = made_up_verdict(2 if kind == "not_for_deciding" else 3)
    shift = {"keep": 0.0, "keep_all": -0.012, "undecided": -0.004, "not_for_deciding": 0.0}[kind]
    after: dict[str, float | None] = {}
    for subset in sorted(verdict["subsets"], key=lambda subset: -subset["keep"]):
        subset["minus_full"] = [value + shift for value in subset["minus_full"]]
        loss = -subset["minus_full"][1]
        few, first = kind == "not_for_deciding", after.setdefault(subset["score"], None)
        subset["loses_at_most"] = None if few else loss
        subset["holds"] = None if few else loss < 0.005 and first is None
        subset["after"] = None if few else first
        fails = not few and subset["minus_full"][2] < -0.005
        subset["outcome"] = "holds" if subset["holds"] else "fails" if fails else "undecided"
        if subset["holds"] is False and first is None:
            after[subset["score"]] = subset["keep"]
    holding = [subset for subset in verdict["subsets"] if subset["holds"]]
    names = ("score", "rule", "keep", "n")
    curve = []
    for keep in sorted(KEEPS, reverse=True):
        same = [subset for subset in verdict["subsets"] if subset["keep"] == keep]
        best = max(same, key=lambda subset: subset["minus_full"][0])
        curve.append({**{name: best[name] for name in names}, "loses_at_most": best["loses_at_most"]})
    would = {
        **{name: curve[0][name] for name in names},
        "seeds": 9,
        "trainings": 12,
        "seconds": 843.0,
        "test_examples": None,
        "command": "datadiet run digits --max-seeds 9",
    }
    answer = {
        "kind": kind,
        "curve": curve,
        "would_decide": would if kind == "undecided" else None,
        "stopped": "time" if kind == "undecided" else "decided",
    }
    left = [
        {"score": "el2n", "rule": "hardest", "keep": keep, "n": round(1437 * keep)} for keep in (0.2, 0.1)
    ]
    recommended = min(holding, key=lambda subset: subset["n"]) if holding else None
    scoring, full, kept = 11.4, 6.21, 4.4 if recommended else None
    verdict.update(
        budget=budget,
        recommended=recommended,
        answer=answer,
        quick=None,
        not_trained=left if kind == "undecided" else [],
        seeds_by="auto",
        seeds=2 if kind == "not_for_deciding" else 3,
        cost={
            "scoring_seconds": scoring,
            "full_training_seconds": full,
            "kept_training_seconds": kept,
            "pays_after_trainings": 7 if kept and budget == "epochs" else None,
            "today_seconds": 843.0,
            "after_one": _after(1, full, kept, scoring, budget),
            "after_hundred": _after(100, full, kept, scoring, budget),
            "price_per_hour": None,
            "money": None,
        },
    )
    for subset in verdict["subsets"]:
        own = full * subset["keep"]
        saved = 1 - (own + scoring) / full
        subset.update(
            seconds=own,
            scoring_seconds=scoring,
            time_saved=[saved, saved - 0.3, saved + 0.2],
            time_saved_without_scoring=[1 - own / full, 0.9 - own / full, 1.05 - own / full],
        )
    return verdict


def _after(
    trainings: int, full: float, kept: float | None, scoring: float, budget: str
) -> dict[str, float | None] | None:
    if kept is None:
        return None
    spent, instead = trainings * full, trainings * kept + scoring
    saved = spent - instead if budget == "epochs" else None
    return {"full_seconds": spent, "kept_seconds": instead, "saved_seconds": saved}


def answered_report(kind: str = "undecided") -> ReportContents:
    """Questions with an answer of a kind."""
    return replace(text_report(), title=kind, verdict=answered(kind))


def made_up_groups(verdict: dict[str, Any], groupings: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The verdict with how every group fares: later ones worse, the last one untested."""
    entries, warnings = [], []
    for subset in verdict["subsets"]:
        for grouping, names in groupings.items():
            rows: list[dict[str, Any]] = []
            for place, name in enumerate(names):
                mean, stay = -0.01 * place / subset["keep"], subset["keep"] * (1 - 0.5 * place / len(names))
                few, loses = place == len(names) - 2, place == len(names) - 3
                rows.append(
                    {
                        "group": name,
                        "n_train": 140 + place,
                        "n_kept": round(stay * (140 + place)),
                        "kept_share": stay,
                        "n_test": 7 if few else 35,
                        "accuracy": [0.97 + mean, *([None] * 2 if few else [0.9 + mean, 0.99 + mean])],
                        "minus_full": [mean, *([None] * 2 if few else [mean - 0.03, mean + 0.03])],
                        "loses_more": None if few else loses,
                    }
                )
            rows[-1].update(n_test=0, accuracy=None, minus_full=None, loses_more=None)
            rows.sort(key=lambda row: row["minus_full"][0] if row["minus_full"] else 1.0)
            about = {key: subset[key] for key in ("score", "rule", "keep", "n")}
            entries.append({**about, "grouping": grouping, "in_test": True, "groups": rows})
        warnings.append(f"{names[-3]} loses more than the whole")
    notes = [{"name": name, "notes": [f"a note about {name}"]} for name in groupings]
    return {**verdict, "groups": entries, "groupings": notes, "warnings": warnings}


def _reason(seeds: int) -> str:
    if seeds < 2:
        return "1 seed is too few to decide: use --seeds 3 or more"
    return "no subset is shown to lose at most 0.5 points; nearest is el2n at 0.9"


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def made_up_provenance() -> dict[str, Any]:
    return {
        "command": "datadiet run digits --out runs/digits --scores el2n,forgetting --keep 0.3,0.5,0.7,0.9",
        "seeds": [0, 1, 2],
        "fingerprint": "sha256:5f0c8a91b2d7e63f9a4410c7d2e8b6aa01f35c7788e9d0431b6c2f4fe19a7d3c",
        "recipe": {
            "model": "mlp",
            "epochs": 12,
            "batch_size": 128,
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
            "precision": "float32",
            "augmentation": None,
        },
        "versions": {"datadiet": "0.1.0", "torch": "2.4.0", "numpy": "1.26.4", "python": "3.11.7"},
    }


def _kept(scores: dict[str, np.ndarray], verdict: dict[str, Any]) -> dict[str, np.ndarray]:
    kept = {}
    for subset in verdict["subsets"]:
        values = scores.get(subset["score"])
        if values is None:
            values = np.random.default_rng(1).random(len(next(iter(scores.values()))))
        mask = np.zeros(len(values), dtype=bool)
        mask[np.argsort(-values, kind="stable")[: round(subset["keep"] * len(values))]] = True
        kept[subset_key(subset)] = mask
    return kept


def image_report(seeds: int = 3) -> ReportContents:
    """Digits with made-up scores: images, two scores, four fractions."""
    digits = load_digits()
    images, labels = digits.images[:1437], digits.target[:1437]
    generator = np.random.default_rng(0)
    hard = generator.gamma(1.2, 1.0, 1437) * np.where(labels == 8, 2.0, 1.0)
    scores = {
        "el2n": np.tanh(0.25 * hard) * np.sqrt(2),
        "forgetting": generator.poisson(0.6 * hard).astype(float),
    }
    scores["forgetting"][:9] = np.inf
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    groupings = {"class": names, "writer": ("left-handed", "right-handed", "both", "(missing)")}
    verdict = made_up_groups(made_up_verdict(seeds), groupings)

    def view(row: int, values: np.ndarray) -> ExampleView:
        return ExampleView(row, names[labels[row]], float(values[row]), image=png(255 - images[row] * 15.9))

    galleries = []
    for score, values in scores.items():
        by_class = {}
        for number, name in enumerate(names):
            order = np.flatnonzero(labels == number)[np.argsort(values[labels == number], kind="stable")]
            by_class[name] = (
                [view(int(row), values) for row in order[:8]],
                [view(int(row), values) for row in order[::-1][:8]],
            )
        galleries.append(Gallery(score, by_class))
    return ReportContents(
        title="digits",
        verdict=verdict,
        scores=scores,
        labels=labels,
        class_names=names,
        kept=_kept(scores, verdict),
        galleries=galleries,
        provenance=made_up_provenance(),
        notes=["Scores were taken at epoch 4 of 12, in evaluation mode."],
    )


def one_seed_report() -> ReportContents:
    """The same with one training each: nothing can be decided."""
    return image_report(seeds=1)


def text_report() -> ReportContents:
    """Questions in six classes, one of them small; one score."""
    generator = np.random.default_rng(2)
    names = (
        "abbreviation",
        "description and abstract concept",
        "entity",
        "human being",
        "location",
        "number",
    )
    labels = generator.choice(6, 5452, p=(0.016, 0.213, 0.229, 0.224, 0.153, 0.165))
    scores = {"el2n": np.clip(generator.beta(0.6, 2.5, 5452) * 1.5, 0, np.sqrt(2))}
    verdict = made_up_verdict(3, ("el2n",))
    verdict.update(source="trec6.train.parquet", n_train=5452, n_test=500, budget="epochs")
    for subset in verdict["subsets"]:
        subset["n"] = round(subset["keep"] * 5452)
    verdict["full"]["n"] = 5452
    questions = (
        "What is the acronym for the rating system for air conditioner efficiency ?",
        "How did serfdom develop in and then leave Russia ?",
        "Why do heavier objects travel downhill faster ?",
        "What films featured the character Popeye Doyle , and which of them were seen in the most "
        "countries outside the one that they were made in, counting later showings on television as well "
        "as in cinemas , and what did those who wrote about them at the time say of the last scene ?",
    )
    by_class = {
        name: (
            [
                ExampleView(10 * row + place, name, 0.01 * place + 0.002, text=questions[place % 4])
                for place in range(4)
            ],
            [
                ExampleView(10 * row + place + 5, name, 1.31 - 0.02 * place, text=questions[-place % 4])
                for place in range(4)
            ],
        )
        for row, name in enumerate(names)
    }
    return ReportContents(
        title="TREC questions",
        verdict=verdict,
        scores=scores,
        labels=labels,
        class_names=names,
        kept=_kept(scores, verdict),
        galleries=[Gallery("el2n", by_class)],
        provenance=made_up_provenance(),
    )


def vector_report() -> ReportContents:
    """Rows of numbers, one fraction, scores only."""
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 200)
    by_class = {
        name: (
            [ExampleView(row, name, 0.1, vector=generator.normal(size=13)) for row in range(3)],
            [ExampleView(row, name, 1.1, vector=generator.normal(size=13)) for row in range(3)],
        )
        for name in ("benign", "malignant")
    }
    return ReportContents(
        title="measurements",
        verdict={"recommended": None, "reason": "no subset was compared"},
        scores={"loss": generator.exponential(size=200)},
        labels=labels,
        class_names=("benign", "malignant"),
        galleries=[Gallery("loss", by_class)],
    )


def thousand_class_report() -> ReportContents:
    """A thousand classes with long names and an image each side."""
    generator = np.random.default_rng(4)
    names = tuple(f"class number {row}, which has a rather long name, as some have" for row in range(1000))
    labels = np.concatenate([np.arange(1000), generator.integers(0, 1000, 19000) ** 2 // 1000])
    scores = {"el2n": generator.random(20000) + labels / 2000}
    verdict = made_up_verdict()
    picture = png(generator.integers(0, 255, (32, 32, 3)))
    views = [ExampleView(row, "any", 0.5, image=picture) for row in range(10)]
    return ReportContents(
        title="a thousand classes",
        verdict=verdict,
        scores=scores,
        labels=labels,
        class_names=names,
        kept=_kept(scores, verdict),
        galleries=[Gallery("el2n", dict.fromkeys(names, (views, views)))],
        provenance={},
    )


def hostile_report() -> ReportContents:
    """Everything that can come from the data tries to do harm."""
    generator = np.random.default_rng(6)
    labels = np.arange(200) % len(HOSTILE)
    scores = {name: generator.random(200) for name in (*HOSTILE[:3], *HOSTILE[8:])}
    verdict = made_up_verdict(3, HOSTILE[:3])
    verdict = made_up_groups(verdict, {"class": HOSTILE, HOSTILE[5]: HOSTILE})
    verdict.update(source="".join(HOSTILE[3:6]), n_train=200, recommended=verdict["subsets"][-4])
    views = [
        ExampleView(1, HOSTILE[0], 0.5, text=" ".join(HOSTILE)),
        ExampleView(2, HOSTILE[1], 0.4, image=b"\x89PNG\r\n\x1a\n" + HOSTILE[0].encode()),
        ExampleView(3, HOSTILE[2], float("nan"), image=b"<svg onload='document.title=1'/>"),
        ExampleView(4, HOSTILE[3], float("inf"), vector=[float("nan"), float("inf"), 1.0]),
    ]
    return ReportContents(
        title=HOSTILE[0],
        verdict=verdict,
        scores=scores,
        labels=labels,
        class_names=HOSTILE,
        kept=_kept(scores, verdict),
        galleries=[Gallery(HOSTILE[5], dict.fromkeys(HOSTILE, (views, views)))],
        provenance={
            "command": " ".join(HOSTILE),
            **{name: {name: list(HOSTILE), "b": name} for name in HOSTILE},
        },
        notes=list(HOSTILE),
    )


REPORTS = {
    "image": image_report,
    "one_seed": one_seed_report,
    "text": text_report,
    "vector": vector_report,
    "thousand_classes": thousand_class_report,
    "hostile": hostile_report,
    "undecided": answered_report,
}
