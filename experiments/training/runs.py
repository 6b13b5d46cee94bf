"""Runs that leave a folder each: trained by the one loop, looked at on held-out images, tested once."""

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import environment, run_folder
from experiments.run_folder import Finished
from experiments.training.loop import Pace, Stop, about_every, describe_mode, every, train
from mnistsum import checkpoint
from mnistsum.calibration import Temperatures, fit_temperature, reliability
from mnistsum.config import Config, ObjectiveConfig, judges_epochs
from mnistsum.evaluation import Scores, best_permutation, evaluate, labeled_logits, score
from mnistsum.models import Model
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.objective import held_out_cells
from mnistsum.train import Recipe, make_recipe, non_finite, trained_model
from mnistsum.types import Data, Evaluation, Split, TrainState

NO_TIME = {"train_seconds": 0.0, "wall_seconds": 0.0}
LEARNED = 0.98  # accuracy of an output that has been learned
WATCHED = 512  # examples between two looks at whether it has
LOOKED_AT = 1000  # validation images of such a look
FAILED = 0.9  # a run below it in the test accuracy of what it was trained for has failed, after an epoch or more


@dataclass(frozen=True)
class Plan:
    """What is looked at in a run, and when: all in which the programs' runs differ."""

    looks: int = 1  # an epoch, at all held-out images; the run's end is another
    most_looks: int | None = None  # of a run; None: as many as that makes
    watches_learning: bool = False  # note at which step each output reaches LEARNED on some validation images
    pause: float | None = None  # seconds of training between stops that show progress and heed signals; None: none
    save_every: float | None = None  # seconds between checkpoints, at most; each look is one, too; None: none are kept
    ends_at_fault: bool = False  # a number that is not finite ends the run with an error; else the run counts as failed
    tests: bool = True  # read the test set at the end; else the validation images give the predictions


RUN = Plan(pause=1.0, save_every=60.0, ends_at_fault=True)
COMPARED = Plan(looks=4, most_looks=64, watches_learning=True)
VALIDATED = Plan(tests=False)  # of searches and tuning


class Progress(NamedTuple):
    """Where runs stand; what it says is on the disk."""

    stop: Stop | None  # the last one; None: no step was left
    loss: float  # mean of the seeds' training losses since the epoch began
    scores: list[Scores] | None  # of each seed on the held-out images, where they were looked at
    finished: list[Finished] | None  # of each seed, at the end; `summary.json` is written once the caller goes on


def describe_run(config: Config, record: dict[str, Any], command: str, seeds: int = 1) -> dict[str, Any]:
    """Return what `run.json` says of a run: how it was made, and the record of what decides it."""
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
    """Train a config with each seed, several as one program, and write each seed's folder; yield where they stop.

    To be read to its end, as `summary.json` is written last: its seconds count what the caller does with the rest.

    Args:
        config: whose seed is not read.
        folders: of each seed, begun by `run_folder.begin`.
        data: what is trained on; the validation images are looked at, or the test images where there are none.
        plan: what is looked at, and when.
        program: what `loop.compile_program` will give, where it was begun in the background.
        state: of a single seed, to go on from; none: before the first step.
        best: the best model before that state, where the best is kept.
        spent: seconds before this call.
        started: the clock's reading (`time.perf_counter`) when the command began; none: now.
        caught: a list that a signal's number is put into; a run that is sent one ends at its next stop.

    Raises:
        FloatingPointError: where a number is not finite, and the plan ends with it.
    """
    started = time.perf_counter() if started is None else started
    recipe = make_recipe(config, len(data.train.labels))
    if judges_epochs(config):
        plan = dataclasses.replace(plan, most_looks=None)  # so that each epoch's end is looked at
    seeds = [_Seed(dataclasses.replace(config, seed=seed), recipe, folder, best) for seed, folder in folders.items()]
    train_seconds, saved = spent["train_seconds"], time.perf_counter()

    def now() -> dict[str, float]:
        return {"train_seconds": train_seconds, "wall_seconds": spent["wall_seconds"] + time.perf_counter() - started}

    if state is not None and (int(state.step) == recipe.steps or seeds[0].is_over()):  # it ended before it was tested
        seeds[0].note(state, plan)
        seeds[0].evaluate(data, trained_model(state))
    pace = _pace(plan, recipe, seeds)
    stop = None
    for stop in train(config, list(folders), data.train, pace, program=program, state=state, caught=caught):
        # Of seeds in one program, each is given its share of the seconds.
        train_seconds += stop.seconds / len(seeds)
        is_look = stop.step == _next_look(stop.step - 1, plan, recipe)
        for seed, state in zip(seeds, stop.states(), strict=True):
            if seed.is_over():  # from where on nothing more is noted
                continue
            seed.note(state, plan)
            if plan.watches_learning:
                seed.watch(data.validation)
            if is_look or seed.fault:
                seed.look(data, now())
        if plan.save_every and (is_look or stop.signal or time.perf_counter() - saved > plan.save_every):
            if _leads():
                first = seeds[0]
                kept = now() | {"lines": first.lines}  # so that a damaged history can be mended
                checkpoint.save(first.folder / run_folder.CHECKPOINTS, first.config, stop.state, kept, first.best)
            saved = time.perf_counter()
        loss = float(np.mean([seed.loss() for seed in seeds]))
        scores = [seed.scores for seed in seeds] if is_look else None
        yield Progress(stop, loss, scores, None)  # pyright: ignore[reportArgumentType]: each has been looked at
        if stop.signal and stop.step < recipe.steps:
            return
    if _leads():
        mode = describe_mode(len(seeds))
        finished = [seed.finish(data, plan, mode, now()) for seed in seeds]
        yield Progress(stop, seeds[0].loss(), None, finished)
        for seed in finished:
            run_folder.write_summary(seed.folder, seed.summary | now())


def digest_weights(model: Model) -> str:
    """Return the SHA-256 of a model's arrays."""
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model))).hexdigest()


def describe_failure(objective: ObjectiveConfig, scores: Scores) -> str | None:
    """Return in words which outputs that the objective trains were not learned; None where all were."""
    trained_cells = np.array(scores.sum_accuracy_by_cell)[~held_out_cells(objective)]
    accuracies = {}
    if objective.digit_weight > 0:
        accuracies["digit"] = scores.digit_accuracy
    if objective.digit_weight < 1:
        accuracies["sum"] = float(trained_cells.mean())
    low = [f"{output} {accuracy:.1%}" for output, accuracy in accuracies.items() if accuracy < FAILED]
    return ", ".join(low) or None


@dataclass
class _Seed:
    """A seed's run while it is trained."""

    config: Config
    recipe: Recipe
    folder: Path
    best: Model | None  # of the best epoch, where it is kept
    lines: list[dict[str, Any]] = field(init=False)  # of its metrics
    learned: dict[str, int] = field(default_factory=dict)  # output to the step at which it was
    fault: str | None = None  # what was not finite
    state: TrainState = field(init=False)
    held_out: Evaluation = field(init=False)  # at the last look
    scores: Scores = field(init=False)  # of it

    def __post_init__(self):
        self.lines = run_folder.read_lines(self.folder) if _leads() else []

    def note(self, state: TrainState, plan: Plan) -> None:
        """Take the state of a stop."""
        self.state, self.fault = state, non_finite(state)
        if self.fault and plan.ends_at_fault:
            raise FloatingPointError(
                f"{self.fault}; it was not saved; a lower optimizer.learning_rate or an optimizer.clip_norm may help"
            )

    def is_over(self) -> bool:
        """Whether nothing more is learned: a number is not finite, or too many epochs have passed since the best."""
        return self.fault is not None or self.is_stopped()

    def is_stopped(self) -> bool:
        """Whether the run's patience has ended."""
        patience = self.config.training.patience * self.recipe.steps_per_epoch
        if not patience or not (best := self.best_line()):
            return False
        return self.lines[-1]["step"] - best["step"] >= patience

    def best_line(self) -> dict[str, Any]:
        """Return the metrics at the end of the epoch with the best validation accuracy of the sum, the first of equals.

        It follows from the metrics, so a run that is resumed needs nothing else to go on. Empty before an epoch's end.
        """
        ends = [line for line in self.lines if line["step"] % self.recipe.steps_per_epoch == 0]
        return max(ends, key=lambda line: line["validation"]["sum_accuracy"], default={})

    def loss(self) -> float:
        """Return the mean training loss since the epoch began."""
        return float(self.state.metrics.loss) / int(self.state.metrics.examples)

    def watch(self, validation: Split) -> None:
        """Note the outputs that have been learned by now."""
        if self.fault or len(self.learned) == len(run_folder.OUTPUTS):
            return
        few = Split(*(part[:LOOKED_AT] for part in validation))
        scores = score(evaluate(self.config.data, trained_model(self.state), few), few.labels)
        for output in run_folder.OUTPUTS:
            if getattr(scores, f"{output}_accuracy") >= LEARNED:
                self.learned.setdefault(output, int(self.state.step))

    def evaluate(self, data: Data, model: Model) -> str:
        """Evaluate a model on the held-out images; the name of their split."""
        name = "validation" if self.config.data.validation else "test"
        split = getattr(data, name)
        self.held_out = evaluate(self.config.data, model, split)
        self.scores = score(self.held_out, split.labels)
        return name

    def look(self, data: Data, clock: dict[str, float]) -> None:
        """Evaluate on the held-out images, and write a line of metrics."""
        model = trained_model(self.state)
        name = self.evaluate(data, model)
        step, metrics = int(self.state.step), self.state.metrics
        examples = int(metrics.examples)
        trained = {
            "loss": self.loss(),
            "digit_accuracy": int(metrics.digit_correct) / examples,
            "sum_accuracy": int(metrics.sum_correct) / examples,
        }
        line = {"epoch": step / self.recipe.steps_per_epoch, "step": step, "train": trained}
        self.lines.append(line | {name: _headline(self.scores), "clock": clock})
        if self.config.training.keep == "best" and self.best_line() is self.lines[-1]:
            self.best = jax.tree.map(jnp.copy, model)  # as the next step uses the state up
        if _leads():
            run_folder.write_lines(self.folder, self.lines)

    def finish(self, data: Data, plan: Plan, mode: str, clock: dict[str, float]) -> Finished:
        """Test the trained model, and write what its folder still lacks but the summary."""
        config, model = self.config, trained_model(self.state)
        held_out = config.data.validation > 0
        ended = kept = int(self.state.step) / self.recipe.steps_per_epoch
        if self.best is not None:
            model, kept = self.best, self.best_line()["epoch"]
            self.evaluate(data, model)
        summary: dict[str, Any] = {
            "config": config.name,
            "dataset": config.data.name,
            "seed": config.seed,
            "parameters": count_parameters(config.model),
            "multiply_adds": count_multiply_adds(config.model),
            "epochs": config.training.epochs,
            "ended": {
                "epoch": ended,
                "best": self.best_line().get("epoch") if judges_epochs(config) else None,
                "kept": kept,
            },  # in epochs: where training ended, which was the best, and whose weights are kept
            "steps": int(self.state.step),
            **clock,
            "device": environment.device(),
            "mode": mode,
            "failure": self.fault,
            "learned": self.learned if plan.watches_learning else None,
            "weights": digest_weights(model),
            "permutation": self._permutation(data.validation) if held_out else None,
            "calibration": None,
        }
        if held_out:
            summary["validation"] = _headline(self.scores)
        evaluation = self.held_out
        if plan.tests:
            evaluation = evaluate(config.data, model, data.test)
            scores = score(evaluation, data.test.labels)
            summary["test"] = scores._asdict()
            if held_out and not self.fault:
                summary["calibration"] = _calibrate(self.held_out, evaluation, data)
            if not self.fault and config.training.epochs >= 1:
                summary["failure"] = describe_failure(config.objective, scores)
        fitted = None
        if summary["calibration"]:
            fitted = Temperatures(**{name: one["temperature"] for name, one in summary["calibration"].items()})
        return run_folder.write_results(self.folder, config, model, evaluation, summary, fitted)

    def _permutation(self, validation: Split) -> list[int]:
        """Return the label that each predicted digit stands for, fitted on validation images."""
        return best_permutation(np.asarray(self.held_out.digit), np.asarray(validation.labels)).tolist()


def _calibrate(held_out: Evaluation, tested: Evaluation, data: Data) -> dict[str, Any]:
    """Return each output's temperature, fitted on validation images, and its reliability on test images by it."""
    fitted_on = labeled_logits(held_out, np.asarray(data.validation.labels))
    test = labeled_logits(tested, np.asarray(data.test.labels))
    calibration = {}
    for output in run_folder.OUTPUTS:
        temperature = fit_temperature(*fitted_on[output])
        looks = {"before": reliability(*test[output]), "after": reliability(*test[output], temperature)}
        calibration[output] = {"temperature": temperature} | {name: look._asdict() for name, look in looks.items()}
    return calibration


def _pace(plan: Plan, recipe: Recipe, seeds: list[_Seed]) -> Pace:
    """When runs of a plan stop."""
    watching = every(max(WATCHED // recipe.batch_size, 1))
    pausing = about_every(plan.pause) if plan.pause else None

    def pace(stop: Stop) -> int:
        if all(seed.is_over() for seed in seeds):
            return stop.step
        steps = [_next_look(stop.step, plan, recipe)]
        if plan.watches_learning and any(not seed.is_over() and len(seed.learned) < 2 for seed in seeds):
            steps.append(watching(stop))
        if pausing is not None:
            steps.append(pausing(stop))
        return min(steps)

    return pace


def _next_look(step: int, plan: Plan, recipe: Recipe) -> int:
    """Return the first step after `step` at which the held-out images are looked at."""
    between = recipe.steps_per_epoch / plan.looks
    if plan.most_looks:
        between = max(between, recipe.steps / plan.most_looks)
    part = int(step / between)
    ends = (round(i * between) for i in range(part, part + 3))
    return min(recipe.steps, *(end for end in ends if end > step))


def _headline(scores: Scores) -> dict[str, float]:
    """Return the scores that are one number each."""
    return {name: value for name, value in scores._asdict().items() if isinstance(value, float | int)}


def _leads() -> bool:
    """Whether this process writes for all that train together."""
    return jax.process_index() == 0
