"""Compares configs over seeds: `python -m experiments.compare base lenet5 mlp --seeds 10`."""

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import tyro
from tyro.conf import Positional

from experiments import cli
from mnistsum.config import Config, to_json
from mnistsum.errors import InputError

if TYPE_CHECKING:  # JAX and submitit load only once the command line is right
    from experiments.training.run_folder import Finished
    from experiments.training.store import Wanted
    from mnistsum.types import Data

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of --tune: times each config's own learning rate
TUNING_SEED = 4_000_000_000  # far from the seeds that are compared
LONGEST = 80  # characters of the configs' names in a folder's name


@dataclass(frozen=True)
class Compare:
    """Trains each config on the same seeds; says which is better than the first, by how much, how sure, at what cost.

    Seed k gives every config the same images in the same order with the same numbers. Overrides such as
    training.epochs=1 apply to every config. Finished runs in the folder are reused where nothing that decides them has
    changed, so a comparison that was stopped goes on with the same command. On an accelerator, or several devices,
    seeds share one program. Given the folders of finished runs, it compares those, and trains nothing.
    """

    configs: Positional[
        tuple[str, ...]
    ]  # names, .py files of yours, base+model.adder=shift, or folders of finished runs
    seeds: int = 10
    output: Path = Path("runs/compare")  # a folder: runs/ in it, and a folder for each comparison
    tune: bool = False  # choose each config's learning rate first, on validation images, from the same five multiples
    dry_run: bool = False  # print runs, device-hours and storage, estimated from a measured second of each config; end
    submit: Literal["local", "slurm"] | None = None  # train in jobs: as processes here, on the CPU, or by SLURM
    seeds_per_job: int = 10  # with --submit: a job trains so many seeds of one config
    retry_failed: bool = False  # with --submit: submit again what has ended without a result


class Contestant(NamedTuple):
    """A config that is compared."""

    config: Config
    own: Path | None  # the user's file that it came from, if it did


class Comparison(NamedTuple):
    """A command line, understood."""

    options: Compare
    contestants: list[Contestant]
    command: str


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    options, overrides = _options(arguments)
    if any((Path(name) / "config.json").exists() for name in options.configs):
        return _compare_finished(options, arguments, overrides)
    compared = parse(arguments)

    from experiments import environment, screen
    from experiments.comparison import dry_run
    from experiments.training import store
    from mnistsum.data import load

    environment.set_up_compiler()
    data = load(compared.contestants[0].config.data)
    wanted = [_wanted(compared, contestant, data) for contestant in compared.contestants]
    if options.dry_run:
        dry_run.show(wanted, len(RATES) if options.tune else 0, data)
        return 0
    check_contract([want.config for want in wanted if store.missing(want)])
    with screen.runs_progress() as bar:
        tuning = len(wanted) * len(RATES) if options.tune and not options.submit else 0
        task = bar.add_task("", total=len(wanted) * options.seeds + tuning)
        advance = partial(bar.update, task)
        if options.submit is None:
            for want, contestant in zip(wanted, compared.contestants, strict=True):
                train(compared, contestant, want, data, advance)
        else:
            _submit(compared, wanted, arguments, advance)
    tuned: dict[str, Any] = {}
    runs = {}
    for want, contestant in zip(wanted, compared.contestants, strict=True):
        if options.tune:
            config, tuned[want.config.name] = tune(compared, contestant, want, data, lambda **_: None)
            want = want._replace(config=config)
        runs[want.config.name] = [store.read(want, seed) for seed in want.folders]
    _report(options.output, runs, data, compared.command, tuned, [])
    return 0


def parse(arguments: list[str]) -> Comparison:
    """The comparison of a command line; InputError where its parts do not fit each other."""
    options, overrides = _options(arguments)
    if options.seeds < 2:
        raise InputError(f"--seeds: expected two or more, as one run says nothing of another, found {options.seeds}")
    if options.seeds_per_job < 1:
        raise InputError(f"--seeds-per-job: expected at least 1, found {options.seeds_per_job}")
    if options.retry_failed and options.submit is None:
        raise InputError("--retry-failed: expected only with --submit")
    if options.submit and importlib.util.find_spec("submitit") is None:
        raise InputError("--submit: needs submitit; install this project with the extra `slurm`")
    contestants = [
        Contestant(cli.override(cli.load_variant(name), overrides), cli.own_file(name)) for name in options.configs
    ]
    configs = [contestant.config for contestant in contestants]
    names = [config.name for config in configs]
    if len(configs) < 2 or len(set(names)) < len(names):
        raise InputError(f"compare: expected two configs or more of different names, found {', '.join(names)}")
    first = configs[0].data
    for name, config in zip(names, configs, strict=True):
        if (config.data.name, config.data.dir, config.data.validation) != (first.name, first.dir, first.validation):
            raise InputError(
                f"compare: expected the data of {names[0]}, {first}, found in {name} {config.data}; an override such "
                f"as data.validation={first.validation} applies to every config"
            )
    if any(config.devices != "all" for config in configs):
        raise InputError(
            "compare: expected no devices, as it spreads seeds over all there are and never shares a batch"
        )
    if any(config.seed for config in configs):
        raise InputError("compare: expected no seed, as every config is trained on the seeds 0 to --seeds less 1")
    if not first.validation:
        raise InputError("compare: expected validation images to watch the learning on; add data.validation=5000")
    return Comparison(options, contestants, cli.typed("compare", arguments))


def check_contract(configs: list[Config]) -> None:
    """InputError, before anything is trained, where a network breaks the quick part of `mnistsum.testing`."""
    from mnistsum import testing

    for model in dict.fromkeys(config.model for config in configs):
        for check in testing.QUICK:
            try:
                check(model)
            except InputError:
                raise
            except Exception as error:  # whatever a user's code raises
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise InputError(
                    f"compare: {model.classifier} with {model.adder} cannot be compared: {check.__name__}: {reason[0]} "
                    "(mnistsum.testing.check shows where)"
                ) from None


def train(
    compared: Comparison, contestant: Contestant, wanted: "Wanted", data: "Data", advance: Callable[..., None]
) -> None:
    """Train those of a config's runs that are missing, tuned first if asked for."""
    from experiments import screen
    from experiments.training import store
    from experiments.training.runs import COMPARED

    name = wanted.config.name
    if store.missing(wanted) and (reason := store.why_missing(wanted)):
        screen.console.print(f"{name}: trained anew: {reason}", markup=False)
    if compared.options.tune:
        config, _ = tune(compared, contestant, wanted, data, advance)
        wanted = wanted._replace(config=config)
    advance(description=name)
    for run, reused in store.train_missing(wanted, data, COMPARED, compared.command):
        screen.run_line(name, run.config.seed, run.summary, reused)
        advance(advance=1)


def tune(
    compared: Comparison, contestant: Contestant, wanted: "Wanted", data: "Data", advance: Callable[..., None]
) -> tuple[Config, dict[str, Any]]:
    """The config at the learning rate that does best on validation images, and what was tried."""
    from experiments.training import store
    from experiments.training.runs import VALIDATED

    tried, scores = {}, {}
    for multiple in RATES:
        rate = wanted.config.optimizer.learning_rate * multiple
        optimizer = dataclasses.replace(wanted.config.optimizer, learning_rate=rate)
        config = dataclasses.replace(wanted.config, optimizer=optimizer)
        trial = store.want(compared.options.output / "tuning", config, wanted.record, [TUNING_SEED])
        ((run, _),) = store.train_missing(trial, data, VALIDATED, compared.command)
        validation = run.summary["validation"]
        scores[multiple] = (validation["digit_accuracy"] + validation["sum_accuracy"]) / 2
        tried[multiple] = config
        advance(advance=1, description=f"tuning {config.name}")
    best = tried[max(scores, key=lambda multiple: scores[multiple])]
    return best, {
        "learning_rate": best.optimizer.learning_rate,
        "validation": {str(multiple): score for multiple, score in scores.items()},
    }


def train_part(arguments: list[str], name: str, seeds: list[int]) -> None:
    """Train what one job of the comparison is to train: some seeds of a config."""
    from experiments import environment
    from mnistsum.data import load

    environment.set_up_compiler()
    compared = parse(arguments)
    contestant = next(contestant for contestant in compared.contestants if contestant.config.name == name)
    data = load(contestant.config.data)
    wanted = _wanted(compared, contestant, data)
    wanted = wanted._replace(folders={seed: wanted.folders[seed] for seed in seeds})
    train(compared, contestant, wanted, data, lambda **_: None)


def _options(arguments: list[str]) -> tuple[Compare, list[str]]:
    """The program's own options, and the overrides of every config."""
    overrides = [argument for argument in arguments if cli.ASSIGNMENT.fullmatch(argument)]
    own = [argument for argument in arguments if argument not in overrides]
    return tyro.cli(Compare, prog="python -m experiments.compare", args=own), overrides


def _wanted(compared: Comparison, contestant: Contestant, data: "Data") -> "Wanted":
    """The runs that a comparison wants of a config."""
    from experiments.training import store
    from experiments.training.record import make_record

    record = make_record(contestant.config, data, contestant.own)
    if compared.options.tune:  # whatever rate it will be
        record["settings"] |= {"tuned": f"learning rate times {', '.join(map(str, RATES))}"}
    return store.want(compared.options.output / "runs", contestant.config, record, range(compared.options.seeds))


def _submit(compared: Comparison, wanted: list["Wanted"], arguments: list[str], advance: Callable[..., None]) -> None:
    """Have jobs train what is missing, and wait for them; OSError where some end without results."""
    from experiments import screen
    from experiments.comparison.jobs import Jobs, Part
    from experiments.training import run_folder

    options = compared.options
    assert options.submit is not None
    jobs = Jobs(options.submit, options.output, arguments)
    parts = []
    for want in wanted:
        folders = list(want.folders.items())
        size = options.seeds_per_job
        parts += [Part(want.config.name, dict(folders[i : i + size])) for i in range(0, len(folders), size)]
    begun = [part for part in parts if not part.missing()]
    for part in parts:
        if part.missing():
            jobs.submit(part, options.retry_failed)
    screen.console.print(f"jobs: {len(parts)}, finished {len(begun)}; logs in {jobs.executor.folder}", markup=False)

    def on_finished(part: Part, seed: int) -> None:
        screen.run_line(part.config, seed, run_folder.read(part.folders[seed]).summary, reused=part in begun)
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


def _compare_finished(options: Compare, arguments: list[str], overrides: list[str]) -> int:
    """Compare runs that are there, grouped by config; the exit status."""
    defaults = Compare(options.configs, output=options.output)
    if options != defaults or overrides:
        raise InputError("compare: expected no option but --output beside folders of finished runs, as none is trained")

    from experiments.comparison.finished import group_runs
    from experiments.training import run_folder
    from mnistsum.data import load

    runs, notes = group_runs([run_folder.read(Path(name)) for name in options.configs])
    data = load(next(iter(runs.values()))[0].config.data)
    _report(options.output, runs, data, cli.typed("compare", arguments), {}, notes)
    return 0


def _report(
    output: Path,
    runs: dict[str, list["Finished"]],
    data: "Data",
    command: str,
    tuned: dict[str, Any],
    notes: list[str],
) -> None:
    """Show what follows from the runs, and write it into a folder of its own: no other comparison's is overwritten."""
    import numpy as np

    from experiments import environment, screen
    from experiments.comparison import summary

    made = {"tuned": tuned, "notes": notes, "environment": environment.describe(command), "command": command}
    found = summary.summarize(runs, np.asarray(data.test.labels)) | made
    summary.show(found)
    kinds = "".join(to_json(dataclasses.replace(of[0].config, seed=0, devices="all")) for of in runs.values())
    names = "-".join(runs)[:LONGEST]
    folder = output / f"{names}-{hashlib.sha256(kinds.encode()).hexdigest()[:6]}"
    summary.write(found, folder)
    screen.console.print(f"all of it in {folder / 'comparison.html'}", markup=False)


if __name__ == "__main__":
    cli.main(command)
