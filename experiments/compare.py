"""Compares configs over seeds: `python -m experiments.compare base lenet5 mlp --seeds 10`."""

import csv
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from experiments import cli
from mnistsum.config import Config, InputError

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of --tune: times each config's own learning rate
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared


@dataclass(frozen=True)
class Compare:
    """Trains each config on the same seeds; says which is better than the first, by how much, how sure, at what cost.

    Seed k gives every config the same images in the same order with the same numbers. Overrides such as
    training.epochs=1 apply to every config. Finished runs in the folder are reused, so a comparison that was stopped
    goes on with the same command.
    """

    configs: Positional[tuple[str, ...]]  # names, .py files of yours, or base+model.adder=shift, base so changed
    seeds: int = 10
    output: Path = Path("runs/compare")  # its folder
    tune: bool = False  # choose each config's learning rate first, on validation images, from the same five multiples


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    overrides = [argument for argument in arguments if cli.ASSIGNMENT.fullmatch(argument)]
    options = tyro.cli(
        Compare,
        prog="python -m experiments.compare",
        args=[argument for argument in arguments if argument not in overrides],
    )
    if options.seeds < 2:
        raise InputError(f"--seeds: expected two or more, as one run says nothing of another, found {options.seeds}")
    configs = [cli.override(cli.load_variant(name), overrides) for name in options.configs]
    names = [config.name for config in configs]
    if len(configs) < 2 or len(set(names)) < len(names):
        raise InputError(f"compare: expected two configs or more of different names, found {', '.join(names)}")
    first = configs[0].data
    for name, config in zip(names, configs, strict=True):
        if (config.data.name, config.data.dir, config.data.validation) != (first.name, first.dir, first.validation):
            raise InputError(f"compare: expected the data of {names[0]}, {first}, found in {name} {config.data}")
    if not first.validation:
        raise InputError("compare: expected validation images to watch the learning on; add data.validation=5000")
    files = [cli.VARIANT.split(name)[0] for name in options.configs]
    code = b"".join(Path(file).read_bytes() for file in files if file.endswith(".py"))
    results, tuned = _train(configs, options, code)

    import numpy as np

    from experiments import comparison, environment
    from mnistsum.data import load

    summary = comparison.summarise(configs, results, np.asarray(load(first).test.labels)) | {
        "tuned": tuned,
        "environment": environment.describe(),
        "command": environment.describe()["command"],
    }
    comparison.show(summary)
    _write(summary, options.output)
    return 0


def _train(configs: list[Config], options: Compare, code: bytes):
    """The results of all runs by config, and what tuning chose."""
    from experiments import environment, screen, trial
    from mnistsum.data import load

    environment.set_up_compiler()
    data = load(configs[0].data)
    tuned: dict[str, Any] = {}
    results: dict[str, list[dict[str, Any]]] = {}
    runs = len(configs) * options.seeds
    with screen.runs_progress() as bar:
        task = bar.add_task("", total=runs + (len(configs) * len(RATES) if options.tune else 0))
        for config in configs:
            if options.tune:
                path = options.output / "tuning" / f"{config.name}-{trial.fingerprint(config, code)}.json"
                if not path.exists():
                    scores = {}
                    for rate in RATES:
                        scores[str(rate)] = trial.validate(_at_rate(config, rate, TUNING_SEED), data)
                        bar.update(task, advance=1, description=f"tuning {config.name}")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(scores))
                scores = json.loads(path.read_text())
                best = max(scores, key=scores.__getitem__)
                config = _at_rate(config, float(best), 0)
                tuned[config.name] = {"learning_rate": config.optimizer.learning_rate, "validation": scores}
            mark = trial.fingerprint(config, code)
            results[config.name] = []
            for seed in range(options.seeds):
                bar.update(task, description=f"{config.name}, seed {seed}")
                folder = options.output / "runs" / f"{config.name}-{mark}-{seed}"
                result = trial.read(folder)
                reused = result is not None
                if result is None:
                    result = trial.run(dataclasses.replace(config, seed=seed), data, folder)
                results[config.name].append(result)
                bar.update(task, advance=1)
                screen.run_line(config.name, seed, result, reused)
    return results, tuned


def _at_rate(config: Config, multiple: float, seed: int) -> Config:
    rate = config.optimizer.learning_rate * multiple
    return dataclasses.replace(config, seed=seed, optimizer=dataclasses.replace(config.optimizer, learning_rate=rate))


def _write(summary: dict[str, Any], folder: Path) -> None:
    from experiments import comparison, screen

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps(summary, indent=1) + "\n")
    (folder / "comparison.md").write_text(comparison.markdown(summary))
    with (folder / "comparison.csv").open("w", newline="") as file:
        rows = comparison.flat(summary)
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "comparison.html").write_text(comparison.page(summary))
    screen.console.print(f"all of it in {folder / 'comparison.html'}", markup=False)


if __name__ == "__main__":
    cli.main(command)
