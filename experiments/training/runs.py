"""Runs with a folder each: trained by the shared loop, evaluated on validation images, tested once."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.training import folder as files
from experiments.training.folder import OUTPUTS, judged_accuracy
from experiments.training.job import Job, describe_run, seconds_since_start
from experiments.training.loop import Chunk, NextStop, about_every, describe_mode, train
from experiments.training.stops import LEARNED, WATCH_IMAGES, Plan, next_evaluation, next_watch
from mnistsum.calibration import Temperatures, fit_temperature
from mnistsum.config import Config, ObjectiveConfig
from mnistsum.data import digest
from mnistsum.evaluation import SCORES, best_permutation, evaluate, labeled_logits, score
from mnistsum.objective import held_out_cells, trained_outputs
from mnistsum.storage import CHECKPOINTS, Weights, save_checkpoint
from mnistsum.train import non_finite, trained_model
from mnistsum.types import QUANTITIES, Evaluation, Split, TrainState

FAILED = 0.9  # a run of an epoch or more failed if the test accuracy of an output that it trains is below this


class Resumed(NamedTuple):
    """Where a run goes on; by default, before its first step."""

    state: TrainState | None = None
    lines: Sequence[dict[str, Any]] = ()  # of its metrics
    train_seconds: float = 0.0  # spent so far
    wall_seconds: float = 0.0

    @property
    def step(self) -> int:
        """Return the steps that were taken so far."""
        return 0 if self.state is None else int(self.state.step)


BEGINNING = Resumed()


class Progress(NamedTuple):
    """Where runs stand at a stop; an evaluation is already on disk."""

    chunk: Chunk  # the last one
    runs: "list[SeedRun]"  # per seed
    is_evaluation: bool


class SeedRun:
    """The run of one seed during training."""

    def __init__(self, job: Job, seed: int, folder: Path, resumed: Resumed):
        self.job, self.folder = job, folder
        self.config = dataclasses.replace(job.config, seed=seed)
        self.lines = list(resumed.lines)
        self.train_seconds = resumed.train_seconds  # a share of the program's
        self.wall_before = resumed.wall_seconds
        self.learned: dict[str, int] = {}  # output to the step at which it was learned
        self.fault: str | None = None  # what was not finite
        self.state: TrainState
        self.evaluation: Evaluation  # the latest, on the validation images, or on the test images if there are none
        self.scores: dict[str, Any]  # of that evaluation

    def clock(self) -> dict[str, float]:
        """Return the seconds of training so far, and of the whole command."""
        return {"train_seconds": self.train_seconds, "wall_seconds": self.wall_before + seconds_since_start()}

    def loss(self) -> float:
        """Return the mean training loss since the epoch began."""
        return float(self.state.metrics.loss) / int(self.state.metrics.examples)

    def reach(self, state: TrainState, plan: Plan) -> None:
        """Take the state at a stop, and check that all numbers are finite."""
        self.state, self.fault = state, non_finite(state)
        if self.fault and plan.ends_at_fault:
            remedy = "a lower optimizer.learning_rate or an optimizer.clip_norm may help"
            if state.first_bad.step == 0 and QUANTITIES[int(state.first_bad.quantity)] != "parameters":
                remedy = "nothing had been updated: the network or the objective produces it"
            raise FloatingPointError(f"{self.fault}; it was not saved; {remedy}")

    def watch(self) -> None:
        """Record which outputs have reached LEARNED, on images without test-time shifts."""
        if self.fault or len(self.learned) == len(OUTPUTS):
            return
        few = Split(*(part[:WATCH_IMAGES] for part in self.job.data.validation))
        as_they_are = dataclasses.replace(self.config.data, test_shift=0)
        scores = score(evaluate(as_they_are, trained_model(self.state), few), few.labels)
        for output in OUTPUTS:
            if judged_accuracy(headline(self.config.objective, scores), output) >= LEARNED:
                self.learned.setdefault(output, int(self.state.step))

    def evaluate(self) -> None:
        """Evaluate on the validation images."""
        split = getattr(self.job.data, evaluated_split(self.config))
        self.evaluation = evaluate(self.config.data, trained_model(self.state), split)
        self.scores = score(self.evaluation, split.labels)

    def log_metrics(self) -> None:
        """Evaluate on the validation images, and write a line of metrics."""
        self.evaluate()
        step, metrics = int(self.state.step), self.state.metrics
        correct = {"digit_accuracy": metrics.digit_correct, "sum_accuracy": metrics.sum_correct}
        line = {
            "epoch": step / self.job.recipe.steps_per_epoch,
            "step": step,
            "train": {"loss": self.loss(), **{name: int(n) / int(metrics.examples) for name, n in correct.items()}},
            evaluated_split(self.config): headline(self.config.objective, self.scores),
            "clock": self.clock(),
        }
        self.lines.append(line)
        files.write_lines(self.folder, self.lines)

    def save(self) -> None:
        """Write a checkpoint."""
        extra = {**self.clock(), "lines": self.lines}
        save_checkpoint(self.folder / CHECKPOINTS, self.config, self.state, extra)

    def finish(self, plan: Plan) -> None:
        """Test the trained model, and write all remaining files."""
        data, model = self.job.data, trained_model(self.state)
        tested = evaluate(self.config.data, model, data.test) if plan.tests else self.evaluation
        scores = score(tested, data.test.labels) if plan.tests else self.scores
        has_validation = self.config.data.validation > 0
        is_sound = not self.fault and _is_finite(self.scores, scores)
        temperatures = self._calibrate() if plan.tests and has_validation and is_sound else None
        run = files.read_json(self.folder / files.RUN)
        accuracies = f"digit {scores['digit_accuracy']:.2%}, sum {scores['sum_accuracy']:.2%}"
        made_by = f"{run['command']}, commit {run['commit']}: {accuracies} of {scores['images']:,} images"
        weights = Weights(self.config, model, temperatures, made_by, self.job.record["data"])
        files.write_results(self.folder, weights, tested)
        summary = {
            "steps": int(self.state.step),
            **self.clock(),
            "mode": run["mode"],
            "failure": self.fault or _failure(self.config, self.scores, scores, plan),
            "learned": self.learned if plan.watches_learning else None,
            "weights": digest(jax.tree.leaves(model)),
            "permutation": self._permutation() if has_validation else None,
            "calibration": temperatures and temperatures._asdict(),
            **({"validation": headline(self.config.objective, self.scores)} if has_validation else {}),
            **({"test": scores} if plan.tests else {}),
        }
        files.write_summary(self.folder, summary)

    def _calibrate(self) -> Temperatures:
        """Return the temperatures, fitted on validation images."""
        logits = labeled_logits(self.evaluation, np.asarray(self.job.data.validation.labels))
        return Temperatures(**{output: fit_temperature(*logits[output]) for output in OUTPUTS})

    def _permutation(self) -> list[int]:
        """Return the best renaming of digits, fitted on validation images."""
        return best_permutation(np.asarray(self.evaluation.digit), np.asarray(self.job.data.validation.labels)).tolist()


def train_runs(
    job: Job, folders: Mapping[int, Path], plan: Plan, resumed: Resumed = BEGINNING, signals: Sequence[int] = ()
) -> Iterator[Progress]:
    """Train a job with each seed, several as one program, and write each seed's folder; yield at each stop.

    Args:
        job: what to train.
        folders: by seed, each prepared by `begin_runs`.
        plan: when to stop, and what to do there.
        resumed: where a single seed goes on.
        signals: receives a signal's number; the run then ends at its next stop.

    Raises:
        FloatingPointError: if a number is not finite and the plan ends the run then.
    """
    runs = [SeedRun(job, seed, folder, resumed) for seed, folder in folders.items()]
    if resumed.state is not None and resumed.step == job.recipe.steps:  # trained, but not tested
        runs[0].reach(resumed.state, plan)
        runs[0].evaluate()
    saved = time.monotonic()
    for chunk in train(job, list(folders), _next_stop(plan, job, runs), resumed.state):
        is_evaluation = chunk.step == next_evaluation(chunk.step - 1, plan, job.recipe)
        _take(chunk, runs, plan, is_evaluation)
        if plan.save_every and (is_evaluation or signals or time.monotonic() - saved > plan.save_every):
            runs[0].save()
            saved = time.monotonic()
        yield Progress(chunk, runs, is_evaluation)
        if signals and chunk.step < job.recipe.steps:
            return
    for run in runs:
        run.finish(plan)


def begin_runs(job: Job, folders: Mapping[int, Path], log: str | None = None) -> None:
    """Write what is known of each seed's run before its first step, and which further log it has."""
    run = describe_run(job, describe_mode(len(folders))) | {"log": log}
    for seed, folder in folders.items():
        files.begin(folder, dataclasses.replace(job.config, seed=seed), run)


def evaluated_split(config: Config) -> str:
    """Return the split that epochs are evaluated on."""
    return "validation" if config.data.validation else "test"


def headline(objective: ObjectiveConfig, scores: dict[str, Any]) -> dict[str, float]:
    """Return the scores that are single numbers; with held-out pairs, also the mean accuracy of the other cells."""
    numbers = {name: scores[name] for name in (*SCORES, "images", "pairs")}
    if objective.held_out:
        trained = np.array(scores["sum_accuracy_by_cell"])[~held_out_cells(objective)]
        numbers["sum_accuracy_trained_cells"] = float(np.nanmean(trained))  # nan: a label without images
    return numbers


def _failure(config: Config, validated: dict[str, Any], tested: dict[str, Any], plan: Plan) -> str | None:
    """Describe why a run failed, from its scores; None if it did not."""
    if not _is_finite(validated, tested):
        return "loss not finite on images that were not trained on"
    if not plan.tests or config.training.epochs < 1:
        return None
    judged = headline(config.objective, tested)
    low = [output for output in trained_outputs(config.objective) if judged_accuracy(judged, output) < FAILED]
    return f"{' and '.join(low)} below {100 * FAILED:.0f} %" if low else None


def _is_finite(*scores: dict[str, Any]) -> bool:
    return bool(np.isfinite([each[f"{output}_loss"] for each in scores for output in OUTPUTS]).all())


def _take(chunk: Chunk, runs: list[SeedRun], plan: Plan, is_evaluation: bool) -> None:
    """Hand a chunk's states to the runs; those with a fault note nothing more."""
    for run, state in zip(runs, chunk.states(), strict=True):
        if run.fault:
            continue
        run.train_seconds += chunk.seconds / len(runs)
        run.reach(state, plan)
        if plan.watches_learning:
            run.watch()
        if is_evaluation or run.fault:
            run.log_metrics()


def _next_stop(plan: Plan, job: Job, runs: list[SeedRun]) -> NextStop:
    """Return when runs that follow a plan stop."""
    pausing = about_every(plan.pause) if plan.pause else None

    def next_stop(chunk: Chunk) -> int:
        if all(run.fault for run in runs):
            return chunk.step
        steps = [next_evaluation(chunk.step, plan, job.recipe)]
        if plan.watches_learning and any(not run.fault and len(run.learned) < len(OUTPUTS) for run in runs):
            steps.append(next_watch(chunk.step, job.recipe))
        if pausing is not None:
            steps.append(pausing(chunk))
        return min(steps)

    return next_stop
