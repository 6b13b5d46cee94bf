"""Trains one config with one seed: `python -m experiments.run --config base`."""

import time
from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import CONFIG, read_config, split_overrides
from mnistsum.errors import InputError

ONLY_NEW = ("output", "init", "log")  # options of a run that begins
SMALL = (
    "This is a small network. --config reference trains the original one, "
    "which has 6,384,925 parameters."
)


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser(
        "run", "Train and test one network, and write the results into a folder."
    )
    cli.add_config(parser)
    parser.add_argument(
        "--output",
        type=Path,
        help="new folder for the run; if not given, runs/CONFIG-SEED-DATE-TIME",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        help="folder of an interrupted run, to continue bit for bit",
    )
    parser.add_argument(
        "--init",
        help=(
            "begin from these weights: a run's folder, exported weights, or base or "
            "best"
        ),
    )
    parser.add_argument(
        "--log",
        choices=("tensorboard",),
        help="also write metrics, pictures and config there",
    )
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = split_overrides(arguments)
    options = parser().parse_args(words)
    name = cli.named_config(options)
    own = cli.own_file(name or cli.DEFAULT)
    config = cli.load_config(name or cli.DEFAULT, overrides)
    if options.resume is not None:
        if overrides or any(vars(options)[name] for name in ONLY_NEW):
            raise InputError(
                "--resume: takes no other argument, as the run's folder holds its "
                "config; only --config FILE.py where that defines the run's network"
            )
        config = read_config(options.resume)
    elif name is None:
        print(f"trains {cli.DEFAULT}, as no config is given", flush=True)
    if options.resume is None and config.name == cli.DEFAULT:
        print(SMALL, flush=True)
    name = f"{config.name}-{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = options.output or Path("runs") / name
    if options.resume is None and (folder / CONFIG).exists():
        raise InputError(
            f"--output {folder}: holds a run; name another folder, or --resume {folder}"
        )

    from experiments import single  # JAX loads only for a valid command line
    from experiments.training.record import check_own, prepare  # loads JAX
    from mnistsum.app.console import say  # loads JAX
    from mnistsum.programs import set_up_compiler  # loads JAX

    set_up_compiler()
    experiment = prepare(
        config, cli.format_command("run", arguments), init=options.init
    )
    for line in check_own(config):
        say(line)
    if options.resume is not None:
        return single.resume(experiment, options.resume, own)
    return single.start(experiment, folder, own, options.log)


if __name__ == "__main__":
    cli.main(command)
