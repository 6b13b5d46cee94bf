"""The runs to compare: finished runs grouped by config, wherever they were trained; how configs differ."""

import dataclasses
import json
from typing import Any, NamedTuple

from experiments import cli
from experiments.run_folder import Finished
from experiments.training import initial_weights
from experiments.training.record import IGNORED_FIELDS, RECORD_SECTIONS, unequal_fields
from mnistsum.config import Config, as_dict
from mnistsum.errors import InputError

# Fields of a config that differ between architectures, and the name.
ARCHITECTURE = ("name", *(f"model.{field}" for field in initial_weights.ARCHITECTURE))


class GroupKey(NamedTuple):
    """What the runs of a group have in common."""

    config: Config  # without seed and devices
    init: str  # digest of their initial weights; empty if the seeds drew them


def group_runs(runs: list[Finished]) -> tuple[dict[str, list[Finished]], list[str]]:
    """Return the runs of each config, by name, ordered by seed, and notes for the reader.

    Only seeds that all configs share are compared, as runs are paired by seed.

    Raises:
        InputError: if a run is untested, or runs do not fit together: other data, a seed twice, fewer than two configs
            or seeds.
    """
    data = runs[0].run.get("data")
    for run in runs:
        if "test" not in run.summary:
            raise InputError(f"{run.folder}: an untested run, such as one of a search; give runs of `run` or `compare`")
        if data is None or run.run.get("data") != data:
            raise InputError(f"{run.folder}: not trained and tested on the data of {runs[0].folder}")
    groups = group_by_key(runs)
    common = set.intersection(*(set(seeds) for seeds in groups.values()))
    if len(groups) < 2 or len(common) < 2:
        seeds = {key: ", ".join(map(str, sorted(by_seed))) for key, by_seed in groups.items()}
        found = "; ".join(f"{key.config.name} of seeds {some}" for key, some in seeds.items())
        raise InputError(
            f"compare: expected runs of two configs or more with two seeds or more in common, found {found}"
        )
    named = dict(zip(names(list(groups)), groups.values(), strict=True))
    grouped = {name: [by_seed[seed] for seed in sorted(common)] for name, by_seed in named.items()}
    notes = [
        f"{name}: left out, as not every config has them: seeds {', '.join(map(str, sorted(by_seed.keys() - common)))}"
        for name, by_seed in named.items()
        if by_seed.keys() - common
    ]
    for section in RECORD_SECTIONS[1:]:
        sections = [run.run.get(section, {}) for by_seed in grouped.values() for run in by_seed]
        if section == "settings":  # without `init` if the seed drew the weights
            sections = [{"init": "seed"} | one for one in sections]
        if changed := _differing(sections):
            notes.append(f"the runs differ in their {section}: {', '.join(changed)}; see the run.json of each")
    return grouped, notes


def group_by_key(runs: list[Finished]) -> dict[GroupKey, dict[int, Finished]]:
    """Return the runs of each group by seed; raise InputError if one has a seed twice or runs on different images."""
    groups: dict[GroupKey, dict[int, Finished]] = {}
    for run in runs:
        config = dataclasses.replace(run.config, seed=0, devices="all")
        seeds = groups.setdefault(GroupKey(config, run.run.get("settings", {}).get("init", "")), {})
        if run.config.seed in seeds:
            raise InputError(
                f"{run.folder}: the same config and seed as {seeds[run.config.seed].folder}; give one of them"
            )
        seeds[run.config.seed] = run
        of_images = {json.dumps(one.run["data"]): one.folder for one in seeds.values() if "data" in one.run}
        if len(of_images) > 1:
            raise InputError(f"{' and '.join(map(str, of_images.values()))}: of one config, but of different images")
    return groups


def _differing(sections: list[dict[str, str]]) -> list[str]:
    """Return the names whose values differ between the records that have them, except Python: it decides nothing."""
    names = sorted({name for section in sections for name in section} - {"python"})
    return [name for name in names if len({section[name] for section in sections if name in section}) > 1]


def differing_fields(configs: dict[str, Config]) -> list[str]:
    """Describe where configs differ from the first in more than their architecture.

    Args:
        configs: the configs, by displayed name.
    """
    (first, base), *others = configs.items()
    notes = []
    for name, config in others:
        ours, theirs = as_dict(config), as_dict(base)
        keys = [key for key in unequal_fields(base, config) if key not in ARCHITECTURE]
        if keys:
            changed = ", ".join(f"{key}={ours[key]} ({theirs[key]})" for key in keys)
            notes.append(f"{name} differs from {first} (in brackets) in more than architecture: {changed}")
    return notes


def names(keys: list[GroupKey]) -> list[str]:
    """Return a name for each group: its config's, plus the fields that set it apart from others of that name."""
    group_names = []
    for key in keys:
        alike = [_fields(other) for other in keys if other.config.name == key.config.name]
        fields = _fields(key)
        apart = [
            f"{cli.short_name(name)}={value}"
            for name, value in fields.items()
            if name not in IGNORED_FIELDS and any(other[name] != value for other in alike)
        ]
        group_names.append("+".join([key.config.name, *apart]))
    return group_names


def _fields(key: GroupKey) -> dict[str, Any]:
    return as_dict(key.config) | {"init": key.init[:12] or "seed"}
