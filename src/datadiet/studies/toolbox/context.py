"""What a study works with: runs that all studies of a workspace share, their scores, retrainings, and noisy labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from datadiet.data import Batch, Examples, corrupt
from datadiet.data.corruption import Corrupted
from datadiet.engine.children import train_child
from datadiet.engine.points import measure_grand, measure_points
from datadiet.engine.runs import Run, describe, train_run
from datadiet.engine.setup import Setup, prepare
from datadiet.engine.training.recipe import Recipe
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.arms import FRESH_SEEDS, random_arm
from datadiet.scores import card
from datadiet.selection import kept_size, select
from datadiet.studies.toolbox.scale import Scale
from datadiet.tracking import scores_from_trace


@dataclass
class StudyContext:
    """What a study works with: data, recipe, machine, scale, and a count of what was trained and what was there.

    Scoring runs are always trained to the end, recorded, with weights kept at the same moments, whichever
    study asks first: so no study makes another's run again. Retraining seeds are those of `datadiet run`.

    Args:
        setup: data, recipe, machine.
        scale: sizes.
        seed: base of all seeds.
        notes: sentences on what was scaled down or left out, for the result.
        trained: addresses of runs that were trained by this study.
        reused: addresses of runs that were there already.
        machine: arguments of `datadiet.engine.setup.prepare` on memory and workers, for contexts made from this one.
        domains: intent -> domain, for studies of pools; None to tell domains from the intents' names.
    """

    setup: Setup
    scale: Scale
    seed: int = 0
    notes: list[str] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    reused: set[str] = field(default_factory=set)
    machine: Mapping[str, Any] = field(default_factory=dict)
    domains: Mapping[str, str] | None = None
    _opened: list[Setup] = field(default_factory=list, init=False, repr=False)

    def on(self, examples: Examples) -> StudyContext:
        """A context on other data, such as the same with wrong labels: recipe, workspace and counts are shared."""
        return self._beside(examples, self.setup.recipe)

    def with_recipe(self, **changes: Any) -> StudyContext:
        """A context with other fields of the recipe, such as another model: data, workspace and counts are shared."""
        return self._beside(self.setup.examples, self.setup.recipe.replace(**changes))

    def _beside(self, examples: Examples, recipe: Recipe) -> StudyContext:
        setup = prepare(
            examples,
            recipe,  # resolved already, so nothing is measured anew
            workspace=self.setup.workspace,
            device=self.setup.accelerator.device.type,
            display=self.setup.display,
            checkpoint_every=self.setup.checkpoint_every,
            on_leak=self.setup.on_leak,
            **self.machine,
        )
        beside = StudyContext(
            setup, self.scale, self.seed, self.notes, self.trained, self.reused, machine=self.machine
        )
        beside._opened = self._opened
        self._opened.append(setup)
        return beside

    def leave(self, beside: StudyContext) -> None:
        """Let a context that was made from this one go before all the others, with the data that it holds."""
        beside.setup.close()
        self._opened[:] = [setup for setup in self._opened if setup is not beside.setup]

    def close(self) -> None:
        """Let workers of all stores go, also of contexts made from this one."""
        for setup in (self.setup, *self._opened):
            setup.close()
        self._opened.clear()

    def note(self, sentence: str) -> None:
        """Say once, and in the result, what was scaled down or left out."""
        self.setup.display.say(sentence)
        if sentence not in self.notes:
            self.notes.append(sentence)

    @property
    def total_steps(self) -> int:
        """Steps of a run over all data."""
        return self.setup.recipe.total_steps(len(self.setup.examples.train))

    @property
    def score_steps(self) -> dict[float, int]:
        """Share of the run -> step at which weights are kept; shares that fall on one step are one.

        Scores of the trace look at whole epochs, so a share above 0 is at least the end of the first epoch,
        rounded to whole epochs.
        """
        per_epoch = self.setup.steps_per_epoch
        steps: dict[int, float] = {}
        for share in self.scale.score_shares:
            epoch = round(share * self.total_steps / per_epoch)
            step = 0 if share == 0 else min(self.total_steps, max(1, epoch) * per_epoch)
            steps.setdefault(step, share)
        return {share: step for step, share in sorted(steps.items())}

    @property
    def score_step(self) -> int:
        """The step of scores in studies with one fixed score epoch."""
        wanted = self.scale.score_share * self.total_steps
        return min((step for step in self.score_steps.values() if step), key=lambda step: abs(step - wanted))

    @property
    def score_epoch(self) -> float:
        """The epoch at the end of that step."""
        return self.epoch_of(self.score_step)

    def epoch_of(self, step: int) -> float:
        """The epoch at the end of a step, over all data."""
        return step / self.setup.steps_per_epoch

    def scoring_run(self, index: int) -> Run:
        """The index-th scoring run, whole, with its trace and its weights at `score_steps`."""
        steps, label = list(self.score_steps.values()), f"scoring run {index + 1}"
        return self.count(
            train_run(self.setup, self.seed + index, record=True, weights_at=steps, label=label)
        )

    def retrain(
        self,
        ids: np.ndarray | None,
        index: int,
        label: str = "",
        *,
        setup: Setup | None = None,
        weights: bool = False,
    ) -> Run:
        """Train on some ids (None for all) with the index-th retraining seed.

        Args:
            ids: to train on.
            index: of the seed.
            label: what the progress bar calls it.
            setup: another one than the context's, such as one with another recipe.
            weights: keep those of the end.
        """
        chosen = None if ids is None else np.sort(np.asarray(ids, dtype=np.int64))
        used, seed = setup or self.setup, self.seed + FRESH_SEEDS + index
        last = (int(describe(used, seed, chosen, False)["total_steps"]),) if weights else ()
        return self.count(train_run(used, seed, ids=chosen, weights_at=last, label=label))

    def epochs_run(self, index: int, steps: Sequence[int]) -> Run:
        """The index-th scoring run over again, without its trace, with its weights at moments of a study's own."""
        label = f"run {index + 1} epoch by epoch"
        return self.count(train_run(self.setup, self.seed + index, weights_at=steps, label=label))

    def child(self, parent: Run, step: int, index: int) -> Run:
        """The index-th training that goes on from a run's weights at a step with SGD noise of its own."""
        label = f"child {index + 1} of seed {parent.seed} from step {step}"
        return self.count(train_child(self.setup, parent, step, index, label=label), begins=step)

    def count(self, run: Run, begins: int = 0) -> Run:
        """Take a run into the counts of what was trained and what was there; `begins` is its first step."""
        name = run.folder.path.name
        if run.trained:
            self.trained.add(name)
        elif name not in self.trained | self.reused:
            self.setup.display.skip(run.total_steps - begins)
            self.reused.add(name)
        return run

    def correct(
        self, ids: np.ndarray | Callable[[int], np.ndarray | None] | None, label: str = ""
    ) -> np.ndarray:
        """Which test examples are right after training on some ids: bool (retraining seeds, test examples).

        Args:
            ids: to train on; None for all; a function of the seed's index where each seed has its own.
            label: what the progress bar calls it.
        """
        rows = []
        for index in range(self.scale.retrain_seeds):
            chosen = ids(index) if callable(ids) else ids
            rows.append(correct_of(self.retrain(chosen, index, f"{label}, seed {index + 1}")))
        return np.stack(rows)

    def correct_on_random(self, fraction: float) -> np.ndarray:
        """The same for random subsets, every seed its own: the baseline of every study, shared with `datadiet run`."""
        size = kept_size(len(self.setup.examples.train), fraction)
        arm = random_arm(self.setup, fraction, size, self.seed)
        return self.correct(arm.ids_for, f"random {fraction:g}")

    def per_seed(self, name: str, step: int, seeds: int | None = None) -> np.ndarray:
        """A score of every training example, higher = harder, from each scoring run: (seeds, n).

        Args:
            name: any registered score of outputs, trace, inputs or gradients.
            step: of the weights; scores of the trace look at the epochs up to it.
            seeds: how many scoring runs; all of the scale's by default.
        """
        found = card(name)
        rows = []
        for index in range(self.scale.score_seeds if seeds is None else seeds):
            run = self.scoring_run(index)
            if found.needs == "trace":
                epoch = round(self.epoch_of(step))
                values = scores_from_trace(run.trace(), [name], through_epoch=epoch)[name]
            elif name == "grand":
                values = measure_grand(self.setup, run, step).columns[name]
            else:
                values = measure_points(self.setup, run, step, [name]).columns[name]
            rows.append(values if found.higher_is_harder else -values)
        return np.stack(rows).astype(np.float64)

    def hardness(self, name: str, step: int) -> np.ndarray:
        """The mean over the scoring runs of a score, higher = harder: (n,)."""
        return np.asarray(self.per_seed(name, step).mean(axis=0))

    def keep(
        self, hardness: np.ndarray, fraction: float, rule: str = "hardest", **options: Any
    ) -> np.ndarray:
        """Ids that stay by a hardness, at a fraction."""
        train, seed = self.setup.examples.train, self.seed
        return select(train.ids, hardness, fraction, rule=rule, labels=train.labels, seed=seed, **options)

    def batches(self, ids: np.ndarray, size: int) -> Iterator[Batch]:
        """Training examples in the order of their ids, on the device, in the recipe's memory format."""
        channels_last = self.setup.recipe.memory_format == "channels_last"
        return self.setup.train.epoch(
            ids,
            batch_size=size,
            device=self.setup.accelerator.device,
            memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        )

    def planned_steps(self, fraction: float = 1.0) -> int:
        """Steps of one training on a kept fraction, under the recipe's budget."""
        train = self.setup.examples.train
        size = kept_size(len(train), fraction)
        return int(describe(self.setup, 0, train.ids[:size], False)["total_steps"])


def correct_of(run: Run) -> np.ndarray:
    """Which test examples a finished run is right on, bool (test examples,)."""
    return np.asarray(run.test_predictions()["correct"].astype(bool))


def with_wrong_labels(context: StudyContext) -> tuple[StudyContext, Corrupted]:
    """A context on the data with the scale's share of training labels made wrong, and which they are.

    Every study draws the same wrong labels (symmetric, by the context's seed), so that they share the runs.

    Raises:
        BadInputError: there are too few examples for a single wrong label.
    """
    corrupted = corrupt(context.setup.examples, context.scale.noise, "symmetric", seed=context.seed)
    count, size = int(corrupted.mask.sum()), len(corrupted.mask)
    if not 0 < count < size:
        raise BadInputError(
            f"{context.scale.noise:g} of {size} training labels are {count}: no wrong labels beside right ones; "
            "use more data."
        )
    context.note(f"Wrong labels: {count:,} of {size:,}, drawn once, evenly over examples and other classes.")
    return context.on(corrupted.examples), corrupted
