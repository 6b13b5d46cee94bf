"""The command line of `mnistsum`: parsed before JAX is imported."""

import sys
from importlib.metadata import version

import tyro

from mnistsum.app.errors import run
from mnistsum.app.options import Draw, Evaluate, Export, Predict

COMMANDS = {"predict": Predict, "evaluate": Evaluate, "export": Export, "draw": Draw}


def command(arguments: list[str]) -> int:
    """Parse a command line and do what it says; return the exit status."""
    if arguments == ["--version"]:
        print(f"mnistsum {version('mnistsum')}")
        return 0
    options = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="mnistsum",
        description="Use networks that read a handwritten digit and add a number to it.",
        args=arguments,
    )
    # Each imports what it needs, JAX among it, only once the command line is right.
    if isinstance(options, Predict):
        from mnistsum.app import predict

        return predict.predict(options)
    if isinstance(options, Evaluate):
        from mnistsum.app import evaluate

        return evaluate.evaluate(options)
    if isinstance(options, Export):
        from mnistsum.app import export

        return export.export(options)
    from mnistsum.app import draw

    return draw.draw(options)


def main() -> None:
    """Run the console command."""
    run(command, sys.argv[1:])
