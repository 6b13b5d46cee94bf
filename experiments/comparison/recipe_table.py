"""The table of recipes that `experiments.search` writes, ranked by their accuracy on validation images."""

from statistics import mean, median

from experiments.comparison.measures import same_weights
from experiments.comparison.tables import markdown
from experiments.training.folder import OUTPUTS, Finished, judged_accuracy
from experiments.training.record import machine
from mnistsum.objective import trained_outputs


def rank_recipes(runs: dict[str, list[Finished]]) -> str:
    """Return a table of the finished runs of each recipe, best first.

    Recipes are ranked by the mean accuracy of the outputs that they train. Those with a failed seed come last.
    """
    used = [run for group in runs.values() for run in group]
    machines = {f"{machine(run.run)}, {run.summary['mode']}" for run in used}
    commits = {run.run["commit"] for run in used}
    shortened = sorted(f"{commit[:7]}{commit[40:]}" for commit in commits)  # and whether it was dirty
    head = (
        f"Mean accuracies over seeds on {used[0].config.data.validation:,} validation images. The test set is not "
        f"used. Trained on {'; '.join(sorted(machines))}, at commit {', '.join(shortened)}."
    )
    header = ["recipe", "digit, %", "sum, %", "seeds", "parameters", "steps", "a step, ms"]
    ranked = sorted(runs.items(), key=lambda item: _rank(item[1]), reverse=True)
    rows = [[f"`{group[0].config.name}` {recipe}", *_cells(group, len(machines) == 1)] for recipe, group in ranked]
    alike = [f"\n{line}\n" for line in same_weights({f"`{recipe}`": group for recipe, group in runs.items()})]
    return f"{head}\n\n{markdown(header, rows)}\n{''.join(alike)}"


def _rank(runs: list[Finished]) -> tuple[bool, float]:
    return not any(run.summary["failure"] for run in runs), mean(_accuracies(runs).values())


def _accuracies(runs: list[Finished]) -> dict[str, float]:
    """Return the mean accuracy of each output that is trained."""
    return {
        output: mean(judged_accuracy(run.summary["validation"], output) for run in runs)
        for output in trained_outputs(runs[0].config.objective)
    }


def _cells(runs: list[Finished], is_timed: bool) -> list[str]:
    """Return the cells of a recipe's row; the time of a step is shown only if all runs had one kind of machine."""
    accuracies = _accuracies(runs)
    shown = [f"{100 * accuracies[output]:.2f}" if output in accuracies else "not trained" for output in OUTPUTS]
    failed = sum(1 for run in runs if run.summary["failure"])
    seeds = f"{len(runs)}, {failed} failed" if failed else f"{len(runs)}"
    steps = runs[0].summary["steps"]
    seconds = median(run.summary["train_seconds"] for run in runs)
    step = f"{1e3 * seconds / steps:.1f}" if is_timed else "machines differ"
    return [*shown, seeds, f"{runs[0].run['parameters']:,}", f"{steps:,}", step]
