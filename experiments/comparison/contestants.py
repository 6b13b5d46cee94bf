"""The configs that are compared: checked, tuned and trained on the same seeds."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.report import console
from experiments.run_folder import OUTPUTS
from experiments.training import reuse
from experiments.training.plan import COMPARED, VALIDATED
from experiments.training.record import make_record
from experiments.training.reuse import Wanted
from mnistsum import testing
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.types import Data

WIDEST = 5  # doublings and halvings of each config's own learning rate that tuning may try
FEWEST_TRIALS = 3  # of tuning: the config's own rate, half of it and twice
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared


class Contestant(NamedTuple):
    """A config that is compared, and how."""

    config: Config
    own: Path | None  # the user's file that it came from, if it did
    tuned: bool  # whether its learning rate is chosen first, on validation images
    output: Path  # the folder of the comparison's runs/ and tuning/
    command: str  # that asked for it, to be written down


def check_contract(configs: list[Config]) -> None:
    """Check, in seconds, that every network keeps the quick part of `mnistsum.testing`.

    Raises:
        InputError: where one does not.
    """
    for model in dict.fromkeys(config.model for config in configs):
        for check in testing.QUICK:
            try:
                check(model)
            except InputError:
                raise
            except Exception as error:  # whatever a user's code raises
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise InputError(
                    f"compare: {model.classifier} with {model.adder} cannot be compared: {check.__name__}: {reason[0]} "
                    "(mnistsum.testing.check shows where)"
                ) from None


def want(contestant: Contestant, data: Data, seeds: Sequence[int]) -> Wanted:
    """Return the runs that a comparison wants of a contestant."""
    record = make_record(contestant.config, data, contestant.own)
    if contestant.tuned:  # whatever rate it will be
        record["settings"] |= {"tuned": f"learning rate times 2^k, |k| at most {WIDEST}"}
    return reuse.want(contestant.output / "runs", contestant.config, record, seeds)


def train(contestant: Contestant, wanted: Wanted, data: Data, advance: Callable[..., None]) -> None:
    """Train those of a contestant's runs that are missing, tuned first if it is to be.

    Args:
        contestant: what is compared.
        wanted: its runs.
        data: the data set.
        advance: called with what a progress bar shows.
    """
    name = wanted.config.name
    if reuse.missing(wanted) and (reason := reuse.why_missing(wanted)):
        console.say(f"{name}: trained anew: {reason}")
    if contestant.tuned:
        config, _ = tune(contestant, wanted, data, advance)
        wanted = wanted._replace(config=config)
    advance(description=name)
    for run, reused in reuse.train_missing(wanted, data, COMPARED, contestant.command):
        console.run_line(name, run.config.seed, run.summary, reused)
        advance(advance=1)


def tune(
    contestant: Contestant, wanted: Wanted, data: Data, advance: Callable[..., None]
) -> tuple[Config, dict[str, Any]]:
    """Return the config at the learning rate that does best on validation images, and what was tried.

    The same rule for every config: its own rate, and then half and twice the best one so far, until the best lies
    between two that do worse, or its rate has been halved or doubled WIDEST times.
    """
    tried: dict[int, Config] = {}  # by the number of doublings
    scores: dict[int, dict[str, float]] = {}
    best, untried = 0, [0]
    while untried:
        for doublings in untried:
            rate = wanted.config.optimizer.learning_rate * 2.0**doublings
            optimizer = dataclasses.replace(wanted.config.optimizer, learning_rate=rate)
            tried[doublings] = dataclasses.replace(wanted.config, optimizer=optimizer)
            advance(description=f"{wanted.config.name}: learning rate {rate:g}")
            trial = reuse.want(contestant.output / "tuning", tried[doublings], wanted.record, [TUNING_SEED])
            ((run, _),) = reuse.train_missing(trial, data, VALIDATED, contestant.command)
            scores[doublings] = {output: run.summary["validation"][f"{output}_accuracy"] for output in OUTPUTS}
        best = max(scores, key=lambda doublings: sum(scores[doublings].values()))
        untried = [near for near in (best - 1, best + 1) if near not in scores and abs(near) <= WIDEST]
    trials = [
        {"learning_rate": tried[doublings].optimizer.learning_rate, **scores[doublings], "taken": doublings == best}
        for doublings in sorted(scores)
    ]
    return tried[best], {"trials": trials, "at_the_edge": abs(best) == WIDEST}
