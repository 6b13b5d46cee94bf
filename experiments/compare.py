"""Compares configs over seeds: `python -m experiments.compare base lenet5 mlp --seeds 10`."""

from experiments import cli
from experiments.comparison.options import parse


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options, configs = parse(arguments)
    command_line = cli.format_command("compare", arguments)

    from experiments.comparison import pipeline  # JAX loads only for a valid command line

    if configs:
        pipeline.compare(options, configs, command_line)
    else:
        pipeline.compare_finished(options, command_line)
    return 0


if __name__ == "__main__":
    cli.main(command)
