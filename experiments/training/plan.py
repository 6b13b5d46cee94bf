"""When a run stops, and what is done there."""

from dataclasses import dataclass

from mnistsum.train import Recipe

LEARNED = 0.98  # accuracy of an output that has been learned
WATCH_EXAMPLES = 512  # trained on between two checks of whether it has, at first
WATCH_IMAGES = 1000  # validation images of such a check


@dataclass(frozen=True)
class Plan:
    """When a run stops, and what is done there: all in which the programs' runs differ."""

    evaluations: int = 1  # an epoch, on all held-out images; the run's end is another
    max_evaluations: int | None = None  # of a run; None: as many as that makes
    watches_learning: bool = False  # note at which step each output reaches LEARNED on some validation images
    pause: float | None = None  # seconds of training between stops that show progress and heed signals; None: none
    save_every: float | None = None  # seconds between checkpoints, at most; each evaluation saves one; None: none
    ends_at_fault: bool = False  # a number that is not finite ends the run with an error; else the run counts as failed
    tests: bool = True  # read the test set at the end; else the validation images give the predictions


RUN = Plan(pause=1.0, save_every=60.0, ends_at_fault=True)
COMPARED = Plan(evaluations=4, max_evaluations=64, watches_learning=True)
VALIDATED = Plan(tests=False)  # of searches and tuning


def next_evaluation(step: int, plan: Plan, recipe: Recipe) -> int:
    """Return the first step after `step` at which the run is evaluated on the held-out images."""
    between = max(recipe.steps_per_epoch / plan.evaluations, 1)
    if plan.max_evaluations:
        between = max(between, recipe.steps / plan.max_evaluations)
    part = int(step / between)
    ends = (round(i * between) for i in range(part, part + 3))
    return min(recipe.steps, *(end for end in ends if end > step))


def next_watch(step: int, recipe: Recipe) -> int:
    """Return the first step after `step` at which it is checked whether an output has been learned.

    Such checks are WATCH_EXAMPLES apart at first; from the 32nd on, the distance doubles as often as the steps do.
    Each ends a call of the program, which takes as long as several steps for the order of its epoch and fresh memory.
    """
    first = max(WATCH_EXAMPLES // recipe.batch_size, 1)
    between = first << max(0, (step // first).bit_length() - 5)
    return (step // between + 1) * between
