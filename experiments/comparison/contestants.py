"""The configs that are compared: checked, tuned and trained on the same seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.comparison import tuning
from experiments.report import console
from experiments.training import reuse
from experiments.training.plan import COMPARED
from experiments.training.record import make_record
from experiments.training.reuse import RunSet
from mnistsum import testing
from mnistsum.config import Config
from mnistsum.errors import InputError, first_line
from mnistsum.types import Data


class Contestant(NamedTuple):
    """A config that is compared, and how."""

    config: Config
    own: Path | None  # the user's file that it came from, if any
    tuned: bool  # whether its learning rate is chosen first, on validation images
    output: Path  # the folder of the comparison's runs/ and tuning/
    command: str  # the command line, for `run.json`


def check_contract(configs: list[Config]) -> None:
    """Check, within seconds, that every network passes the quick checks of `mnistsum.testing`.

    Raises:
        InputError: if one does not.
    """
    for model in dict.fromkeys(config.model for config in configs):
        for check in testing.QUICK:
            try:
                check(model)
            except InputError:
                raise
            except Exception as error:  # user code may raise anything
                raise InputError(
                    f"compare: {model.classifier} with {model.adder} cannot be compared: {check.__name__}: "
                    f"{first_line(error)} (mnistsum.testing.check shows where)"
                ) from None


def locate_runs(contestant: Contestant, data: Data, seeds: Sequence[int]) -> RunSet:
    """Return the runs of a contestant that a comparison needs."""
    record = make_record(contestant.config, data, contestant.own)
    if contestant.tuned:  # whichever rate it will be
        record["settings"] |= {"tuned": f"learning rate times 2^k, |k| at most {tuning.MAX_DOUBLINGS}"}
    return reuse.locate_runs(contestant.output / "runs", contestant.config, record, seeds)


def train(contestant: Contestant, run_set: RunSet, data: Data, update_progress: Callable[..., None]) -> None:
    """Train a contestant's missing runs, after tuning it if it is to be tuned.

    Args:
        contestant: the config to train, and how.
        run_set: its runs.
        data: the data set.
        update_progress: called with the updates of a progress bar.
    """
    name = run_set.config.name
    if reason := reuse.why_missing(run_set):
        console.say(f"{name}: trained anew, as {reason}")
    if contestant.tuned:
        config, _ = tuning.tune(run_set, data, contestant.output, contestant.command, update_progress)
        run_set = run_set._replace(config=config)
    update_progress(description=name)
    for run, reused in reuse.train_missing(run_set, data, COMPARED, contestant.command):
        console.run_line(name, run.config.seed, run.summary, reused)
        update_progress(advance=1)
