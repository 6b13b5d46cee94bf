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
from experiments.training.loop import Chunk, Pace, about_every, describe_mode, train
from experiments.training.plan import Plan, next_evaluation, next_watch
from experiments.training.seed_run import SeedRun
from mnistsum import checkpoint
from mnistsum.config import Config
from mnistsum.evaluation import Scores
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.train import Recipe, make_recipe, trained_model
from mnistsum.types import Data, TrainState

NO_TIME = {"train_seconds": 0.0, "wall_seconds": 0.0}


class Progress(NamedTuple):
    """The progress of runs; its evaluations are already on disk."""

    chunk: Chunk | None  # the last one; None: no step was left
    loss: float  # mean of the seeds' training losses since the epoch began
    scores: list[Scores] | None  # per seed, on the held-out images; None: no evaluation
    finished: list[Finished] | None  # per seed, at the end; `summary.json` is written once the generator is resumed


def describe_run(config: Config, record: dict[str, Any], command: str, seeds: int = 1) -> dict[str, Any]:
    """Return the content of `run.json`: how the run was made, and the record of what decides it."""
    described = environment.describe(command)
    return {
        **record,
        **described,  # whose versions replace the record's, as they include Python's
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
        spent: the seconds spent before this call.
        started: the clock's reading (`time.perf_counter`) when the command began; None: now.
        caught: a list that receives a signal's number; the run then ends at its next stop.

    Raises:
        FloatingPointError: if a number is not finite and the plan ends the run then.
    """
    started = time.perf_counter() if started is None else started
    recipe = make_recipe(config, len(data.train.labels))
    runs = [SeedRun(dataclasses.replace(config, seed=seed), recipe, folder) for seed, folder in folders.items()]
    for run in runs:
        run.train_seconds = spent["train_seconds"]
    saved = time.perf_counter()

    def clock(run: SeedRun) -> dict[str, float]:
        wall_seconds = spent["wall_seconds"] + time.perf_counter() - started
        return {"train_seconds": run.train_seconds, "wall_seconds": wall_seconds}

    def loss() -> float:
        return float(np.mean([run.loss() for run in runs]))

    if state is not None and int(state.step) == recipe.steps:  # trained, but not tested
        runs[0].store_state(state, plan)
        runs[0].evaluate(data, trained_model(state))
    pace = _pace(plan, recipe, runs)
    chunk = None
    for chunk in train(config, list(folders), data.train, pace, program=program, state=state, caught=caught):
        is_evaluation = chunk.step == next_evaluation(chunk.step - 1, plan, recipe)
        for run, reached in zip(runs, chunk.states(), strict=True):
            if run.fault:  # nothing more is noted then
                continue
            run.train_seconds += chunk.seconds / len(runs)
            run.store_state(reached, plan)
            if plan.watches_learning:
                run.watch(data.validation)
            if is_evaluation or run.fault:
                run.log_metrics(data, clock(run))
        if plan.save_every and (is_evaluation or chunk.signal or time.perf_counter() - saved > plan.save_every):
            first = runs[0]
            kept = clock(first) | {"lines": first.lines}  # so that damaged metrics can be restored
            checkpoint.save(first.folder / run_folder.CHECKPOINTS, first.config, chunk.state, kept)
            saved = time.perf_counter()
        scores = [run.scores for run in runs] if is_evaluation else None
        yield Progress(chunk, loss(), scores, None)  # pyright: ignore[reportArgumentType]: each has been evaluated
        if chunk.signal and chunk.step < recipe.steps:
            return
    mode = describe_mode(len(runs))
    finished = [run.finish(data, plan, mode, clock(run)) for run in runs]
    yield Progress(chunk, loss(), None, finished)
    for run, end in zip(runs, finished, strict=True):
        run_folder.write_summary(end.folder, end.summary | clock(run))


def _pace(plan: Plan, recipe: Recipe, runs: list[SeedRun]) -> Pace:
    """Return when runs that follow a plan stop."""
    pausing = about_every(plan.pause) if plan.pause else None

    def pace(chunk: Chunk) -> int:
        if all(run.fault for run in runs):
            return chunk.step
        steps = [next_evaluation(chunk.step, plan, recipe)]
        if plan.watches_learning and any(not run.fault and len(run.learned) < 2 for run in runs):
            steps.append(next_watch(chunk.step, recipe))
        if pausing is not None:
            steps.append(pausing(chunk))
        return min(steps)

    return pace
