"""Compares configs over seeds: `python -m experiments.compare base lenet5 mlp --seeds 10`."""

from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import CONFIG, split_overrides
from mnistsum.errors import InputError

DESCRIPTION = """\
Train each config on the same seeds; report which beat the first, by how much, how surely, and at what cost.

Seed k gives every config the same images in the same order with the same numbers. Finished runs in the folder are
reused if nothing that decides them has changed, so the same command continues a comparison that was stopped. On an
accelerator, or on several devices, seeds share one program. Given the folders of finished runs, along with the .py
files of your own networks, it compares those runs and trains nothing.
"""


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("compare", DESCRIPTION)
    parser.add_argument(
        "configs", nargs="+", help="configs, or the folders of finished runs"
    )
    parser.add_argument(
        "--seeds", type=int, default=10, help="how many, from seed 0 on"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default="runs/compare",
        help="folder of runs/ and of each comparison",
    )
    parser.add_argument(
        "--tune",
        action="store_true",
        help="first choose each learning rate on validation images",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print runs and device time, measured, then exit",
    )
    parser.add_argument(
        "--submit", choices=("slurm",), help="train each config in a job of SLURM"
    )
    cli.add_workers(parser)
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = split_overrides(arguments)
    options = parser().parse_args(words)
    command_line = cli.format_command("compare", arguments)
    folders = [Path(name) for name in options.configs if _is_folder(name)]
    own = list(filter(None, map(cli.own_file, options.configs)))
    configs = []
    if not folders:
        if not 2 <= options.seeds <= 1000:
            raise InputError(
                f"--seeds: expected 2 to 1,000, as one run shows no spread, found {options.seeds:,}"
            )
        configs = cli.load_configs(options.configs, overrides)
    elif overrides or len(folders) + len(own) < len(options.configs):
        raise InputError(
            "compare: expected only folders of finished runs, and .py files, as none is trained"
        )
    if len(options.configs) < 2:
        raise InputError(
            f"compare: expected two configs or more, found {options.configs[0]}"
        )

    # JAX loads only for a valid command line
    from experiments.comparison import pipeline

    if folders:
        pipeline.compare_finished(folders, own, options.output, command_line)
    else:
        pipeline.compare_configs(options, configs, command_line)
    return 0


def _is_folder(name: str) -> bool:
    """Return whether a name is that of a run's folder, existing or not; a config's name comes first."""
    config = cli.VARIANT.split(name)[0]
    if config.endswith(".py") or config in cli.config_names():
        return False
    return "/" in name or (Path(name) / CONFIG).exists()


if __name__ == "__main__":
    cli.main(command)
