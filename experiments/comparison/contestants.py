"""The configs that are compared: checked, prepared, tuned and trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.comparison import tuning
from experiments.report import terminal
from experiments.training import reuse
from experiments.training.folder import Finished
from experiments.training.plan import Plan
from experiments.training.pool import fit_missing
from experiments.training.record import check_own, prepare_all
from experiments.training.reuse import RunSet
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.programs import set_up_compiler


@dataclass(frozen=True)
class Options:
    """What is trained besides the configs, and where."""

    output: Path  # folder of runs/, tuning/, jobs/ and reports
    seeds: int  # how many, from seed 0 on
    workers: int  # of `fit_missing`
    tune: bool = False  # choose each learning rate first
    submit: bool = False  # train in jobs of SLURM


def check_configs(configs: Sequence[Config]) -> None:
    """Check that configs can be compared; raise InputError if not."""
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise InputError(
            f"expected configs of different names, found {', '.join(names)}"
        )
    first = configs[0]
    for config in configs[1:]:
        for field in ("name", "dir", "validation"):
            expected, found = getattr(first.data, field), getattr(config.data, field)
            if found != expected:
                raise InputError(
                    f"expected the same data.{field} in all configs, found {expected} "
                    f"in {first.name} and {found} in {config.name}; an override such "
                    f"as data.{field}={found} applies to every config, unless a "
                    "variant sets the field"
                )
    if any(config.seed for config in configs):
        raise InputError(
            "expected no seed, as each config is trained with the seeds 0, 1, ..."
        )
    if not first.data.validation:
        raise InputError(
            "expected validation images to judge configs by; add data.validation=5000"
        )


def prepare_run_sets(
    options: Options, configs: Sequence[Config], command: str
) -> list[RunSet]:
    """Return the runs of configs, finished or not.

    Args:
        options: where the runs are, how many seeds, and whether to tune.
        configs: what to train.
        command: the command line, for `run.json`.
    """
    set_up_compiler()
    experiments = prepare_all(configs, command)
    for experiment in experiments:
        for line in check_own(experiment.config):
            say(line)
        if options.tune:
            experiment.record["settings"]["tuned"] = tuning.TUNED
    return [
        reuse.locate_runs(options.output / "runs", experiment, range(options.seeds))
        for experiment in experiments
    ]


def fit_run_sets(
    options: Options, run_sets: Sequence[RunSet], plan: Plan
) -> tuple[dict[str, list[Finished]], dict[str, Any]]:
    """Train the missing runs, tuned or not, in as many workers as the options say.

    Returns:
        The runs of each config by name, ordered by seed, and how each was tuned.
    """
    for run_set in run_sets:
        name = run_set.experiment.config.name
        missing = len(run_set.missing())
        if finished := len(run_set.folders) - missing:
            say(f"{name}: reusing {finished} finished run{'s' * (finished > 1)}")
        if reason := reuse.why_missing(run_set):
            say(
                f"{name}: training {missing} run{'s' * (missing > 1)}, because {reason}"
            )
    runs: dict[str, list[Finished]] = {
        run_set.experiment.config.name: [] for run_set in run_sets
    }
    tuned = {}
    if options.tune:
        run_sets, tuned = tuning.tune(
            run_sets, options.output / "tuning", options.workers
        )
    by_name = {run_set.experiment.config.name: run_set for run_set in run_sets}
    for name, run, reused in fit_missing(
        by_name, plan, options.workers, terminal.RunsProgress
    ):
        terminal.run_line(name, run.config.seed, run.summary, reused)
        runs[name].append(run)
    return {
        name: sorted(group, key=lambda run: run.config.seed)
        for name, group in runs.items()
    }, tuned
