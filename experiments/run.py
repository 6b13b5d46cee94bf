"""Trains one config with one seed and writes the run's folder: `python -m experiments.run --config base`."""

import time
from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import CONFIG, override, read_config
from mnistsum.errors import InputError


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("run", "Train and test one network, and write the results into a folder.")
    parser.add_argument("--config", default="base", help="a config, a variant of one, or your own .py file")
    parser.add_argument("--output", type=Path, help="new folder for the run; if not given, runs/CONFIG-SEED-DATE-TIME")
    parser.add_argument("--resume", type=Path, help="folder of an interrupted run, to continue bit for bit")
    parser.add_argument("--init", help="begin from these weights: a run's folder, exported weights, or base or best")
    parser.add_argument("--log", choices=("tensorboard",), help="also write metrics, pictures and config there")
    parser.add_argument("--dry-run", action="store_true", help="print device, data, layers and duration, then exit")
    parser.add_argument("--profile", type=Path, help="write a trace of a few steps to this folder, then exit")
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = cli.split_overrides(arguments)
    options = parser().parse_args(words)
    own = cli.own_file(options.config)
    config = cli.load_config(options.config, overrides)
    if options.resume is not None:
        given = [options.output, options.init, options.log, options.dry_run, options.profile]
        if any(given) or any(not each.startswith("devices=") for each in overrides):
            raise InputError(
                "--resume: takes no other argument, as the run's folder holds its config; only devices=N, and --config "
                "FILE.py where that defines the run's network"
            )
        config = override(read_config(options.resume), overrides)
    elif "--config" not in " ".join(words):
        print("no --config given: base, the default")
    folder = options.output or Path("runs") / f"{config.name}-{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    if options.resume is None and (folder / CONFIG).exists():
        raise InputError(f"--output {folder}: holds a run; name another folder, or --resume {folder}")

    from experiments.training import single  # JAX loads only for a valid command line
    from experiments.training.job import prepare
    from mnistsum.app.compiler import set_up_compiler  # imports JAX, too

    set_up_compiler()
    job = prepare(config, cli.format_command("run", arguments), init=options.init)
    if options.resume is not None:
        return single.resume(job, options.resume, own)
    if options.dry_run or options.profile:
        return single.preview(job, options.profile)
    return single.start(job, folder, own, options.log)


if __name__ == "__main__":
    cli.main(command)
