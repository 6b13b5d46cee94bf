"""What studies that train many configs have in common."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import cli
from experiments.report.console import RunsProgress
from experiments.training.folder import Finished
from experiments.training.plan import Plan
from experiments.training.pool import fit_missing
from experiments.training.record import prepare_all
from experiments.training.reuse import locate_runs
from mnistsum.app.program import Parser
from mnistsum.config import Config
from mnistsum.file_io import write_whole
from mnistsum.programs import set_up_compiler

RESULTS = Path(__file__).parents[1] / "results"


def train_study(
    words: list[str],
    name: str,
    description: str | None,
    planned: Sequence[tuple[Config, Sequence[int]]],
) -> Iterator[tuple[int, Finished, np.ndarray, dict[str, Any]]]:
    """Train what is missing of a study's runs, as its command line says.

    Args:
        words: of the command line.
        name: the study's module.
        description: for `--help`.
        planned: each config with its seeds.

    Yields:
        The index of the config, the run, the test labels, and what tells where the run
        was made.
    """
    parser = Parser(
        prog=f"python -m experiments.studies.{name}", description=description
    )
    parser.add_argument("--runs", type=Path, default=f"runs/{name}")
    cli.add_workers(parser)
    options = parser.parse_args(words)
    set_up_compiler()
    experiments = prepare_all(
        [config for config, _ in planned], f"python -m experiments.studies.{name}"
    )
    labels = np.asarray(experiments[0].data.test.labels)
    run_sets = [
        locate_runs(options.runs, experiment, seeds)
        for experiment, (_, seeds) in zip(experiments, planned, strict=True)
    ]
    for i, run, _ in fit_missing(
        run_sets, Plan(max_evaluations=1), options.workers, RunsProgress
    ):
        yield (
            i,
            run,
            labels,
            {
                part: run.run[part]
                for part in ("commit", "versions", "settings", "cores")
            },
        )


def write_results(name: str, lines: Sequence[dict[str, Any]]) -> None:
    """Write a line of JSON for each run."""
    write_whole(
        RESULTS / f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines)
    )
