"""When a run stops, and what it does there."""

from dataclasses import dataclass

from mnistsum.train import Recipe

LEARNED = 0.98  # accuracy at which an output counts as learned
WATCH_EXAMPLES = 512  # training examples between two checks for it, at first
WATCH_IMAGES = 1000  # validation images per check


@dataclass(frozen=True)
class Plan:
    """When a run stops and what it does there: everything in which the programs' runs differ."""

    evaluations: int = 1  # per epoch, on all validation images; the run's end always has one
    max_evaluations: int | None = None  # per run; None: no limit
    watches_learning: bool = False  # note the step at which each output reaches LEARNED on some validation images
    pause: float | None = None  # seconds of training between stops that show progress and heed signals; None: never
    save_every: float | None = None  # seconds after which a stop saves a checkpoint, as evaluations do; None: never
    ends_at_fault: bool = False  # a non-finite number ends the run with an error; else the run counts as failed
    tests: bool = True  # evaluate on the test set at the end; else predict the validation images


RUN = Plan(pause=1.0, save_every=60.0, ends_at_fault=True)
COMPARED = Plan(evaluations=4, max_evaluations=64, watches_learning=True)
VALIDATED = Plan(tests=False)  # for searches and tuning


def next_evaluation(step: int, plan: Plan, recipe: Recipe) -> int:
    """Return the first step after `step` at which the run is evaluated on the validation images."""
    between = max(recipe.steps_per_epoch / plan.evaluations, 1)
    if plan.max_evaluations:
        between = max(between, recipe.steps / plan.max_evaluations)
    part = int(step / between)
    ends = (round(i * between) for i in range(part, part + 3))
    return min(recipe.steps, *(end for end in ends if end > step))


def next_watch(step: int, recipe: Recipe) -> int:
    """Return the first step after `step` at which to check whether an output has been learned.

    Checks are WATCH_EXAMPLES apart at first; from the 32nd on, the distance doubles each time the step number does.
    Each check ends a call of the compiled program, and starting another costs as much as several steps: it permutes
    its epoch again and allocates memory.
    """
    first = max(WATCH_EXAMPLES // recipe.batch_size, 1)
    between = first << max(0, (step // first).bit_length() - 5)
    return (step // between + 1) * between
