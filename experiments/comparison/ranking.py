"""A search: configs ranked on validation images, never on the test set."""

from statistics import fmean
from typing import Any

from experiments.comparison.contestants import (
    Options,
    check_configs,
    fit_run_sets,
    prepare_run_sets,
)
from experiments.comparison.measures import COSTS, VALIDATED_ACCURACY, measure_rows
from experiments.comparison.tables import (
    describe_runs,
    in_markdown,
    measure_table,
    report_name,
)
from experiments.training.folder import Finished
from experiments.training.plan import VALIDATED
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.file_io import write_whole
from mnistsum.types import OUTPUTS


def search_configs(options: Options, configs: list[Config], command: str) -> None:
    """Train the missing runs of a search, and print and write their ranking."""
    check_configs(configs)
    runs, _ = fit_run_sets(
        options, prepare_run_sets(options, configs, command), VALIDATED
    )
    ranking = rank_configs(runs, command)
    print(ranking)
    file = options.output / f"{report_name(runs)}.md"
    write_whole(file, ranking)
    say(f"this ranking in {file}, runs in {options.output / 'runs'}")


def rank_configs(runs: dict[str, list[Finished]], command: str) -> str:
    """Return a table of the finished runs of each config, best first, in Markdown.

    Configs are ranked by the mean accuracy of the outputs that they train. Those with a
    failed seed come last.
    """
    shown = VALIDATED_ACCURACY | {"train_seconds": COSTS["train_seconds"]}
    rows = sorted(measure_rows(runs, shown), key=_rank, reverse=True)
    images = next(iter(runs.values()))[0].config.data.validation
    meaning = (
        "Mean ± standard deviation over n seeds. A dash stands for an output that is "
        "not trained."
    )
    table = measure_table(
        f"On {images:,} validation images", rows, shown, meaning, ("n", "parameters")
    )
    return in_markdown({"rows": rows, **describe_runs(runs, command)}, [table])


def _rank(row: dict[str, Any]) -> tuple[bool, float]:
    return not row["failed"], fmean(
        row[output]["mean"] for output in OUTPUTS if row[output]["mean"] is not None
    )
