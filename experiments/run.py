"""Trains one config with one seed and writes the run's folder: `python -m experiments.run --config base`."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments import cli
from mnistsum.config import Config, as_dict, read_config
from mnistsum.errors import InputError

STARTED = time.perf_counter()


@dataclass(frozen=True)
class Run:
    """Trains and tests one network, and writes the results into a folder."""

    config: str = "base"  # name of a config, or your own .py file
    output: Path | None = None  # new folder for the run; default runs/<config>-<seed>-<date>-<time>
    resume: Path | None = None  # folder of an interrupted run to continue bit for bit
    init: str | None = None  # start from these weights: a run's folder, exported weights, or a bundled network
    log: Literal["tensorboard"] | None = None  # also write metrics, pictures and config for TensorBoard
    dry_run: bool = False  # print device, data, layers and estimated duration, then exit
    profile: Path | None = None  # write a trace of a few steps to this folder, for Perfetto or TensorBoard, then exit
    settings: cli.Settings = field(default_factory=Config)


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options: Run = cli.parse(Run, arguments)
    settings, own = options.settings, cli.own_file(options.config)
    if options.resume is not None:
        settings = _resumed(options, options.resume, arguments)
    folder = options.resume or options.output or _new_folder(settings)
    if options.resume is None and folder.exists() and not _is_new(folder):
        raise InputError(f"--output {folder}: exists and is not an empty folder; name another, or --resume {folder}")

    from experiments.training import single  # JAX loads only for a valid command line
    from mnistsum.app.compiler import set_up_compiler  # imports JAX, too

    set_up_compiler()
    if options.resume is not None:
        return single.resume(folder, settings, own, cli.format_command("run", arguments), STARTED)
    if options.dry_run or options.profile:
        return single.preview(settings, options.init, options.profile)
    return single.start(settings, folder, own, options.init, options.log, cli.format_command("run", arguments), STARTED)


def _resumed(options: Run, folder: Path, arguments: list[str]) -> Config:
    """Return the config of the folder to resume; the command line may only change devices."""
    overrides = [argument for argument in arguments if cli.ASSIGNMENT.fullmatch(argument)]
    changes = [override for override in overrides if override.startswith("devices=")]
    option_names = {argument[2:].split("=")[0].replace("-", "_") for argument in arguments if argument.startswith("--")}
    own = options.config.endswith(".py") or options.config == "base"
    plain = cli.override(cli.load_config(options.config), changes)
    expected = dataclasses.replace(
        options, output=None, init=None, log=None, dry_run=False, profile=None, settings=plain
    )
    if not own or overrides != changes or options != expected or option_names & as_dict(plain).keys():
        raise InputError(
            "--resume: takes no other argument, as the run's folder holds its config; only devices=N "
            "and --config FILE.py where that defines the run's network"
        )
    config = read_config(folder)
    return cli.override(config, changes) if changes else config


def _is_new(folder: Path) -> bool:
    """Return whether the folder is empty, or left by a run killed before it wrote its config."""
    before_config = {".lock", "run.json", "metrics.jsonl", "checkpoints", "checkpoints/0.safetensors"}
    return folder.is_dir() and all(
        path.relative_to(folder).as_posix() in before_config or path.name.endswith(".partial")
        for path in folder.rglob("*")
    )


def _new_folder(config: Config) -> Path:
    return Path("runs") / f"{config.name}-{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"


if __name__ == "__main__":
    cli.main(command)
