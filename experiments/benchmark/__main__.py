"""Times the networks against PyTorch on the same work: `python -m experiments.benchmark` (extra `pytorch`)."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from experiments import cli
from mnistsum.errors import InputError


@dataclass(frozen=True)
class Benchmark:
    """Time both networks against PyTorch, warmed up and interleaved, and measure how the cost of training grows."""

    rounds: int = 5  # each implementation takes one turn per round; at least 2, for a range
    output: Path = Path("experiments/results/benchmark")  # .json, .md and .png are appended
    quick: bool = False  # only steps and evaluations, on fewer images, printed and not written; two to four minutes


def command(arguments: list[str]) -> int:
    """Run the program; return the exit status."""
    options = cli.parse_plain(Benchmark, arguments)
    if options.quick and options != Benchmark(quick=True):
        raise InputError("--quick: expected no other option, as it takes three rounds and writes nothing")
    if options.rounds < 2:
        raise InputError(f"--rounds: expected at least 2, found {options.rounds}")
    if not options.output.name:
        raise InputError(f"--output {options.output}: expected a path that .json, .md and .png are added to")
    if importlib.util.find_spec("torch") is None:
        raise InputError("benchmark: PyTorch is not installed; pip install -e '.[pytorch]'")

    from mnistsum.app.compiler import set_up_compiler  # JAX and PyTorch load only once the command line is valid

    set_up_compiler()
    from experiments.benchmark import measure  # after XLA's flags are set, as it may start JAX

    if options.quick:
        measure.quick()
        return 0
    measure.measure(options.rounds, options.output, cli.format_command("benchmark", arguments))
    return 0


if __name__ == "__main__":
    cli.main(command)
