"""Compares configs over seeds: `python -m experiments.compare base lenet5 mlp --seeds 10`."""

import csv
import dataclasses
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import tyro
from tyro.conf import Positional

from experiments import cli
from mnistsum.config import Config, InputError

if TYPE_CHECKING:  # JAX and submitit load only once the command line is right
    from experiments.jobs import Part
    from mnistsum.types import Data

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of --tune: times each config's own learning rate
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared


@dataclass(frozen=True)
class Compare:
    """Trains each config on the same seeds; says which is better than the first, by how much, how sure, at what cost.

    Seed k gives every config the same images in the same order with the same numbers. Overrides such as
    training.epochs=1 apply to every config. Finished runs in the folder are reused, so a comparison that was stopped
    goes on with the same command. On an accelerator, or several devices, seeds share one program.
    """

    configs: Positional[tuple[str, ...]]  # names, .py files of yours, or base+model.adder=shift, base so changed
    seeds: int = 10
    output: Path = Path("runs/compare")  # its folder
    tune: bool = False  # choose each config's learning rate first, on validation images, from the same five multiples
    dry_run: bool = False  # print runs, device-hours and storage, estimated from a measured second of each config; end
    submit: Literal["local", "slurm"] | None = None  # train in jobs: as processes here, on the CPU, or by SLURM
    seeds_per_job: int = 10  # with --submit: a job trains so many seeds of one config
    retry_failed: bool = False  # with --submit: submit again what has ended without a result


class Comparison(NamedTuple):
    """A command line, understood."""

    options: Compare
    configs: list[Config]
    code: bytes  # of the user's own files

    def folders(self, config: Config) -> dict[int, Path]:
        """Where the run of each seed lies, by all that decides it."""
        from experiments import trial

        mark = trial.fingerprint(config, self.code + (repr(RATES).encode() if self.options.tune else b""))
        runs = self.options.output / "runs"
        return {seed: runs / f"{config.name}-{mark}-{seed}" for seed in range(self.options.seeds)}

    def tuning(self, config: Config) -> Path:
        """Where the scores of each learning rate lie."""
        return self.options.output / "tuning" / f"{self.folders(config)[0].name}.json"


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    compared = parse(arguments)
    options, configs, _ = compared

    import numpy as np

    from experiments import comparison, environment, screen, trial
    from mnistsum.data import load

    environment.set_up_compiler()
    data = load(configs[0].data)
    folders = {config.name: compared.folders(config) for config in configs}
    if options.dry_run:
        from experiments import estimate

        trials = len(RATES) if options.tune else 0
        estimate.show(configs, {name: list(of.values()) for name, of in folders.items()}, trials, data)
        return 0
    with screen.runs_progress() as bar:
        tuning = len(configs) * len(RATES) if options.tune and not options.submit else 0
        task = bar.add_task("", total=len(configs) * options.seeds + tuning)
        advance = partial(bar.update, task)
        if options.submit is None:
            for config in configs:
                train(compared, config, folders[config.name], data, advance)
        else:
            _submit(compared, arguments, advance)
    results = {name: [trial.read(path) or {} for path in of.values()] for name, of in folders.items()}
    summary = comparison.summarise(configs, results, np.asarray(data.test.labels)) | {
        "tuned": _tuned(compared) if options.tune else {},
        "environment": environment.describe(),
        "command": environment.describe()["command"],
    }
    comparison.show(summary)
    _write(summary, options.output)
    return 0


def parse(arguments: list[str]) -> Comparison:
    """The comparison of a command line; InputError where its parts do not fit each other."""
    overrides = [argument for argument in arguments if cli.ASSIGNMENT.fullmatch(argument)]
    options = tyro.cli(
        Compare,
        prog="python -m experiments.compare",
        args=[argument for argument in arguments if argument not in overrides],
    )
    if options.seeds < 2:
        raise InputError(f"--seeds: expected two or more, as one run says nothing of another, found {options.seeds}")
    if options.seeds_per_job < 1:
        raise InputError(f"--seeds-per-job: expected at least 1, found {options.seeds_per_job}")
    if options.retry_failed and options.submit is None:
        raise InputError("--retry-failed: expected only with --submit")
    if options.submit and importlib.util.find_spec("submitit") is None:
        raise InputError("--submit: needs submitit; install this project with the extra `slurm`")
    configs = [cli.override(cli.load_variant(name), overrides) for name in options.configs]
    names = [config.name for config in configs]
    if len(configs) < 2 or len(set(names)) < len(names):
        raise InputError(f"compare: expected two configs or more of different names, found {', '.join(names)}")
    first = configs[0].data
    for name, config in zip(names, configs, strict=True):
        if (config.data.name, config.data.dir, config.data.validation) != (first.name, first.dir, first.validation):
            raise InputError(f"compare: expected the data of {names[0]}, {first}, found in {name} {config.data}")
    if any(config.devices != "all" for config in configs):
        raise InputError(
            "compare: expected no devices, as it spreads seeds over all there are and never shares a batch"
        )
    if not first.validation:
        raise InputError("compare: expected validation images to watch the learning on; add data.validation=5000")
    files = [cli.VARIANT.split(name)[0] for name in options.configs]
    return Comparison(options, configs, b"".join(Path(file).read_bytes() for file in files if file.endswith(".py")))


def train(
    compared: Comparison, config: Config, folders: dict[int, Path], data: "Data", advance: Callable[..., None]
) -> None:
    """Trains those of a config's runs that are missing, tuned first if asked for."""
    from experiments import screen, trial

    finished = {seed: result for seed, folder in folders.items() if (result := trial.read(folder)) is not None}
    if compared.options.tune:
        path = compared.tuning(config)
        if not path.exists():
            scores = {}
            for rate in RATES:
                scores[str(rate)] = trial.validate(_at_rate(config, rate, TUNING_SEED), data)
                advance(advance=1, description=f"tuning {config.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            trial.write_whole(path, json.dumps(scores))
        config = _at_rate(config, _best_rate(path), 0)
    for seed, result in finished.items():
        screen.run_line(config.name, seed, result, reused=True)
    advance(advance=len(finished))
    for seeds in trial.groups([seed for seed in folders if seed not in finished]):
        named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
        advance(description=f"{config.name}, {named}")
        trial.run(config, {seed: folders[seed] for seed in seeds}, data)
        for seed in seeds:
            screen.run_line(config.name, seed, trial.read(folders[seed]) or {}, reused=False)
        advance(advance=len(seeds))


def train_part(arguments: list[str], part: "Part") -> None:
    """Trains what one job of the comparison is to train."""
    from experiments import environment
    from mnistsum.data import load

    environment.set_up_compiler()
    compared = parse(arguments)
    config = next(config for config in compared.configs if config.name == part.config)
    train(compared, config, part.folders, load(config.data), lambda **_: None)


def _submit(compared: Comparison, arguments: list[str], advance: Callable[..., None]) -> None:
    """Has jobs train what is missing, and waits for them; OSError where some end without results."""
    from experiments import screen, trial
    from experiments.jobs import Jobs, Part

    options = compared.options
    assert options.submit is not None
    jobs = Jobs(options.submit, options.output, arguments)
    parts = []
    for config in compared.configs:
        folders = list(compared.folders(config).items())
        size = options.seeds_per_job
        parts += [Part(config.name, dict(folders[i : i + size])) for i in range(0, len(folders), size)]
    begun = [part for part in parts if not part.missing()]
    for part in parts:
        if part.missing():
            jobs.submit(part, options.retry_failed)
    screen.console.print(f"jobs: {len(parts)}, finished {len(begun)}; logs in {jobs.executor.folder}", markup=False)

    def on_finished(part: Part, seed: int) -> None:
        screen.run_line(part.config, seed, trial.read(part.folders[seed]) or {}, reused=part in begun)
        advance(advance=1, description=f"{len(parts)} jobs")

    try:
        failed = jobs.wait(parts, on_finished)
    except KeyboardInterrupt:
        screen.console.print("the jobs go on; the same command waits for them")
        raise
    for part in failed:
        screen.console.print(f"{part.config}, seeds {part.missing()}: {jobs.explain(part)}", markup=False)
    if failed:
        raise OSError(f"{len(failed)} of {len(parts)} jobs ended without results; --retry-failed submits them again")


def _tuned(compared: Comparison) -> dict[str, Any]:
    """What tuning chose for each config, and from what."""
    tuned = {}
    for config in compared.configs:
        path = compared.tuning(config)
        rate = _at_rate(config, _best_rate(path), 0).optimizer.learning_rate
        tuned[config.name] = {"learning_rate": rate, "validation": json.loads(path.read_text())}
    return tuned


def _best_rate(path: Path) -> float:
    scores = json.loads(path.read_text())
    return float(max(scores, key=scores.__getitem__))


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
