"""The command line of a comparison, understood. JAX is not imported here."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from experiments import cli
from mnistsum.config import Config
from mnistsum.errors import InputError

MAX_SEEDS = 1000


@dataclass(frozen=True)
class Compare:
    """Trains each config on the same seeds; says which is better than the first, by how much, how sure, at what cost.

    Seed k gives every config the same images in the same order with the same numbers. After the first epoch, each
    config whose training.pressure is above 1, as base's, draws those more often that it finds hard. Overrides such
    as training.epochs=1 apply to every config. Finished runs in the folder are reused where nothing that decides them
    has changed, so a comparison that was stopped goes on with the same command. On an accelerator, or several devices,
    seeds share one program. Given the folders of finished runs, and the .py files of networks of yours among them, it
    compares those, and trains nothing.
    """

    configs: Positional[tuple[str, ...]]  # names, .py files of yours, base+model.adder=shift, or finished runs' folders
    seeds: int = 10
    output: Path = Path("runs/compare")  # a folder: runs/ in it, and a folder for each comparison
    tune: bool = False  # first choose each config's learning rate on validation images, by halving and doubling it
    dry_run: bool = False  # print runs, device time and storage, estimated from a measured second of each config; end
    submit: Literal["local", "slurm"] | None = None  # train in jobs: as processes here, on the CPU, or by SLURM
    seeds_per_job: int = 10  # with --submit: how many seeds of one config a job trains
    retry_failed: bool = False  # with --submit: submit again what has ended without a result


def parse(arguments: list[str]) -> tuple[Compare, list[Config]]:
    """Return the options and the configs of a command line; no config where it names finished runs.

    Raises:
        InputError: where its parts do not fit each other.
    """
    overrides = [argument for argument in arguments if cli.ASSIGNMENT.fullmatch(argument)]
    own = [argument for argument in arguments if argument not in overrides]
    options = cli.parse_plain(Compare, own)
    if (options.output / "config.json").exists():
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
    """Whether a name is that of a run's folder, be it there or not."""
    place = cli.VARIANT.split(name)[0]
    return not place.endswith(".py") and ("/" in place or (Path(place) / "config.json").exists())


def _configure(options: Compare, overrides: list[str]) -> list[Config]:
    """Return the configs that are compared; InputError where the parts of the command line do not fit each other."""
    if not 2 <= options.seeds <= MAX_SEEDS:
        raise InputError(
            f"--seeds: expected 2 to {MAX_SEEDS:,}, as one run says nothing of another, found {options.seeds:,}"
        )
    if options.seeds_per_job < 1:
        raise InputError(f"--seeds-per-job: expected at least 1, found {options.seeds_per_job}")
    if options.retry_failed and options.submit is None:
        raise InputError("--retry-failed: expected only with --submit")
    if options.submit and importlib.util.find_spec("submitit") is None:
        raise InputError("--submit: needs submitit; install this project with the extra `slurm`")
    try:
        configs = [cli.load_variant(name, overrides) for name in options.configs]
    except InputError as error:  # which names the option of the other programs
        raise InputError(re.sub("^--config ", "compare: ", str(error))) from None
    names = [config.name for config in configs]
    if len(configs) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"compare: expected two configs or more of different names, found {', '.join(names) or 'none'}; such as "
            "python -m experiments.compare base lenet5"
        )
    first = configs[0].data
    for name, config in zip(names, configs, strict=True):
        if (config.data.name, config.data.dir, config.data.validation) != (first.name, first.dir, first.validation):
            raise InputError(
                f"compare: expected the data of {names[0]}, {first}, found in {name} {config.data}; an override such "
                f"as data.validation={first.validation} applies to every config"
            )
    if any(config.devices != "all" for config in configs):
        raise InputError(
            "compare: expected no devices, as it spreads seeds over all there are and never shares a batch"
        )
    if any(config.seed for config in configs):
        raise InputError("compare: expected no seed, as every config is trained on the seeds 0 to --seeds less 1")
    if not first.validation:
        raise InputError("compare: expected validation images to watch the learning on; add data.validation=5000")
    return configs
