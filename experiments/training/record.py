"""What a run is made of, and the record of what decides it."""

import dataclasses
import hashlib
import json
import os
import platform
import re
import subprocess
import time
import traceback
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.cli import as_typed, cores
from mnistsum import registry
from mnistsum.config import Config, Role, as_dict, fields_with
from mnistsum.data import digest, load
from mnistsum.devices import resolve_dtype
from mnistsum.errors import InputError
from mnistsum.evaluation import lower_evaluation
from mnistsum.models import Model, abstract_model
from mnistsum.models.summary import (
    count_multiply_adds,
    parameters_by_layer,
    slow_operations,
)
from mnistsum.programs import digest_program, settings, versions
from mnistsum.storage import first_difference, load_run, locate, name_arrays
from mnistsum.train import Spec, lower_training, make_spec, trained_model
from mnistsum.types import Data

# Increment when Python code changes scores or permutations.
RESULTS_FORMAT = "1"
# how the seeds of a config are trained, unless workers or devices share them
ONE_BY_ONE = "seeds one by one"
RECORD_SECTIONS = (
    "program",
    "data",
    "versions",
    "settings",
)  # of a record, each a dict
# the fields on which the images depend that `load` returns
LOADED = attrgetter("name", "dir", "validation")
# runs that differ only in these are of one group
NOT_DECISIVE = fields_with(Role.REPETITION)
# must be those of `--init`'s weights, even if all shapes agree
MEANING = fields_with(Role.INPUT, Role.STRUCTURE)
SIZES = fields_with(Role.SIZE)  # and those, if they do not
# what to write in place of an operation of XLA's own that trains slowly on CPUs
QUICK_LAYERS = {
    "pool": "quick_max_pool or quick_avg_pool of mnistsum.models.flax_layers",
    "convolution": "nnx.Conv without input_dilation, for images "
    "[batch, height, width, channels]",
}


class Experiment(NamedTuple):
    """What runs of a config with different seeds have in common."""

    config: Config  # its seed is ignored
    spec: Spec
    data: Data
    model: Model  # with a shape and a type in place of each array
    layers: dict[str, int]  # parameters of each layer
    multiply_adds: int  # of an answer, with test-time shifts
    programs: dict[str, Any]  # lowered: initialization, training and evaluation
    record: dict[str, dict[str, str]]  # of what decides a run besides its config
    command: str
    initial: Model | None = None  # where a run begins; None: its seed draws the weights

    @property
    def evaluation(self) -> dict[str, str]:
        """What decides a model's answers: what `describe_evaluation` returns."""
        program = self.record["program"]["evaluation"]
        return {"program": program, **versions(), **settings()}


def prepare(
    config: Config,
    command: str,
    data: "Data | Experiment | None" = None,
    init: str | None = None,
) -> Experiment:
    """Return the experiment of a config.

    Its programs are traced here, before anything is written, so a wrong name or a fault
    in a user's network, objective or optimizer ends the command now.

    Args:
        config: the config to train.
        command: the command line, for `run.json`.
        data: the data set, or another experiment that has it; None: load it.
        init: where the initial weights come from: a run's folder, a file of weights, or
            the name of a shipped network.

    Raises:
        InputError: if the config cannot be trained.
    """
    config = dataclasses.replace(
        config,
        model=resolve_dtype(config.model),
        optimizer=resolve_dtype(config.optimizer),
    )
    if isinstance(data, Experiment):
        data, digests = data.data, data.record["data"]
    else:
        data = load(config.data) if data is None else data
        digests = {name: digest(split) for name, split in data._asdict().items()}
    n = len(data.train.labels)
    spec = make_spec(config, n)
    initial = None if init is None else _load_initial(config, init)
    begin, advance = lower_training(spec, n)
    model = trained_model(begin.out_info)
    programs = {
        "initialization": begin,
        "training": advance,
        "evaluation": lower_evaluation(config.data, model),
    }
    record = _describe_decisive(programs, digests)
    if initial is not None:
        record["settings"]["init"] = digest(jax.tree.leaves(initial))
    return Experiment(
        config=config,
        spec=spec,
        data=data,
        model=model,
        layers=parameters_by_layer(model),
        multiply_adds=count_multiply_adds(model, config.data.test_shift),
        programs=programs,
        record=record,
        command=command,
        initial=initial,
    )


def _describe_decisive(
    programs: dict[str, Any], digests: dict[str, str]
) -> dict[str, dict[str, str]]:
    """Return the record of what decides a run besides its config."""
    return {
        "program": {name: digest_program(each) for name, each in programs.items()},
        "data": digests,
        "versions": versions() | {"results": RESULTS_FORMAT},
        "settings": settings() | {"hardware": hardware(), "xla_flags": _xla_flags()},
    }


def prepare_all(configs: Sequence[Config], command: str) -> list[Experiment]:
    """Return the experiment of each config; those of one data set share it."""
    experiments: list[Experiment] = []
    for config in configs:
        experiments.append(prepare(config, command, same_data(config, experiments)))
    return experiments


def same_data(config: Config, experiments: Sequence[Experiment]) -> Experiment | None:
    """Return the first experiment that has the data set of a config, None if none."""
    for experiment in experiments:
        if LOADED(experiment.config.data) == LOADED(config.data):
            return experiment
    return None


def identify(config: Config, record: dict[str, Any]) -> str:
    """Return a short hash of everything that decides a run except its seed."""
    return _hash([decisive_fields(config), record])


def decisive_fields(config: Config) -> dict[str, Any]:
    """Return the fields that may decide a run."""
    fields = as_dict(config).items()
    return {name: value for name, value in fields if name not in NOT_DECISIVE}


def identify_record(run: dict[str, Any]) -> str:
    """Return a short hash of what decides a run except its config."""
    return _hash([run[section] for section in RECORD_SECTIONS])


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe how two records differ; each may also be a `run.json`."""
    before, after = then["program"], now["program"]
    parts = [name for name in after if before[name] != after[name]]
    of_parts = "" if len(parts) == len(after) else f" of {' and '.join(parts)}"
    lines = [f"its program{of_parts} has changed{_edited(then)}"] if parts else []
    lines += [
        f"the {name} images have changed"
        for name in now["data"]
        if then["data"].get(name) != now["data"][name]
    ]
    for section in ("versions", "settings"):
        before, after = then[section], now[section]
        lines += [
            f"{name} was {before.get(name)}, is {after.get(name)}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
    return lines


def unequal_fields(one: Config, other: Config) -> list[str]:
    """Return the fields in which two configs differ, except NOT_DECISIVE."""
    left, right = decisive_fields(one), decisive_fields(other)
    return [name for name in left if left[name] != right[name]]


def describe_run(experiment: Experiment, mode: str = ONE_BY_ONE) -> dict[str, Any]:
    """Return the content of `run.json`, which includes the record."""
    return {
        **experiment.record,
        "files": registry.loaded_files(),  # only to explain a change of the program
        "command": experiment.command,
        "commit": commit(),
        "python": platform.python_version(),
        "cores": cores(),
        "mode": mode,
        "parameters": sum(experiment.layers.values()),
        "multiply_adds": experiment.multiply_adds,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def machine(run: dict[str, Any]) -> str:
    """Describe, for a table, the machine of a run, such as "2 cores of AMD EPYC"."""
    return cores_of(run["settings"]["hardware"], run["cores"])


def cores_of(hardware: str, count: int) -> str:
    """Say how many cores of a processor, or beside a device, there are."""
    return f"{count} core{'' if count == 1 else 's'} of {hardware}"


def check_own(config: Config) -> list[str]:
    """Run quick checks on a config that uses names from users' files.

    Returns:
        The names of the checks, and a line for each thing to know; empty if all names
        are this project's, whose networks pass them in the tests.

    Raises:
        InputError: if a check fails. Any exception in the user's code is raised as it
            is.
    """
    optimizer = (config.optimizer.name, config.optimizer.schedule)
    used = {
        config.model.classifier,
        config.model.adder,
        config.objective.name,
        *optimizer,
    }
    if used.isdisjoint(registry.own_names()):
        return []
    from mnistsum import testing  # needed for users' code alone

    # An output layer of zeros would hide faults.
    config = dataclasses.replace(
        config, model=dataclasses.replace(config.model, zero_output=False)
    )
    try:
        for check in testing.QUICK:
            check(config.model)
        testing.check_objective(config)
    except AssertionError as error:
        if traceback.extract_tb(error.__traceback__)[-1].filename != testing.__file__:
            raise  # an assertion of the user's
        raise InputError(
            f"{config.name}: {error} (mnistsum.testing.check shows where)"
        ) from None
    names = ", ".join(
        check.__name__.removeprefix("check_")
        for check in (*testing.QUICK, testing.check_objective)
    )
    lines = [f"{config.name}: checked {names}"]
    lines += [
        f"warning: {config.name}: no gradient reaches {name}"
        for name in testing.unreached(config)
    ]
    if jax.default_backend() == "cpu":
        for part, operation in slow_operations(abstract_model(config.model)):
            lines.append(
                f"warning: {config.name}: its {part} trains slowly on CPUs, because "
                f"it holds XLA's own {operation}; use {QUICK_LAYERS[operation]}"
            )
    return lines


def hardware() -> str:
    """Return the model name of the accelerator in use, or else of the CPU."""
    if jax.default_backend() != "cpu":
        return settings()["device"]
    information = Path("/proc/cpuinfo")  # Linux only
    if information.exists():
        models = re.findall(r"model name\s*: (.*)", information.read_text())
        if models:
            return models[0]
    return platform.processor() or platform.machine()


def _load_initial(config: Config, init: str) -> Model:
    """Return the model that a run starts from; raise InputError if it cannot."""
    network = load_run(locate(init))
    like = abstract_model(config.model)
    arrays_differ = first_difference(name_arrays(like), name_arrays(network.model))
    theirs, ours = as_dict(network.config), as_dict(config)
    names = [
        name
        for name in (*MEANING, *(SIZES if arrays_differ else ()))
        if theirs[name] != ours[name]
    ]
    if names:
        expected = " ".join(f"{name}={as_typed(ours[name])}" for name in names)
        found = " ".join(f"{name}={as_typed(theirs[name])}" for name in names)
        raise InputError(
            f"--init {init}: expected {expected}, found weights of other fields; add "
            f"{found}"
        )
    if arrays_differ:
        raise InputError(f"--init {init}: of another architecture: {arrays_differ}")
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(network.model))


def edited_files(then: dict[str, Any]) -> list[str]:
    """Return which of the loaded users' files differ from those of a run."""
    before, now = then.get("files", {}), registry.loaded_files()
    return [name for name in before if name in now and now[name] != before[name]]


def _edited(then: dict[str, Any]) -> str:
    """Say which users' files differ from a run's; empty if it had none."""
    before, now = then.get("files", {}), registry.loaded_files()
    if edited := edited_files(then):
        return f" ({', '.join(edited)} was edited)"
    if not before or not before.keys() <= now.keys():
        return ""
    return (
        f" ({', '.join(before)} was not edited: does it read a file, or draw random "
        "numbers?)"
    )


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _xla_flags() -> str:
    """Return the XLA flags that may change bits."""
    flags = set(os.environ.get("XLA_FLAGS", "").split())
    return " ".join(
        sorted(flag for flag in flags if "force_host_platform_device_count" not in flag)
    )


def commit() -> str:
    """Return this checkout's commit, with "-dirty" if tracked files differ.

    It is unknown outside a checkout.
    """
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    try:
        run = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return run.stdout.strip() if run.returncode == 0 else "unknown"
