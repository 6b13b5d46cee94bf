"""The runs to compare: finished runs grouped by config, wherever they were trained; how configs differ."""

import dataclasses
import json
from typing import Any, NamedTuple

from experiments import cli
from experiments.run_folder import Finished
from experiments.training import initial_weights
from experiments.training.record import IGNORED_FIELDS, PARTS, unequal_fields
from mnistsum.config import Config, as_dict
from mnistsum.errors import InputError

# Fields of a config that differ between architectures, and the name.
ARCHITECTURE = ("name", *(f"model.{field}" for field in initial_weights.ARCHITECTURE))


class Kind(NamedTuple):
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
    kinds = by_kind(runs)
    common = set.intersection(*(set(seeds) for seeds in kinds.values()))
    if len(kinds) < 2 or len(common) < 2:
        seeds = {kind: ", ".join(map(str, sorted(of))) for kind, of in kinds.items()}
        found = "; ".join(f"{kind.config.name} of seeds {some}" for kind, some in seeds.items())
        raise InputError(
            f"compare: expected runs of two configs or more with two seeds or more in common, found {found}"
        )
    named = dict(zip(names(list(kinds)), kinds.values(), strict=True))
    grouped = {name: [of[seed] for seed in sorted(common)] for name, of in named.items()}
    notes = [
        f"{name}: left out, as not every config has them: seeds {', '.join(map(str, sorted(of.keys() - common)))}"
        for name, of in named.items()
        if of.keys() - common
    ]
    for part in PARTS[1:]:
        parts = [run.run.get(part, {}) for of in grouped.values() for run in of]
        if part == "settings":  # without `init` if the seed drew the weights
            parts = [{"init": "seed"} | one for one in parts]
        if changed := _differing(parts):
            notes.append(f"the runs differ in their {part}: {', '.join(changed)}; see the run.json of each")
    return grouped, notes


def by_kind(runs: list[Finished]) -> dict[Kind, dict[int, Finished]]:
    """Return the runs of each kind by seed; raise InputError if a kind has a seed twice or runs on different images."""
    kinds: dict[Kind, dict[int, Finished]] = {}
    for run in runs:
        config = dataclasses.replace(run.config, seed=0, devices="all")
        seeds = kinds.setdefault(Kind(config, run.run.get("settings", {}).get("init", "")), {})
        if run.config.seed in seeds:
            raise InputError(
                f"{run.folder}: the same config and seed as {seeds[run.config.seed].folder}; give one of them"
            )
        seeds[run.config.seed] = run
        of_images = {json.dumps(one.run["data"]): one.folder for one in seeds.values() if "data" in one.run}
        if len(of_images) > 1:
            raise InputError(f"{' and '.join(map(str, of_images.values()))}: of one config, but of different images")
    return kinds


def _differing(parts: list[dict[str, str]]) -> list[str]:
    """Return the names whose values differ between the records that have them, except Python: it decides nothing."""
    names = sorted({name for part in parts for name in part} - {"python"})
    return [name for name in names if len({part[name] for part in parts if name in part}) > 1]


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


def names(kinds: list[Kind]) -> list[str]:
    """Return a name for each kind: its config's, plus the fields that set it apart from others of that name."""
    found = []
    for kind in kinds:
        alike = [_fields(other) for other in kinds if other.config.name == kind.config.name]
        fields = _fields(kind)
        apart = [
            f"{cli.short_name(name)}={value}"
            for name, value in fields.items()
            if name not in IGNORED_FIELDS and any(other[name] != value for other in alike)
        ]
        found.append("+".join([kind.config.name, *apart]))
    return found


def _fields(kind: Kind) -> dict[str, Any]:
    return as_dict(kind.config) | {"init": kind.init[:12] or "seed"}
