"""Runs with a folder each: trained by the shared loop, evaluated on held-out images, tested once."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import environment, run_folder
from experiments.run_folder import Finished
from experiments.training.loop import Pace, Stop, about_every, describe_mode, train
from experiments.training.plan import Plan, next_evaluation, next_watch
from experiments.training.seed_run import SeedRun, leads
from mnistsum import checkpoint
from mnistsum.config import Config, judges_epochs
from mnistsum.evaluation import Scores
from mnistsum.models import Model
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.train import Recipe, make_recipe, trained_model
from mnistsum.types import Data, TrainState

NO_TIME = {"train_seconds": 0.0, "wall_seconds": 0.0}


class Progress(NamedTuple):
    """The progress of runs; its evaluations are already on disk."""

    stop: Stop | None  # the last one; None: no step was left
    loss: float  # mean of the seeds' training losses since the epoch began
    scores: list[Scores] | None  # per seed, on the held-out images; None: no evaluation
    finished: list[Finished] | None  # per seed, at the end; `summary.json` is written once the caller goes on


def describe_run(config: Config, record: dict[str, Any], command: str, seeds: int = 1) -> dict[str, Any]:
    """Return the content of `run.json`: how the run was made, and the record of what decides it."""
    described = environment.describe(command)
    return {
        **described,
        **record,
        "versions": described["versions"],
        "mode": describe_mode(seeds),
        "parameters": count_parameters(config.model),
        "multiply_adds": count_multiply_adds(config.model),
        "clock": {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z")},
    }


def train_runs(
    config: Config,
    folders: dict[int, Path],
    data: Data,
    plan: Plan,
    *,
    program: Future | None = None,
    state: TrainState | None = None,
    best: Model | None = None,
    spent: dict[str, float] = NO_TIME,
    started: float | None = None,
    caught: Sequence[int] = (),
) -> Iterator[Progress]:
    """Train a config with each seed, several as one program, and write each seed's folder; yield at each stop.

    Exhaust the iterator: `summary.json` is written last, so that its seconds include what the caller does in between.

    Args:
        config: its seed is ignored.
        folders: by seed, each prepared by `run_folder.begin`.
        data: the data set; evaluations use its validation images, or its test images if there are none.
        plan: when to stop, and what to do there.
        program: a future of `loop.compile_program`, if it was started in the background.
        state: of a single seed, to resume from; None: start before the first step.
        best: the best model before that state, if the config keeps the best.
        spent: the seconds spent before this call.
        started: the clock's reading (`time.perf_counter`) when the command began; None: now.
        caught: a list that receives a signal's number; the run then ends at its next stop.

    Raises:
        FloatingPointError: if a number is not finite and the plan ends the run then.
    """
    started = time.perf_counter() if started is None else started
    recipe = make_recipe(config, len(data.train.labels))
    if judges_epochs(config):
        plan = dataclasses.replace(plan, max_evaluations=None)  # so that each epoch's end is evaluated
    seeds = [SeedRun(dataclasses.replace(config, seed=seed), recipe, folder, best) for seed, folder in folders.items()]
    for seed in seeds:
        seed.train_seconds = spent["train_seconds"]
    saved = time.perf_counter()

    def clock(seed: SeedRun) -> dict[str, float]:
        wall_seconds = spent["wall_seconds"] + time.perf_counter() - started
        return {"train_seconds": seed.train_seconds, "wall_seconds": wall_seconds}

    if state is not None and (int(state.step) == recipe.steps or seeds[0].is_over()):  # trained, but not tested
        seeds[0].note(state, plan)
        seeds[0].evaluate(data, trained_model(state))
    pace = _pace(plan, recipe, seeds)
    stop = None
    for stop in train(config, list(folders), data.train, pace, program=program, state=state, caught=caught):
        is_evaluation = stop.step == next_evaluation(stop.step - 1, plan, recipe)
        for seed, state in zip(seeds, stop.states(), strict=True):
            if seed.is_over():  # nothing more is noted then
                continue
            seed.train_seconds += stop.seconds / len(seeds)
            seed.note(state, plan)
            if plan.watches_learning:
                seed.watch(data.validation)
            if is_evaluation or seed.fault:
                seed.log_metrics(data, clock(seed))
        if plan.save_every and (is_evaluation or stop.signal or time.perf_counter() - saved > plan.save_every):
            if leads():
                first = seeds[0]
                kept = clock(first) | {"lines": first.lines}  # so that a damaged history can be mended
                checkpoint.save(first.folder / run_folder.CHECKPOINTS, first.config, stop.state, kept, first.best)
            saved = time.perf_counter()
        loss = float(np.mean([seed.loss() for seed in seeds]))
        scores = [seed.scores for seed in seeds] if is_evaluation else None
        yield Progress(stop, loss, scores, None)  # pyright: ignore[reportArgumentType]: each has been evaluated
        if stop.signal and stop.step < recipe.steps:
            return
    if leads():
        mode = describe_mode(len(seeds))
        finished = [seed.finish(data, plan, mode, clock(seed)) for seed in seeds]
        yield Progress(stop, seeds[0].loss(), None, finished)
        for seed, run in zip(seeds, finished, strict=True):
            run_folder.write_summary(run.folder, run.summary | clock(seed))


def _pace(plan: Plan, recipe: Recipe, seeds: list[SeedRun]) -> Pace:
    """Return when runs that follow a plan stop."""
    pausing = about_every(plan.pause) if plan.pause else None

    def pace(stop: Stop) -> int:
        if all(seed.is_over() for seed in seeds):
            return stop.step
        steps = [next_evaluation(stop.step, plan, recipe)]
        if plan.watches_learning and any(not seed.is_over() and len(seed.learned) < 2 for seed in seeds):
            steps.append(next_watch(stop.step, recipe))
        if pausing is not None:
            steps.append(pausing(stop))
        return min(steps)

    return pace
