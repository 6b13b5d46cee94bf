"""The run of one seed during training: its state, metrics and files."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import environment, run_folder
from experiments.run_folder import Finished
from experiments.training.plan import LEARNED, WATCH_IMAGES, Plan
from mnistsum.calibration import Temperatures, fit_temperature, reliability
from mnistsum.config import Config, ObjectiveConfig
from mnistsum.evaluation import Scores, best_permutation, evaluate, labeled_logits, score
from mnistsum.models import Model
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.objective import trained_outputs
from mnistsum.train import Recipe, non_finite, trained_model
from mnistsum.types import QUANTITIES, Data, Evaluation, Split, TrainState

FAILED = 0.9  # a run of an epoch or more failed if the test accuracy of an output that it trains is below this


@dataclass
class SeedRun:
    """The run of one seed during training."""

    config: Config
    recipe: Recipe
    folder: Path
    lines: list[dict[str, Any]] = field(init=False)  # of metrics.jsonl
    learned: dict[str, int] = field(default_factory=dict)  # output to the step at which it was learned
    fault: str | None = None  # what was not finite
    train_seconds: float = 0.0  # this seed's share of its program's training time
    state: TrainState = field(init=False)
    held_out: Evaluation = field(init=False)  # the latest on the held-out images
    scores: Scores = field(init=False)  # of `held_out`

    def __post_init__(self):
        self.lines = run_folder.read_lines(self.folder)

    def store_state(self, state: TrainState, plan: Plan) -> None:
        """Store the state at a stop, and check that all numbers are finite."""
        self.state, self.fault = state, non_finite(state)
        if self.fault and plan.ends_at_fault:
            remedy = "a lower optimizer.learning_rate or an optimizer.clip_norm may help"
            step, quantity = (int(value) for value in state.first_bad)
            if step == 0 and QUANTITIES[quantity] != "parameters":
                remedy = "nothing had been updated: the network or the objective produces it"
            raise FloatingPointError(f"{self.fault}; it was not saved; {remedy}")

    def loss(self) -> float:
        """Return the mean training loss since the epoch began."""
        return float(self.state.metrics.loss) / int(self.state.metrics.examples)

    def watch(self, validation: Split) -> None:
        """Record which outputs have reached LEARNED, on images without test-time shifts."""
        if self.fault or len(self.learned) == len(run_folder.OUTPUTS):
            return
        few = Split(*(part[:WATCH_IMAGES] for part in validation))
        as_they_are = dataclasses.replace(self.config.data, test_shift=0)
        scores = score(evaluate(as_they_are, trained_model(self.state), few), few.labels)
        headline = _headline(self.config.objective, scores)
        for output in run_folder.OUTPUTS:
            if run_folder.judged_accuracy(headline, output) >= LEARNED:
                self.learned.setdefault(output, int(self.state.step))

    def evaluate(self, data: Data, model: Model) -> str:
        """Evaluate a model on the held-out images; return the name of their split."""
        name = "validation" if self.config.data.validation else "test"
        split = getattr(data, name)
        self.held_out = evaluate(self.config.data, model, split)
        self.scores = score(self.held_out, split.labels)
        return name

    def log_metrics(self, data: Data, clock: dict[str, float]) -> None:
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
        self.lines.append(line | {name: _headline(self.config.objective, self.scores), "clock": clock})
        run_folder.write_lines(self.folder, self.lines)

    def finish(self, data: Data, plan: Plan, mode: str, clock: dict[str, float]) -> Finished:
        """Test the trained model, and write all remaining files except the summary."""
        config, model = self.config, trained_model(self.state)
        has_validation = config.data.validation > 0
        summary: dict[str, Any] = {
            "config": config.name,
            "dataset": config.data.name,
            "seed": config.seed,
            "parameters": count_parameters(config.model),
            "multiply_adds": count_multiply_adds(config.model),
            "epochs": config.training.epochs,
            "steps": int(self.state.step),
            **clock,
            "device": environment.device(),
            "mode": mode,
            "failure": self.fault,
            "learned": self.learned if plan.watches_learning else None,
            "weights": digest_weights(model),
            "permutation": self._permutation(data.validation) if has_validation else None,
            "calibration": None,
        }
        if has_validation:
            summary["validation"] = _headline(config.objective, self.scores)
        evaluation, scored = self.held_out, [self.scores]
        if plan.tests:
            evaluation = evaluate(config.data, model, data.test)
            scored.append(score(evaluation, data.test.labels))
            summary["test"] = scored[-1]._asdict()
        losses = [getattr(scores, f"{output}_loss") for scores in scored for output in run_folder.OUTPUTS]
        if not self.fault and not np.isfinite(losses).all():
            summary["failure"] = "loss not finite on held-out images"
        elif not self.fault and plan.tests:
            summary["calibration"] = _calibrate(self.held_out, evaluation, data) if has_validation else None
            if config.training.epochs >= 1:
                summary["failure"] = describe_failure(config.objective, scored[-1])
        fitted = None
        if summary["calibration"]:
            fitted = Temperatures(**{name: one["temperature"] for name, one in summary["calibration"].items()})
        return run_folder.write_results(self.folder, config, model, evaluation, summary, fitted)

    def _permutation(self, validation: Split) -> list[int]:
        """Return the label that each predicted digit stands for, fitted on validation images."""
        return best_permutation(np.asarray(self.held_out.digit), np.asarray(validation.labels)).tolist()


def _calibrate(held_out: Evaluation, tested: Evaluation, data: Data) -> dict[str, Any]:
    """Return each output's temperature, fitted on validation images, and its test reliability before and after it."""
    fitted_on = labeled_logits(held_out, np.asarray(data.validation.labels))
    test = labeled_logits(tested, np.asarray(data.test.labels))
    calibration = {}
    for output in run_folder.OUTPUTS:
        temperature = fit_temperature(*fitted_on[output])
        curves = {"before": reliability(*test[output]), "after": reliability(*test[output], temperature)}
        calibration[output] = {"temperature": temperature} | {when: curve._asdict() for when, curve in curves.items()}
    return calibration


def digest_weights(model: Model) -> str:
    """Return the SHA-256 of a model's arrays."""
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model))).hexdigest()


def describe_failure(objective: ObjectiveConfig, scores: Scores) -> str | None:
    """Describe which outputs that the objective trains were not learned; None if all were."""
    headline = _headline(objective, scores)
    low = [output for output in trained_outputs(objective) if run_folder.judged_accuracy(headline, output) < FAILED]
    return f"{' and '.join(low)} below {100 * FAILED:.0f} %" if low else None


def _headline(objective: ObjectiveConfig, scores: Scores) -> dict[str, float]:
    """Return the scores that are single numbers; with held-out pairs, also the mean accuracy of the other cells."""
    numbers: dict[str, float] = {
        name: value for name, value in scores._asdict().items() if isinstance(value, float | int)
    }
    if objective.held_out:
        by_cell = scores.sum_accuracy_by_cell
        numbers["sum_accuracy_trained_cells"] = run_folder.mean_of_trained_cells(objective, by_cell)
    return numbers
