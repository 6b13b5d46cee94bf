"""Compares configs over seeds: `python -m experiments.compare base lenet5 mlp --seeds 10`."""

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from tyro.conf import Positional

from experiments import cli
from mnistsum.config import Config, to_json
from mnistsum.errors import InputError

if TYPE_CHECKING:  # JAX and submitit load only once the command line is right
    from experiments.comparison.contestants import Contestant
    from experiments.run_folder import Finished
    from experiments.training.store import Wanted
    from mnistsum.types import Data

LONGEST = 80  # characters of the configs' names in a folder's name


@dataclass(frozen=True)
class Compare:
    """Trains each config on the same seeds; says which is better than the first, by how much, how sure, at what cost.

    Seed k gives every config the same images in the same order with the same numbers. Overrides such as
    training.epochs=1 apply to every config. Finished runs in the folder are reused where nothing that decides them has
    changed, so a comparison that was stopped goes on with the same command. On an accelerator, or several devices,
    seeds share one program. Given the folders of finished runs, it compares those, and trains nothing.
    """

    configs: Positional[tuple[str, ...]]  # names, .py files of yours, base+model.adder=shift, or finished runs' folders
    seeds: int = 10
    output: Path = Path("runs/compare")  # a folder: runs/ in it, and a folder for each comparison
    tune: bool = False  # choose each config's learning rate first, on validation images, from the same five multiples
    dry_run: bool = False  # print runs, device-hours and storage, estimated from a measured second of each config; end
    submit: Literal["local", "slurm"] | None = None  # train in jobs: as processes here, on the CPU, or by SLURM
    seeds_per_job: int = 10  # with --submit: a job trains so many seeds of one config
    retry_failed: bool = False  # with --submit: submit again what has ended without a result


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    overrides = [argument for argument in arguments if cli.ASSIGNMENT.fullmatch(argument)]
    own = [argument for argument in arguments if argument not in overrides]
    options = tyro.cli(Compare, prog="python -m experiments.compare", args=own)
    typed = cli.typed("compare", arguments)
    if any((Path(name) / "config.json").exists() for name in options.configs):
        return _compare_finished(options, overrides, typed)
    configs = _configure(options, overrides)

    from experiments.comparison import contestants, dry_run
    from experiments.comparison.contestants import RATES, Contestant
    from experiments.report import console
    from experiments.training import store
    from mnistsum.app.compiler import set_up_compiler
    from mnistsum.data import load

    set_up_compiler()
    compared = [
        Contestant(config, cli.own_file(name), options.tune, options.output, typed)
        for name, config in zip(options.configs, configs, strict=True)
    ]
    data = load(configs[0].data)
    wanted = [contestants.want(contestant, data, range(options.seeds)) for contestant in compared]
    if options.dry_run:
        dry_run.show(wanted, len(RATES) if options.tune else 0, data)
        return 0
    contestants.check_contract([want.config for want in wanted if store.missing(want)])
    with console.runs_progress() as bar:
        tuning = len(wanted) * len(RATES) if options.tune and not options.submit else 0
        task = bar.add_task("", total=len(wanted) * options.seeds + tuning)
        advance = partial(bar.update, task)
        if options.submit is None:
            for contestant, want in zip(compared, wanted, strict=True):
                contestants.train(contestant, want, data, advance)
        else:
            _submit(options, compared, wanted, advance)
    tuned: dict[str, Any] = {}
    runs = {}
    for contestant, want in zip(compared, wanted, strict=True):
        if options.tune:
            config, tuned[want.config.name] = contestants.tune(contestant, want, data, lambda **_: None)
            want = want._replace(config=config)
        runs[want.config.name] = [store.read(want, seed) for seed in want.folders]
    _report(options.output, runs, data, typed, tuned, [])
    return 0


def _configure(options: Compare, overrides: list[str]) -> list[Config]:
    """The configs that are compared; InputError where the parts of the command line do not fit each other."""
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
    return configs


def _submit(
    options: Compare, compared: list["Contestant"], wanted: list["Wanted"], advance: Callable[..., None]
) -> None:
    """Have jobs train what is missing, and wait for them; OSError where some end without results."""
    from experiments import run_folder
    from experiments.comparison.jobs import Jobs, Part  # which needs the extra `slurm`
    from experiments.report import console

    assert options.submit is not None
    jobs = Jobs(options.submit, options.output)
    parts = []
    for contestant, want in zip(compared, wanted, strict=True):
        folders = list(want.folders.items())
        size = options.seeds_per_job
        parts += [Part(contestant, dict(folders[i : i + size])) for i in range(0, len(folders), size)]
    begun = [part for part in parts if not part.missing()]
    for part in parts:
        if part.missing():
            jobs.submit(part, options.retry_failed)
    console.say(f"jobs: {len(parts)}, finished {len(begun)}; logs in {jobs.executor.folder}")

    def on_finished(part: Part, seed: int) -> None:
        console.run_line(
            part.contestant.config.name, seed, run_folder.read(part.folders[seed]).summary, reused=part in begun
        )
        advance(advance=1, description=f"{len(parts)} jobs")

    try:
        failed = jobs.wait(parts, on_finished)
    except KeyboardInterrupt:
        console.say("the jobs go on; the same command waits for them")
        raise
    for part in failed:
        console.say(f"{part.contestant.config.name}, seeds {part.missing()}: {jobs.explain(part)}")
    if failed:
        raise OSError(f"{len(failed)} of {len(parts)} jobs ended without results; --retry-failed submits them again")


def _compare_finished(options: Compare, overrides: list[str], typed: str) -> int:
    """Compare runs that are there, grouped by config; the exit status."""
    defaults = Compare(options.configs, output=options.output)
    if options != defaults or overrides:
        raise InputError("compare: expected no option but --output beside folders of finished runs, as none is trained")

    from experiments import run_folder
    from experiments.comparison.finished import group_runs
    from mnistsum.data import load

    runs, notes = group_runs([run_folder.read(Path(name)) for name in options.configs])
    data = load(next(iter(runs.values()))[0].config.data)
    _report(options.output, runs, data, typed, {}, notes)
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

    from experiments import environment
    from experiments.comparison import summary
    from experiments.report import console

    made = {"tuned": tuned, "notes": notes, "environment": environment.describe(command), "command": command}
    found = summary.summarize(runs, np.asarray(data.test.labels)) | made
    summary.show(found)
    kinds = "".join(to_json(dataclasses.replace(of[0].config, seed=0, devices="all")) for of in runs.values())
    names = "-".join(runs)[:LONGEST]
    folder = output / f"{names}-{hashlib.sha256(kinds.encode()).hexdigest()[:6]}"
    summary.write(found, folder)
    console.say(f"all of it in {folder / 'comparison.html'}")


if __name__ == "__main__":
    cli.main(command)
