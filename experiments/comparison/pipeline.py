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
from experiments.training.reuse import RunSet
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
    run_sets = [contestants.locate_runs(contestant, data, range(options.seeds)) for contestant in compared]
    for run_set in run_sets:
        reuse.check(run_set, COMPARED)
    resources.check([run_set.config for run_set in run_sets], len(data.train.labels))
    contestants.check_contract([run_set.config for run_set in run_sets if reuse.missing(run_set)])
    if options.dry_run:
        dry_run.show(run_sets, tuning.MIN_TRIALS if options.tune else 0, data)
        return
    resources.check_folder(
        options.output, max(resources.storage(run_set.config, len(data.test.labels)) for run_set in run_sets)
    )
    with console.runs_progress() as bar:
        task = bar.add_task("", total=len(run_sets) * options.seeds)
        update_progress = partial(bar.update, task)
        if options.submit is None:
            try:
                for contestant, run_set in zip(compared, run_sets, strict=True):
                    contestants.train(contestant, run_set, data, update_progress)
            except KeyboardInterrupt:
                console.say("stopped; the same command goes on with the runs that are not finished")
                raise
        else:
            _submit(options, compared, run_sets, update_progress)
    tuned: dict[str, dict[str, Any]] = {}
    runs = {}
    for contestant, run_set in zip(compared, run_sets, strict=True):
        if options.tune:
            config, tuned[run_set.config.name] = tuning.tune(
                run_set, data, contestant.output, contestant.command, lambda **_: None
            )
            run_set = run_set._replace(config=config)
        runs[run_set.config.name] = [reuse.read(run_set, seed) for seed in run_set.folders]
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
    notes += differing_fields({name: config_runs[0].config for name, config_runs in runs.items()})
    _report(options.output, runs, data, command, {}, notes)


def _submit(
    options: Compare, compared: list[Contestant], run_sets: list[RunSet], update_progress: Callable[..., None]
) -> None:
    """Submit jobs for the missing runs and wait for them; raise OSError if some end without results."""
    from experiments.comparison.jobs import Jobs, JobSpec  # needs the extra `slurm`

    assert options.submit is not None
    jobs = Jobs(options.submit, options.output)
    specs = []
    size = options.seeds if options.tune else options.seeds_per_job  # one job tunes a config
    for contestant, run_set in zip(compared, run_sets, strict=True):
        folders = list(run_set.folders.items())
        given = [] if contestant.own is None else [contestant.own.absolute()]
        files = tuple({*given, *run_set.config.own_files()})
        specs += [
            JobSpec(contestant, dict(folders[i : i + size]), run_set.record, files)
            for i in range(0, len(folders), size)
        ]
    existed = {folder for run_set in run_sets for folder in run_set.folders.values() if folder.exists()}
    finished = sum(not spec.missing() for spec in specs)

    def on_finished(spec: JobSpec, seed: int) -> None:
        folder = spec.folders[seed]
        console.run_line(spec.contestant.config.name, seed, run_folder.read(folder).summary, folder in existed)
        update_progress(advance=1, description=f"{len(specs)} jobs")

    try:
        for spec in specs:
            if spec.missing():
                jobs.submit(spec, options.retry_failed)
        console.say(f"jobs: {len(specs)}, finished {finished}; logs in {jobs.executor.folder}")
        failed = jobs.wait(specs, on_finished)
    except KeyboardInterrupt:
        console.say("submitted jobs go on; the same command submits the rest and waits")
        raise
    for spec in failed:
        console.say(f"{spec.contestant.config.name}, seeds {spec.missing()}: {jobs.explain(spec)}")
    if failed:
        raise OSError(f"{len(failed)} of {len(specs)} jobs ended without results; --retry-failed submits them again")


def _report(
    output: Path,
    runs: dict[str, list[Finished]],
    data: Data,
    command: str,
    tuned: dict[str, Any],
    notes: list[str],
) -> None:
    """Print a report of the runs and write it to a folder named after the configs, replacing an older report."""
    trained = environment.trained_with([run.run for config_runs in runs.values() for run in config_runs])
    report_fields = {"tuned": tuned, "notes": notes, "trained": trained, "command": command}
    results = summary.summarize(runs, np.asarray(data.test.labels)) | report_fields
    tables.show(results)
    configs = "".join(
        to_json(dataclasses.replace(config_runs[0].config, seed=0, devices="all")) for config_runs in runs.values()
    )
    names = re.sub(r"[^\w.+=-]", "_", "-".join(runs))[:MAX_NAME].lstrip(".")
    folder = output / f"{names}-{hashlib.sha256(configs.encode()).hexdigest()[:6]}"
    page.write(results, folder)
    console.say(f"all of it in {folder / 'comparison.html'}")
