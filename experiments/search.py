"""Compares recipes on held-out training images; never reads the test set: `python -m experiments.search --help`."""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import tyro
from tyro.conf import Positional

from experiments import cli
from mnistsum.config import Config


@dataclass(frozen=True)
class Search:
    """Trains each recipe on each seed, and ranks them by their mean digit and sum accuracy on validation images."""

    recipes: Positional[tuple[str, ...]]  # the overrides of each, quoted: "training.epochs=2 model.hidden=64"
    output: Path  # .jsonl (a line a run) and .md (the table) are added; runs that are there are not repeated
    config: str = "base"  # the config that the recipes vary
    seeds: int = 2
    validation: int = 10_000  # images held out of training


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    options = tyro.cli(Search, prog="python -m experiments.search", args=arguments)
    configs = {recipe: _configure(options, recipe) for recipe in options.recipes}
    log = options.output.with_suffix(".jsonl")
    log.parent.mkdir(parents=True, exist_ok=True)
    runs = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(run["config"], run["recipe"], run["seed"]) for run in runs}
    for recipe, config in configs.items():
        for seed in range(options.seeds):
            if (options.config, recipe, seed) not in done:
                runs.append({"config": options.config, "recipe": recipe, "seed": seed, **_train(config, seed)})
                print(json.dumps(runs[-1]), flush=True)
                with log.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
    table = _tabulate(runs, options.validation)
    options.output.with_suffix(".md").write_text(table)
    print(table)
    return 0


def _configure(options: Search, recipe: str) -> Config:
    config = cli.override(cli.load_config(options.config), recipe.split())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, validation=options.validation))


def _train(config: Config, seed: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from experiments import environment
    from mnistsum.data import load
    from mnistsum.evaluation import evaluate, score
    from mnistsum.train import compile_advance, init_state, program, split_keys, total_steps, trained_model

    environment.set_up_compiler()
    data, keys, static = load(config.data), split_keys(seed), program(dataclasses.replace(config, devices=1))
    train = jax.device_put(data.train)
    total = total_steps(config, len(train.labels))
    state = init_state(static, keys, len(train.labels))
    compiled = compile_advance(static, len(data.train.labels))
    start = time.perf_counter()
    state = jax.block_until_ready(compiled(keys, state, train, jnp.int32(total)))
    seconds = time.perf_counter() - start
    scores = score(evaluate(config.data, trained_model(state), data.validation), data.validation.labels)
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.model)),
        "steps": total,
        "train_seconds": round(seconds, 1),
        "digit_loss": round(scores.digit_loss, 5),
        "digit_accuracy": scores.digit_accuracy,
        "sum_accuracy": scores.sum_accuracy,
        "commit": environment.describe()["commit"],
    }


def _tabulate(runs: list[dict[str, Any]], validation: int) -> str:
    """The recipes, best first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["config"], run["recipe"]), []).append(run)
    rows = []
    for (config, recipe), group in groups.items():
        digit, total = (100 * mean(run[key] for run in group) for key in ("digit_accuracy", "sum_accuracy"))
        first, seconds = group[0], median(run["train_seconds"] for run in group)
        cells = [f"{digit:.2f}", f"{total:.2f}", f"{len(group)}", f"{first['parameters']:,}", f"{first['steps']:,}"]
        cells += [f"{seconds:.1f}", f"{1e3 * seconds / first['steps']:.1f}", f"`{config}` {recipe}"]
        rows.append((digit + total, "| " + " | ".join(cells) + " |"))
    head = f"Accuracies on {validation:,} held-out training images, means over seeds; the test set is not read.\n\n"
    head += "| digit, % | sum, % | seeds | parameters | steps | training, s | a step, ms | recipe |\n"
    return head + "|--:|--:|--:|--:|--:|--:|--:|---|\n" + "\n".join(row for _, row in sorted(rows, reverse=True)) + "\n"


if __name__ == "__main__":
    cli.main(command)
