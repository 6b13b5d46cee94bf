"""The training loop that all programs share, for one seed or several."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.training import folder as run_folder
from experiments.training.folder import evaluated_split, judged_accuracy
from experiments.training.plan import Plan, Stop, next_stop
from experiments.training.record import Experiment
from mnistsum.config import Config, ObjectiveConfig
from mnistsum.data import digest
from mnistsum.evaluation import SCORES, best_permutation, evaluate, score
from mnistsum.objective import held_out_cells, trained_outputs
from mnistsum.seeds import compile_advance_seeds, init_seeds, unstack
from mnistsum.storage import CHECKPOINTS, Weights, save_checkpoint
from mnistsum.train import split_keys, trained_model
from mnistsum.types import OUTPUTS, Evaluation, Keys, Split, TrainState

# a run of at least one epoch fails if a trained output's test accuracy is lower
MIN_ACCURACY = 0.9
SAVE_EVERY = 60.0  # seconds after which a stop saves a checkpoint, as evaluations do


class Start(NamedTuple):
    """Where runs start: at the first step, or a single one at a checkpoint."""

    about: dict[str, Any]  # the content of run.json
    state: TrainState | None = None  # None: the seed draws it
    lines: Sequence[dict[str, Any]] = ()  # of its metrics
    train_seconds: float = 0.0  # spent so far
    wall_seconds: float = 0.0  # of the command so far, and of those that were stopped

    @property
    def step(self) -> int:
        """The number of steps taken so far."""
        return 0 if self.state is None else int(self.state.step)


@dataclass
class Run:
    """The run of one seed while it is trained."""

    config: Config
    folder: Path
    about: dict[str, Any]  # the content of run.json
    state: TrainState
    lines: list[dict[str, Any]]  # of metrics.jsonl
    train_seconds: float  # a share of the program's
    wall_seconds: float  # before `began`
    began: float  # time.monotonic() when `fit` began
    # the latest, on the validation images, or on the test images if none
    evaluation: Evaluation | None = None
    scores: dict[str, Any] = field(default_factory=dict)  # of that evaluation
    fault: str | None = None  # says which step had a number that is not finite

    @property
    def train_loss(self) -> float:
        """Mean training loss since the epoch began."""
        return float(self.state.metrics.loss) / int(self.state.metrics.examples)

    def clock(self) -> dict[str, float]:
        """Return the seconds of training so far, and of all."""
        return {
            "train_seconds": self.train_seconds,
            "wall_seconds": self.wall_seconds + time.monotonic() - self.began,
        }


def fit(
    experiment: Experiment,
    folders: Mapping[int, Path],
    plan: Plan,
    start: Start,
    signals: Sequence[int] = (),
) -> Iterator[tuple[Stop, list[Run]]]:
    """Train a run for each seed, in one program; leave finished folders.

    Args:
        experiment: what to train.
        folders: by seed.
        plan: when to stop, and what to do there.
        start: where the runs start.
        signals: receives a signal's number; the run then ends at its next stop.

    Raises:
        FloatingPointError: if a number is not finite and the plan ends the run then.
    """
    began, spec = time.monotonic(), experiment.spec
    advancing, evaluating = _compile(experiment, len(folders))
    keys, state, data = _place(experiment, list(folders), start.state)
    runs = _begin(experiment, folders, start, state, began)
    if start.state is not None and start.step == 0:
        save_run(experiment, runs[0])  # given weights cannot be drawn again from a seed
    advance, saved, stop = advancing.result(), time.monotonic(), Stop(start.step)
    while stop.step < spec.steps and not all(run.fault for run in runs):
        until, is_evaluation = next_stop(plan, spec, stop)
        is_undisturbed = evaluating.done()
        before = time.perf_counter()
        state = jax.block_until_ready(advance(keys, state, data, np.int32(until)))
        seconds = time.perf_counter() - before
        stop = Stop(until, until - stop.step, seconds, is_evaluation, is_undisturbed)
        for run, own_state in zip(runs, _by_seed(state, len(runs)), strict=True):
            if not run.fault:  # a run with a fault notes nothing more
                run.state = own_state
                run.train_seconds += seconds / len(runs)
                note_stop(experiment, run, plan, is_evaluation)
        yield stop, runs
        is_ended = bool(signals)  # once, because they arrive at any time
        is_due = is_evaluation or is_ended or time.monotonic() - saved > SAVE_EVERY
        if plan.is_resumable and is_due:  # only a single run is
            save_run(experiment, runs[0])
            saved = time.monotonic()
        if is_ended and stop.step < spec.steps:
            return
    for run in runs:
        finish_run(experiment, run, plan)


def note_stop(
    experiment: Experiment, run: Run, plan: Plan, is_evaluation: bool
) -> None:
    """Note what a run has reached at a stop: a fault, or a line of metrics."""
    if run.state.fault >= 0:
        step = int(run.state.fault) + 1
        run.fault = f"loss, gradient or parameters not finite at step {step}"
    if run.fault and plan.is_resumable:
        remedy = "a lower optimizer.learning_rate or an optimizer.clip_norm may help"
        if run.state.fault == 0:
            remedy = (
                "at the first step, the cause is in the network, the objective or the "
                "optimizer"
            )
        raise FloatingPointError(f"{run.fault}; it was not saved; {remedy}")
    if is_evaluation or run.fault:
        evaluate_run(experiment, run)
        run.lines.append(line_of_metrics(experiment, run))
        run_folder.write_lines(run.folder, run.lines)


def evaluate_run(experiment: Experiment, run: Run) -> Evaluation:
    """Return and note a run's evaluation, on validation images if there are any."""
    split = getattr(experiment.data, evaluated_split(run.config))
    run.evaluation = evaluate(run.config.data, trained_model(run.state), split)
    run.scores = score(run.evaluation, split.labels)
    return run.evaluation


def line_of_metrics(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Return a line of `metrics.jsonl`."""
    step, metrics = int(run.state.step), run.state.metrics
    shares = {
        f"{output}_accuracy": int(getattr(metrics, f"{output}_correct"))
        / int(metrics.examples)
        for output in OUTPUTS
    }
    return {
        "epoch": step / experiment.spec.steps_per_epoch,
        "step": step,
        "train": {"loss": run.train_loss, **shares},
        evaluated_split(run.config): headline(run.config.objective, run.scores),
        "clock": run.clock(),
    }


def save_run(experiment: Experiment, run: Run) -> None:
    """Write a checkpoint, from which the run can be resumed."""
    extra = {"lines": run.lines, **run.clock(), "evaluation": experiment.evaluation}
    save_checkpoint(run.folder / CHECKPOINTS, run.config, run.state, extra)


def finish_run(experiment: Experiment, run: Run, plan: Plan) -> None:
    """Test the trained model, and write all remaining files."""
    config, data, model = run.config, experiment.data, trained_model(run.state)
    # there is none if it was resumed after the last step
    validated = run.evaluation or evaluate_run(experiment, run)
    tested, scores = validated, run.scores
    if plan.tests and config.data.validation:
        tested = evaluate(config.data, model, data.test)
        scores = score(tested, data.test.labels)
    failure = run.fault or _failure(config, run.scores, scores, plan)
    permutation = None
    if config.data.validation:
        labels = np.asarray(data.validation.labels)
        permutation = best_permutation(np.asarray(validated.digit), labels).tolist()
    made_by = (
        f"{run.about['command']}, commit {run.about['commit']}: digit "
        f"{scores['digit_accuracy']:.2%}, sum {scores['sum_accuracy']:.2%} of "
        f"{scores['images']:,} images"
    )
    data_digests = experiment.record["data"]
    weights = Weights(config, model, made_by, data_digests, experiment.evaluation)
    run_folder.write_results(run.folder, weights, tested)
    summary = {
        "steps": int(run.state.step),
        **run.clock(),
        "mode": run.about["mode"],
        "failure": failure,
        "weights": digest(jax.tree.leaves(model)),
        "permutation": permutation,
    }
    if config.data.validation:
        summary["validation"] = headline(config.objective, run.scores)
    if plan.tests:
        summary["test"] = scores
    run_folder.write_summary(run.folder, summary)


def headline(objective: ObjectiveConfig, scores: dict[str, Any]) -> dict[str, float]:
    """Return the scores that are single numbers.

    With held-out pairs, they include the mean accuracy of the other cells.
    """
    numbers = {name: scores[name] for name in (*SCORES, "images", "pairs")}
    if objective.held_out:
        trained = np.array(scores["sum_accuracy_by_cell"])[~held_out_cells(objective)]
        # nan: a label without images
        numbers["sum_accuracy_trained_cells"] = float(np.nanmean(trained))
    return numbers


def _failure(
    config: Config, validated: dict[str, Any], tested: dict[str, Any], plan: Plan
) -> str | None:
    """Describe why a run failed, from its scores; None if it did not."""
    losses = [each["digit_loss"] + each["sum_loss"] for each in (validated, tested)]
    if not np.isfinite(losses).all():
        return "loss not finite on images that were not trained on"
    if not plan.tests or config.training.epochs < 1:
        return None
    judged = headline(config.objective, tested)
    low = [
        output
        for output in trained_outputs(config.objective)
        if judged_accuracy(judged, output) < MIN_ACCURACY
    ]
    return f"{' and '.join(low)} below {100 * MIN_ACCURACY:.0f} %" if low else None


def _begin(
    experiment: Experiment,
    folders: Mapping[int, Path],
    start: Start,
    state: TrainState,
    began: float,
) -> list[Run]:
    """Return the runs, whose folders now hold what is known at the start."""
    runs = []
    for (seed, folder), own_state in zip(
        folders.items(), _by_seed(state, len(folders)), strict=True
    ):
        config, lines = replace(experiment.config, seed=seed), list(start.lines)
        seconds = start.train_seconds, start.wall_seconds, began
        runs.append(Run(config, folder, start.about, own_state, lines, *seconds))
        if start.step == 0:
            run_folder.begin(folder, config, start.about)
        # those in the file may be of later steps, or damaged
        run_folder.write_lines(folder, lines)
    return runs


def _place(
    experiment: Experiment, seeds: list[int], state: TrainState | None
) -> tuple[Keys, TrainState, Split]:
    """Return what `advance` takes, on the device: keys, state and images."""
    spec, images = experiment.spec, experiment.data.train
    if len(seeds) > 1:
        return init_seeds(spec, seeds, images)
    keys = split_keys(seeds[0])
    if state is None:
        state = experiment.programs["initialization"].compile()(keys)
    return jax.device_put((keys, state, images))


def _by_seed(state: TrainState, seeds: int) -> list[TrainState]:
    """Return the state of each seed; of several, without the optimizer's."""
    return [state] if seeds == 1 else unstack(state._replace(opt_state=None), seeds)


def _compile(experiment: Experiment, seeds: int) -> tuple[Future, Future]:
    """Start to compile `advance` and the evaluation, in another thread."""
    spec, programs = experiment.spec, experiment.programs
    n = len(experiment.data.train.labels)

    def compile_advance() -> Any:
        if seeds > 1:
            return compile_advance_seeds(spec, n, seeds)
        return programs["training"].compile()

    pool = ThreadPoolExecutor(1)
    futures = pool.submit(compile_advance), pool.submit(programs["evaluation"].compile)
    pool.shutdown(wait=False)  # accept no more calls
    return futures
