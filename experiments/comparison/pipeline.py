"""A comparison from its command line to its page: trains missing runs, summarizes all, writes the results."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import cli, environment, run_folder
from experiments.comparison import contestants, dry_run, page, summary, tables, tuning
from experiments.comparison.contestants import Contestant
from experiments.comparison.grouping import differing_fields, group_runs
from experiments.comparison.options import Compare
from experiments.report import console
from experiments.run_folder import Finished
from experiments.training import resources, reuse
from experiments.training.plan import COMPARED
from experiments.training.record import digest
from experiments.training.reuse import Wanted
from mnistsum import registry
from mnistsum.app.compiler import set_up_compiler
from mnistsum.config import Config, to_json
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.types import Data

MAX_NAME = 80  # maximum characters of the configs' names in a folder's name


def compare(options: Compare, configs: list[Config], command: str) -> None:
    """Train the missing runs of a comparison, and report it.

    Args:
        options: the options of the command line.
        configs: the configs to compare, in the order of `options.configs`.
        command: the command line, which the results name.
    """
    if options.submit == "local":
        jax.config.update("jax_platforms", "cpu")
        os.environ["JAX_PLATFORMS"] = "cpu"  # of the jobs
    set_up_compiler()
    compared = [
        Contestant(config, cli.own_file(name), options.tune, options.output, command)
        for name, config in zip(options.configs, configs, strict=True)
    ]
    data = load(configs[0].data)
    wanted = [contestants.want(contestant, data, range(options.seeds)) for contestant in compared]
    for want in wanted:
        reuse.check(want, COMPARED)
    resources.check([want.config for want in wanted], len(data.train.labels))
    contestants.check_contract([want.config for want in wanted if reuse.missing(want)])
    if options.dry_run:
        dry_run.show(wanted, tuning.MIN_TRIALS if options.tune else 0, data)
        return
    resources.check_folder(
        options.output, max(resources.storage(want.config, len(data.test.labels)) for want in wanted)
    )
    with console.runs_progress() as bar:
        task = bar.add_task("", total=len(wanted) * options.seeds)
        advance = partial(bar.update, task)
        if options.submit is None:
            try:
                for contestant, want in zip(compared, wanted, strict=True):
                    contestants.train(contestant, want, data, advance)
            except KeyboardInterrupt:
                console.say("stopped; the same command goes on with the runs that are not finished")
                raise
        else:
            _submit(options, compared, wanted, advance)
    tuned: dict[str, dict[str, Any]] = {}
    runs = {}
    for contestant, want in zip(compared, wanted, strict=True):
        if options.tune:
            config, tuned[want.config.name] = tuning.tune(
                want, data, contestant.output, contestant.command, lambda **_: None
            )
            want = want._replace(config=config)
        runs[want.config.name] = [reuse.read(want, seed) for seed in want.folders]
    notes = differing_fields({config.name: config for config in configs})  # before tuning
    _report(options.output, runs, data, command, tuned, notes)


def compare_finished(options: Compare, command: str) -> None:
    """Report finished runs, grouped by config; .py files among the arguments only define networks."""
    own = [name for name in options.configs if cli.own_file(name)]
    for file in own:
        registry.load_file(file)
    runs, notes = group_runs([run_folder.read(Path(name)) for name in options.configs if name not in own])
    first = next(iter(runs.values()))[0]
    data = load(first.config.data)
    if digest(data.test) != first.run["data"]["test"]:
        raise InputError(f"{first.folder}: tested on other images than {first.config.data.name} now holds")
    notes += differing_fields({name: of[0].config for name, of in runs.items()})
    _report(options.output, runs, data, command, {}, notes)


def _submit(options: Compare, compared: list[Contestant], wanted: list[Wanted], advance: Callable[..., None]) -> None:
    """Submit jobs for the missing runs and wait for them; raise OSError if some end without results."""
    from experiments.comparison.jobs import Jobs, Part  # needs the extra `slurm`

    assert options.submit is not None
    jobs = Jobs(options.submit, options.output)
    parts = []
    size = options.seeds if options.tune else options.seeds_per_job  # one job tunes a config
    for contestant, want in zip(compared, wanted, strict=True):
        folders = list(want.folders.items())
        given = [] if contestant.own is None else [contestant.own.absolute()]
        files = tuple({*given, *want.config.own_files()})
        parts += [
            Part(contestant, dict(folders[i : i + size]), want.record, files) for i in range(0, len(folders), size)
        ]
    existed = {folder for want in wanted for folder in want.folders.values() if folder.exists()}
    finished = sum(not part.missing() for part in parts)

    def on_finished(part: Part, seed: int) -> None:
        folder = part.folders[seed]
        console.run_line(part.contestant.config.name, seed, run_folder.read(folder).summary, folder in existed)
        advance(advance=1, description=f"{len(parts)} jobs")

    try:
        for part in parts:
            if part.missing():
                jobs.submit(part, options.retry_failed)
        console.say(f"jobs: {len(parts)}, finished {finished}; logs in {jobs.executor.folder}")
        failed = jobs.wait(parts, on_finished)
    except KeyboardInterrupt:
        console.say("submitted jobs go on; the same command submits the rest and waits")
        raise
    for part in failed:
        console.say(f"{part.contestant.config.name}, seeds {part.missing()}: {jobs.explain(part)}")
    if failed:
        raise OSError(f"{len(failed)} of {len(parts)} jobs ended without results; --retry-failed submits them again")


def _report(
    output: Path,
    runs: dict[str, list[Finished]],
    data: Data,
    command: str,
    tuned: dict[str, Any],
    notes: list[str],
) -> None:
    """Print a report of the runs and write it to a folder named after the configs, replacing an older report."""
    trained = environment.trained_with([run.run for of in runs.values() for run in of])
    made = {"tuned": tuned, "notes": notes, "trained": trained, "command": command}
    found = summary.summarize(runs, np.asarray(data.test.labels)) | made
    tables.show(found)
    kinds = "".join(to_json(dataclasses.replace(of[0].config, seed=0, devices="all")) for of in runs.values())
    names = re.sub(r"[^\w.+=-]", "_", "-".join(runs))[:MAX_NAME].lstrip(".")
    folder = output / f"{names}-{hashlib.sha256(kinds.encode()).hexdigest()[:6]}"
    page.write(found, folder)
    console.say(f"all of it in {folder / 'comparison.html'}")
