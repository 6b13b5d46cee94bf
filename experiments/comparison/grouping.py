"""Groups finished runs by config, wherever they were trained, and says how configs differ."""

import dataclasses
from typing import Any, NamedTuple

from experiments import cli
from experiments.training.folder import Finished
from experiments.training.record import NOT_DECISIVE, differences, identify_record, unequal_fields
from mnistsum.config import Config, Role, as_dict, fields_with
from mnistsum.errors import InputError

ARCHITECTURE = fields_with(Role.STRUCTURE, Role.SIZE)


class GroupKey(NamedTuple):
    """What the runs of a group have in common."""

    config: Config  # without seed and devices
    record: str  # digest of everything else that affects the result, and the number of cores


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
    common = set.intersection(*map(set, groups.values()))
    if len(groups) < 2 or len(common) < 2:
        found = "; ".join(f"{name} of seeds {_listed(seeds)}" for name, seeds in groups.items())
        raise InputError(f"compare: expected two configs or more with two seeds or more in common, found {found}")
    grouped = {name: [by_seed[seed] for seed in sorted(common)] for name, by_seed in groups.items()}
    notes = [
        f"{name}: left out seeds that not every config has: {_listed(by_seed.keys() - common)}"
        for name, by_seed in groups.items()
        if by_seed.keys() - common
    ]
    shown = [run.run for by_seed in grouped.values() for run in by_seed]
    if changed := dict.fromkeys(line for run in shown for line in differences(shown[0], run)):
        notes.append(f"the runs differ in code, versions or settings: {'; '.join(changed)}")
    return grouped, notes


def group_by_key(runs: list[Finished]) -> dict[str, dict[int, Finished]]:
    """Return the runs of each config and record, by displayed name and seed.

    Raises:
        InputError: if a run is untested, or two runs of a group have the same seed.
    """
    groups: dict[GroupKey, dict[int, Finished]] = {}
    for run in runs:
        if "test" not in run.summary:
            raise InputError(
                f"{run.folder}: an untested run, such as that of a search; expected runs of `run` or `compare`"
            )
        config = dataclasses.replace(run.config, seed=0, devices="all")
        key = GroupKey(config, f"{identify_record(run.run)[:6]} on {run.run['cores']} cores")
        other = groups.setdefault(key, {}).setdefault(run.config.seed, run)
        if other is not run:
            raise InputError(f"{run.folder}: the same config and seed as {other.folder}; give one of them")
    return dict(zip(_names(list(groups)), groups.values(), strict=True))


def differing_fields(configs: dict[str, Config]) -> list[str]:
    """Describe how configs, given by displayed name, differ from the first in more than architecture."""
    (first, base), *others = configs.items()
    notes = []
    for name, config in others:
        ours, theirs = as_dict(config), as_dict(base)
        keys = [key for key in unequal_fields(base, config) if key not in ("name", *ARCHITECTURE)]
        if keys:
            changed = ", ".join(f"{key}={ours[key]} ({theirs[key]})" for key in keys)
            notes.append(f"{name} differs from {first} (in brackets) in more than architecture: {changed}")
    return notes


def _names(keys: list[GroupKey]) -> list[str]:
    """Return a name for each group: the config's, plus the fields that distinguish it from groups of that name."""
    group_names = []
    for key in keys:
        alike = [_fields(other) for other in keys if other.config.name == key.config.name]
        apart = [
            f"{cli.short_name(name)}={value}"
            for name, value in _fields(key).items()
            if name not in NOT_DECISIVE and any(other[name] != value for other in alike)
        ]
        group_names.append("+".join([key.config.name, *apart]))
    return group_names


def _fields(key: GroupKey) -> dict[str, Any]:
    return as_dict(key.config) | {"record": key.record}


def _listed(seeds: Any) -> str:
    return ", ".join(map(str, sorted(seeds)))
