"""Groups finished runs by config, and says how configs differ."""

import dataclasses
from datetime import datetime
from itertools import chain
from typing import Any

from experiments import cli
from experiments.training.folder import Finished
from experiments.training.record import differences, identify_record, unequal_fields
from mnistsum.config import Config, Role, as_dict, fields_with
from mnistsum.errors import InputError

DATA_SET = ("data.name", "data.dir")
ARCHITECTURE = fields_with(Role.STRUCTURE, Role.SIZE)


def group_runs(runs: list[Finished]) -> tuple[dict[str, list[Finished]], list[str]]:
    """Return the runs of each config by name, and notes for the reader.

    Only seeds that all configs share are compared, because equal seeds see the same
    images in the same order.

    Raises:
        InputError: if a run is untested, if data differ, or if fewer than two configs
            or seeds remain.
    """
    for run in runs:
        if run.about["data"] != runs[0].about["data"]:
            raise InputError(
                f"{run.folder}: not trained and tested on the data of {runs[0].folder}"
            )
    groups, notes = group_by_key(runs)
    common = sorted(set.intersection(*map(set, groups.values())))
    if len(groups) < 2 or len(common) < 2:
        found = "; ".join(
            f"{name} of seeds {', '.join(map(str, sorted(seeds)))}"
            for name, seeds in groups.items()
        )
        raise InputError(
            "compare: expected two configs or more with two seeds or more in common, "
            f"found {found}"
        )
    grouped = {}
    for name, by_seed in groups.items():
        grouped[name] = [by_seed[seed] for seed in common]
        if others := sorted(by_seed.keys() - common):
            notes.append(
                f"{name}: left out seeds that not every config has: "
                f"{', '.join(map(str, others))}"
            )
    shown = [run.about for run in chain.from_iterable(grouped.values())]
    changed: dict[str, None] = {}
    for run in shown:
        changed |= dict.fromkeys(differences(shown[0], run))
    if changed:
        notes.append(
            f"the runs differ in code, versions or settings: {'; '.join(changed)}"
        )
    return grouped, notes


def group_by_key(
    runs: list[Finished],
) -> tuple[dict[str, dict[int, Finished]], list[str]]:
    """Return the runs by displayed name and seed, and notes on those left out.

    Of runs with the same config, record and seed, the newest stays.

    Raises:
        InputError: if a run is untested.
    """
    groups: dict[tuple, dict[int, Finished]] = {}
    notes = []
    for run in sorted(runs, key=_started, reverse=True):
        if "test" not in run.summary:
            raise InputError(
                f"{run.folder}: an untested run, such as that of a search; expected "
                "runs of `run` or `compare`"
            )
        kept = groups.setdefault(_key(run), {}).setdefault(run.config.seed, run)
        if kept is not run:
            notes.append(
                f"{run.folder}: left out, as {kept.folder} is a newer run of the same "
                "config and seed"
            )
    in_order = {key: groups[key] for key in map(_key, runs)}
    fields = [as_dict(config) | {"record": record} for config, record in in_order]
    return {
        _name(each, fields): by_seed
        for each, by_seed in zip(fields, in_order.values(), strict=True)
    }, notes


def _key(run: Finished) -> tuple[Config, str]:
    """Return what runs of a row share: their config, and what else decides them."""
    config = dataclasses.replace(run.config, seed=0)
    return config, f"{identify_record(run.about)[:6]} on {run.about['cores']} cores"


def _started(run: Finished) -> datetime:
    return datetime.fromisoformat(run.about["started"])


def differing_fields(configs: dict[str, Config]) -> list[str]:
    """Describe how configs differ from the first in more than architecture."""
    (first, base), *others = configs.items()
    notes = []
    for name, config in others:
        ours, theirs = as_dict(config), as_dict(base)
        keys = [
            key
            for key in unequal_fields(base, config)
            if key not in ("name", *ARCHITECTURE)
        ]
        if keys:
            changed = ", ".join(
                f"{key}={cli.as_typed(ours[key])} ({cli.as_typed(theirs[key])})"
                for key in keys
            )
            notes.append(
                f"{name} differs from {first} (in brackets) in more than architecture: "
                f"{changed}"
            )
    return notes


def _name(fields: dict[str, Any], groups: list[dict[str, Any]]) -> str:
    """Return a group's name: the config's, and what sets it apart from others."""
    alike = [other for other in groups if other["name"] == fields["name"]]
    apart = []
    for key, value in fields.items():
        others = groups if key in DATA_SET else alike
        if any(other[key] != value for other in others):
            apart.append(key)
    return "+".join(
        [fields["name"], *(f"{cli.short_name(key)}={fields[key]}" for key in apart)]
    )
