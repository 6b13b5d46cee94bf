"""Trains one config with one seed and writes the run's folder: `python -m experiments.run --config base`."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from experiments import cli
from mnistsum.config import Config, InputError

STARTED = time.perf_counter()


@dataclass(frozen=True)
class Run:
    """Trains one network, tests it, and writes all of it into a folder."""

    config: str = "base"  # name of a config, or a .py file of yours
    output: Path | None = None  # the run's folder, new; default runs/<config>-<date>-<time>
    resume: Path | None = None  # the folder of an interrupted run, which goes on to the same bits
    dry_run: bool = False  # print device, data, layers and estimated duration, and end
    profile: Path | None = None  # write a trace of a few steps into this folder, for Perfetto or TensorBoard; end
    settings: cli.Settings = field(default_factory=Config)


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    options: Run = cli.parse(Run, arguments)
    if options.resume is not None:
        alone = Run(config=options.config, resume=options.resume, settings=cli.load_config(options.config))
        if options != alone or not (options.config.endswith(".py") or options.config == "base"):
            raise InputError(
                "--resume: takes no other argument, as the run's folder holds its config; "
                "only --config FILE.py where that defines the run's network"
            )
    folder = options.resume or options.output or _new_folder(options.settings.name)
    if options.resume is None and folder.exists() and not _is_new(folder):
        raise InputError(f"--output {folder}: exists and is not an empty folder; name another, or --resume {folder}")

    from experiments import environment, fit  # JAX loads only once the command line is right

    environment.set_up_compiler()
    if options.resume is not None:
        return fit.resume(folder, STARTED)
    if options.dry_run or options.profile:
        return fit.preview(options.settings, options.profile)
    return fit.start(options.settings, folder, STARTED)


def _is_new(folder: Path) -> bool:
    """Whether it is empty, or left by a run that was killed before it had written its config."""
    before_config = {".lock", "run.json", "metrics.jsonl"}
    return folder.is_dir() and all(path.name.removesuffix(".partial") in before_config for path in folder.iterdir())


def _new_folder(name: str) -> Path:
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


if __name__ == "__main__":
    cli.main(command)
