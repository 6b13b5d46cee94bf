"""Learns digits from sums of numbers written in images: `python -m experiments.addition --digits 2 --seeds 10`."""

from pathlib import Path

from experiments import cli
from mnistsum.app.program import Parser
from mnistsum.config import split_overrides
from mnistsum.errors import InputError

DESCRIPTION = """\
Train on the sum of two numbers of N digits, all as images, with no digit labeled (Manhaeve et al. 2018,
arXiv:1805.10872). Each training image is used in one example, so there are 60,000 / 2N; 10,000 / 2N test the sums.

Classifier, distortions and optimizer are those of the config; a step sees about training.batch_size images. The loss is
the negative log-likelihood of the sum, exact. The classifier's output layer starts at zero, because a confident random
reader can fall into a local optimum; model.zero_output=False turns that off. A sum is predicted from the most likely
digits. Runs are reused as those of `compare` are.
"""
TASK = (
    "data.validation=0",
    "model.adder=shift",
    "model.zero_output=True",
    "objective.name=written_sum",
)


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("addition", DESCRIPTION)
    cli.add_config(parser)
    parser.add_argument(
        "--digits", type=int, default=1, help="of each of the two numbers"
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many, from seed 0 on")
    parser.add_argument(
        "--runs", type=Path, default="runs/addition", help="where the runs' folders are"
    )
    cli.add_workers(parser)
    parser.add_argument(
        "--output",
        type=Path,
        help="a .jsonl file of all runs, beside which a table is put; default: in RUNS",
    )
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = split_overrides(arguments)
    options = parser().parse_args(words)
    if options.digits < 1 or options.seeds < 1:
        raise InputError("--digits and --seeds: expected 1 or more")
    name = cli.named_config(options) or cli.DEFAULT
    config = cli.load_config(
        name, [*TASK, f"objective.digits={options.digits}", *overrides]
    )

    # JAX loads only for a valid command line
    from experiments.comparison.written_sums import learn_sums

    output = options.output or options.runs / "addition.jsonl"
    command_line = cli.format_command("addition", arguments)
    learn_sums(
        config, options.seeds, options.runs, output, options.workers, command_line
    )
    return 0


if __name__ == "__main__":
    cli.main(command)
