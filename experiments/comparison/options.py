"""Parses the command line of a comparison. JAX is not imported here."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from experiments import cli
from mnistsum.config import CONFIG, Config
from mnistsum.errors import InputError

MAX_SEEDS = 1000


@dataclass(frozen=True)
class Compare:
    """Trains each config on the same seeds; reports which beat the first, by how much, how surely, and at what cost.

    Seed k gives every config the same images in the same order with the same numbers. Overrides such as
    training.epochs=1 apply to every config. Finished runs in the folder are reused if nothing that decides them has
    changed, so the same command continues a comparison that was stopped. On an accelerator, or on several devices,
    seeds share one program. Given the folders of finished runs, along with the .py files of your own networks, it
    compares those runs and trains nothing.
    """

    configs: Positional[tuple[str, ...]]  # names, your .py files, base+model.adder=shift, or finished runs' folders
    seeds: int = 10
    output: Path = Path("runs/compare")  # folder that holds runs/, and a folder for each comparison
    tune: bool = False  # first choose each config's learning rate on validation images, by halving and doubling it
    dry_run: bool = False  # print runs, device time and storage, estimated from a second of each config, then exit
    submit: Literal["local", "slurm"] | None = None  # train in jobs: as local processes, on the CPU, or through SLURM
    seeds_per_job: int = 10  # with --submit: how many seeds of one config a job trains; with --tune, all
    retry_failed: bool = False  # with --submit: resubmit jobs that ended without a result


def parse(arguments: list[str]) -> tuple[Compare, list[Config]]:
    """Parse a command line into the options and the configs; none if it names finished runs.

    Raises:
        InputError: if its parts do not fit together.
    """
    overrides = [argument for argument in arguments if cli.ASSIGNMENT.fullmatch(argument)]
    others = [argument for argument in arguments if argument not in overrides]
    options = cli.parse_plain(Compare, others)
    if (options.output / CONFIG).exists():
        raise InputError(f"--output {options.output}: a run's folder; name another")
    if any(_is_folder(name) for name in options.configs):
        names = [name for name in options.configs if not _is_folder(name) and not cli.own_file(name)]
        if options != Compare(options.configs, output=options.output) or names or overrides:
            raise InputError(
                "compare: expected no name of a config and no option but --output beside folders of finished runs, as "
                "none is trained"
            )
        return options, []
    return options, _configure(options, overrides)


def _is_folder(name: str) -> bool:
    """Return whether a name is that of a run's folder, existing or not; a config's name comes first."""
    path = cli.VARIANT.split(name)[0]
    if path.endswith(".py") or path in cli.config_names():
        return False
    return "/" in path or (Path(path) / CONFIG).exists()


def _configure(options: Compare, overrides: list[str]) -> list[Config]:
    """Return the configs to compare; raise InputError if the parts of the command line do not fit together."""
    if not 2 <= options.seeds <= MAX_SEEDS:
        raise InputError(f"--seeds: expected 2 to {MAX_SEEDS:,}, as one run shows no spread, found {options.seeds:,}")
    if options.seeds_per_job < 1:
        raise InputError(f"--seeds-per-job: expected at least 1, found {options.seeds_per_job}")
    if options.submit is None:
        for option, given in (
            ("--retry-failed", options.retry_failed),
            ("--seeds-per-job", options.seeds_per_job != Compare.seeds_per_job),
        ):
            if given:
                raise InputError(f"{option}: expected only with --submit")
    if options.tune and options.seeds_per_job != Compare.seeds_per_job:
        raise InputError(
            "--seeds-per-job: expected only without --tune, as one job tunes a config and trains its seeds"
        )
    if options.submit and importlib.util.find_spec("submitit") is None:
        raise InputError("--submit: needs submitit; install this project with the extra `slurm`")
    try:
        for file in filter(None, map(cli.own_file, options.configs)):  # first, as any config may use their names
            cli.load_own(file)
        configs = [cli.load_variant(name, overrides) for name in options.configs]
    except InputError as error:  # it names the other programs' option
        raise InputError(re.sub("^--config ", "compare: ", str(error))) from None
    names = [config.name for config in configs]
    if len(configs) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"compare: expected two configs or more of different names, found {', '.join(names) or 'none'}; such as "
            "python -m experiments.compare base lenet5"
        )
    first = configs[0].data
    for name, config in zip(names, configs, strict=True):
        for field in ("name", "dir", "validation"):
            expected, found = getattr(first, field), getattr(config.data, field)
            if found != expected:
                raise InputError(
                    f"compare: expected the same data.{field} in all configs, found {expected} in {names[0]} and "
                    f"{found} in {name}; an override such as data.{field}={found if expected is None else expected} "
                    "applies to every config"
                )
    if any(config.devices != "all" for config in configs):
        raise InputError(
            "compare: expected no devices, as it spreads seeds over all there are and never shares a batch"
        )
    if any(config.seed for config in configs):
        raise InputError("compare: expected no seed, as every config is trained on the seeds 0 to --seeds minus 1")
    if not first.validation:
        raise InputError("compare: expected validation images to track learning on; add data.validation=5000")
    return configs
