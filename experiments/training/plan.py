"""What is looked at in a run, and when."""

from dataclasses import dataclass

from mnistsum.train import Recipe

LEARNED = 0.98  # accuracy of an output that has been learned
WATCHED = 512  # examples between two looks at whether it has, at first
LOOKED_AT = 1000  # validation images of such a look


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


def next_look(step: int, plan: Plan, recipe: Recipe) -> int:
    """Return the first step after `step` at which the held-out images are looked at."""
    between = recipe.steps_per_epoch / plan.looks
    if plan.most_looks:
        between = max(between, recipe.steps / plan.most_looks)
    part = int(step / between)
    ends = (round(i * between) for i in range(part, part + 3))
    return min(recipe.steps, *(end for end in ends if end > step))


def next_watch(step: int, recipe: Recipe) -> int:
    """Return the first step after `step` at which it is looked whether an output has been learned.

    Such looks are WATCHED examples apart at first; from the 32nd on, the distance doubles as often as the steps do.
    Each ends a call of the program, which takes as long as several steps for the order of its epoch and fresh memory.
    """
    first = max(WATCHED // recipe.batch_size, 1)
    between = first << max(0, (step // first).bit_length() - 5)
    return (step // between + 1) * between
