"""Groups finished runs by config, wherever they were trained, and says how configs differ."""

import dataclasses
from typing import Any

from experiments import cli
from experiments.training.folder import Finished
from experiments.training.record import differences, identify_record, unequal_fields
from mnistsum.config import Config, Role, as_dict, fields_with
from mnistsum.errors import InputError

ARCHITECTURE = fields_with(Role.STRUCTURE, Role.SIZE)


def group_runs(runs: list[Finished]) -> tuple[dict[str, list[Finished]], list[str]]:
    """Return the runs of each config by name, ordered by seed, and notes for the reader.

    Only seeds that all configs share are compared, because equal seeds see the same images in the same order.

    Raises:
        InputError: if a run is untested, if data differ, if a config has a seed twice, or if fewer than two configs or
            seeds remain.
    """
    for run in runs:
        if run.run["data"] != runs[0].run["data"]:
            raise InputError(f"{run.folder}: not trained and tested on the data of {runs[0].folder}")
    groups = group_by_key(runs)
    common = sorted(set.intersection(*map(set, groups.values())))
    if len(groups) < 2 or len(common) < 2:
        found = "; ".join(f"{name} of seeds {', '.join(map(str, sorted(seeds)))}" for name, seeds in groups.items())
        raise InputError(f"compare: expected two configs or more with two seeds or more in common, found {found}")
    grouped = {name: [by_seed[seed] for seed in common] for name, by_seed in groups.items()}
    notes = []
    for name, by_seed in groups.items():
        if others := sorted(by_seed.keys() - common):
            notes.append(f"{name}: left out seeds that not every config has: {', '.join(map(str, others))}")
    shown = [run.run for group in grouped.values() for run in group]
    if changed := dict.fromkeys(line for run in shown for line in differences(shown[0], run)):
        notes.append(f"the runs differ in code, versions or settings: {'; '.join(changed)}")
    return grouped, notes


def group_by_key(runs: list[Finished]) -> dict[str, dict[int, Finished]]:
    """Return the runs of each config and record, by displayed name and seed.

    Raises:
        InputError: if a run is untested, or two runs of a group have the same seed.
    """
    groups: dict[tuple, dict[int, Finished]] = {}
    for run in runs:
        if "test" not in run.summary:
            raise InputError(
                f"{run.folder}: an untested run, such as that of a search; expected runs of `run` or `compare`"
            )
        config = dataclasses.replace(run.config, seed=0, devices="all")
        record = f"{identify_record(run.run)[:6]} on {run.run['cores']} cores"
        other = groups.setdefault((config, record), {}).setdefault(run.config.seed, run)
        if other is not run:
            raise InputError(f"{run.folder}: the same config and seed as {other.folder}; give one of them")
    fields = [as_dict(config) | {"record": record} for config, record in groups]
    return {_name(each, fields): by_seed for each, by_seed in zip(fields, groups.values(), strict=True)}


def differing_fields(configs: dict[str, Config]) -> list[str]:
    """Describe how configs, given by displayed name, differ from the first in more than architecture."""
    (first, base), *others = configs.items()
    notes = []
    for name, config in others:
        ours, theirs = as_dict(config), as_dict(base)
        keys = [key for key in unequal_fields(base, config) if key not in ("name", *ARCHITECTURE)]
        if keys:
            changed = ", ".join(f"{key}={cli.as_typed(ours[key])} ({cli.as_typed(theirs[key])})" for key in keys)
            notes.append(f"{name} differs from {first} (in brackets) in more than architecture: {changed}")
    return notes


def _name(fields: dict[str, Any], groups: list[dict[str, Any]]) -> str:
    """Return a group's name: the config's, plus the fields that distinguish it from other groups of that name."""
    alike = [other for other in groups if other["name"] == fields["name"]]
    apart = [key for key, value in fields.items() if any(other[key] != value for other in alike)]
    return "+".join([fields["name"], *(f"{cli.short_name(key)}={fields[key]}" for key in apart)])
