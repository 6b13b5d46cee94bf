"""Times this project beside PyTorch, on the processor: `python -m experiments.benchmark`."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.errors import InputError
from mnistsum.file_io import write_json, write_whole

DESCRIPTION = """\
Time this project beside PyTorch on the same work, on the processor, and how the cost of training grows.

The work is steps of training and evaluations of several networks, in float32 and in bfloat16 on both sides, and a whole
command. PyTorch's side is the fastest of its variants. The extra `pytorch` installs it. The first row is a product of
matrices, whose rate both can at best reach.
"""
RESULTS = Path(__file__).parent / "results" / "benchmark"


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = Parser(prog="python -m experiments.benchmark", description=DESCRIPTION)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only the network of `base`: at most three minutes",
    )
    parser.add_argument(
        "--growth",
        action="store_true",
        help="only how the cost grows, on JAX's device, without PyTorch",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="path to which .md and .json are added; default: the published results, or none with an option",
    )
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    options = parser().parse_args(arguments)
    if not options.growth:
        if find_spec("torchvision") is None:
            raise InputError("PyTorch is not installed: pip install -e '.[pytorch]'")
        os.environ["JAX_PLATFORMS"] = "cpu"  # as PyTorch's side

    from experiments import timing  # JAX loads only for a valid command line
    from experiments.benchmark_page import benchmark_markdown  # loads JAX

    works = () if options.growth else timing.QUICK if options.quick else timing.WORKS
    results = timing.measure(works, grows=not options.quick)
    page = (
        benchmark_markdown(results) if works else f"{json.dumps(results, indent=1)}\n"
    )
    print(page)
    output = options.output or (None if options.quick or options.growth else RESULTS)
    if output:
        write_json(output.with_name(f"{output.name}.json"), results)
        write_whole(output.with_name(f"{output.name}.md"), page)
    return 0


if __name__ == "__main__":
    cli.main(command)
