"""When training stops between its first and its last step, and what it does there."""

from dataclasses import dataclass
from typing import NamedTuple

from mnistsum.train import Spec

WAITING = -1.0  # the share done of a run that another program trains
MIN_TIMED = 0.3  # seconds of training needed to estimate a run's duration
# between stops: each call of the program allocates memory, which costs `reference` a
# quarter of a step
MIN_STEPS = 4


@dataclass(frozen=True)
class Plan:
    """When a run stops and what it does there: all in which programs differ."""

    # per epoch, on all validation images; the run's end always has one
    evaluations: int = 1
    max_evaluations: int | None = None  # per run; None: no limit
    pause: float = 5.0  # seconds of training between stops that show progress
    # saves checkpoints; a number that is not finite ends it with an error
    is_resumable: bool = False
    # evaluate on the test set at the end; else predict the validation images
    tests: bool = True


SINGLE = Plan(pause=1.0, is_resumable=True)
COMPARED = Plan(evaluations=4, max_evaluations=64)
VALIDATED = Plan(tests=False)  # for searches and tuning


class Stop(NamedTuple):
    """Where training stands between two calls of the compiled program."""

    step: int
    steps: int = 0  # since the last stop; 0: none was taken yet
    seconds: float = 0.0  # taken by these steps, without compilation
    is_evaluation: bool = False  # each run has a new line of metrics
    # nothing was compiled beside these steps, which would halve their speed
    is_undisturbed: bool = False

    @property
    def is_timing(self) -> bool:
        """Whether a duration can be estimated from these steps; not from the first."""
        return self.seconds > MIN_TIMED and self.step > 1 and self.is_undisturbed


def next_stop(plan: Plan, spec: Spec, stop: Stop) -> tuple[int, bool]:
    """Return the step of the next stop, and whether the run is evaluated there."""
    evaluation = next_evaluation(stop.step, plan, spec)
    step = min(evaluation, _next_pause(stop, plan.pause))
    return step, step == evaluation


def next_evaluation(step: int, plan: Plan, spec: Spec) -> int:
    """Return the next step at which the run is evaluated."""
    between = max(spec.steps_per_epoch / plan.evaluations, 1)
    if plan.max_evaluations:
        between = max(between, spec.steps / plan.max_evaluations)
    part = int(step / between)
    ends = (round(i * between) for i in range(part, part + 3))
    return min(spec.steps, *(end for end in ends if end > step))


def _next_pause(stop: Stop, seconds: float) -> int:
    """Return the step to which training takes about this many seconds.

    A run's first call is of one step, because that one is slower than all others.
    """
    if not stop.steps:
        return stop.step + 1
    steps = round(seconds * stop.steps / stop.seconds)
    # a step may seem quicker than it is where few were timed
    steps = min(steps, 8 * stop.steps)
    return stop.step + max(steps, MIN_STEPS)
