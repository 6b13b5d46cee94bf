"""What a run is made of: its config, recipe, data, and the record of what decides it; made once and handed down."""

import dataclasses
import hashlib
import json
import os
import platform
import re
import subprocess
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mnistsum import own, testing
from mnistsum.config import Config, Role, as_dict, fields_with
from mnistsum.data import digest, load, pair
from mnistsum.devices import resolve_dtype
from mnistsum.errors import InputError
from mnistsum.models import Model, abstract_model
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.names import find
from mnistsum.objective import OBJECTIVES
from mnistsum.optimizer import optimizer
from mnistsum.predict import load_pretrained
from mnistsum.storage import first_difference, name_arrays
from mnistsum.train import Recipe, init_state, make_recipe, split_keys, train_step
from mnistsum.types import Data, Logits, TrainState

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
SECTIONS = ("data", "code", "versions", "settings")  # of a record, each a dict
NOT_DECISIVE = fields_with(Role.REPETITION)  # runs that differ only in these are of one group
MEANING = fields_with(Role.INPUT, Role.STRUCTURE)  # must be those of `--init`'s weights, even if all shapes agree
SIZES = fields_with(Role.SIZE)  # and those, if they do not


class Job(NamedTuple):
    """What runs of a config with different seeds have in common."""

    config: Config  # its seed is ignored
    recipe: Recipe
    data: Data
    record: dict[str, dict[str, str]]  # of what decides a run besides its config
    command: str
    initial: Model | None = None  # the weights that a run begins from; None: its seed draws them


def prepare(config: Config, command: str, data: Data | None = None, init: str | None = None) -> Job:
    """Return the job of a config.

    Args:
        config: the config to train.
        command: the command line, for `run.json`.
        data: the data set, if it is loaded already.
        init: where the initial weights come from: a run's folder, a file of weights, or the name of a shipped network.

    Raises:
        InputError: if the config cannot be trained.
    """
    config = dataclasses.replace(config, model=resolve_dtype(config.model), optimizer=resolve_dtype(config.optimizer))
    data = load(config.data) if data is None else data
    recipe = make_recipe(config, len(data.train.labels))
    initial = None if init is None else _load_initial(config, init)
    _check_names(recipe)
    if own.executed_code():
        trace_step(recipe)
    return Job(config, recipe, data, make_record(data, initial), command, initial)


def _check_names(recipe: Recipe) -> None:
    """Look up the names of a config; raise InputError if one does not exist, or the network cannot be trained."""
    abstract_model(recipe.model)
    optimizer(recipe.optimizer, recipe.steps)
    find(OBJECTIVES, "objective.name", recipe.objective.name)


def trace_step(recipe: Recipe) -> None:
    """Trace a step and an answer, without computing them, before the record is made and anything is written.

    A name that does not exist or a fault of a network, objective or optimizer ends the program here, and the modules
    that these import only when they are called get into the record.
    """

    def step() -> tuple[TrainState, Logits]:
        keys = split_keys(0)
        labels = jnp.zeros(recipe.batch_size, jnp.int32)
        batch = pair(jnp.zeros((recipe.batch_size, 28, 28, 1)), labels, labels)
        state = train_step(recipe, keys.dropout, init_state(recipe, keys), batch)
        return state, state.model(batch.image, batch.number)

    jax.eval_shape(step)


def make_record(data: Data, initial: Model | None = None) -> dict[str, dict[str, str]]:
    """Return the record of what decides a run, besides its config, in this process."""
    settings = {
        "device": device(),
        "hardware": hardware(),
        "prng": str(jax.config.values["jax_default_prng_impl"]),
        "enable_x64": str(jax.config.values["jax_enable_x64"]),
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
        "xla_flags": _xla_flags(),
    }
    return {
        "data": {name: digest(split) for name, split in zip(data._fields, data, strict=True)},
        "code": {**own.project_code("mnistsum", "experiments/training"), **own.executed_code()},
        "versions": {name: version(name) for name in PACKAGES},
        "settings": settings | ({} if initial is None else {"init": digest(jax.tree.leaves(initial))}),
    }


def identify(job: Job) -> str:
    """Return a short hash of everything that decides a run except its seed."""
    fields = {name: value for name, value in as_dict(job.config).items() if name not in NOT_DECISIVE}
    return _hash([fields, job.record])


def identify_record(run: dict[str, Any]) -> str:
    """Return a short hash of all that decides a run except its config, from a record or a `run.json`."""
    return _hash([run[section] for section in SECTIONS])


def differences(then: dict[str, Any], now: dict[str, dict[str, str]]) -> list[str]:
    """Describe how two records differ; `then` may also be a `run.json`, which holds one."""
    lines = own.changes(then["code"], now["code"])
    lines += [f"the {name} images have changed" for name in now["data"] if then["data"].get(name) != now["data"][name]]
    for section in ("versions", "settings"):
        before, after = then[section], now[section]
        names = sorted(before.keys() | after.keys())
        lines += [
            f"{name} was {before.get(name)}, is {after.get(name)}"
            for name in names
            if before.get(name) != after.get(name)
        ]
    return lines


def unequal_fields(one: Config, other: Config) -> list[str]:
    """Return the fields in which two configs differ, except NOT_DECISIVE."""
    left, right = as_dict(one), as_dict(other)
    return [name for name in left if left[name] != right[name] and name not in NOT_DECISIVE]


def describe_run(job: Job, mode: str) -> dict[str, Any]:
    """Return the content of `run.json`: how the run was made, and the record of what decides it."""
    return {
        **job.record,
        "command": job.command,
        "commit": commit(),
        "python": platform.python_version(),
        "cores": cores(),
        "mode": mode,
        "parameters": count_parameters(job.config.model),
        "multiply_adds": count_multiply_adds(job.config.model),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def machine(run: dict[str, Any]) -> str:
    """Describe, for a table, the machine of a run, such as "2 cores of AMD EPYC"."""
    return cores_of(run["settings"]["hardware"], run["cores"])


def cores_of(hardware: str, count: int) -> str:
    """Say how many cores of a processor, or beside a device, there are."""
    return f"{count} core{'' if count == 1 else 's'} of {hardware}"


def check_own(config: Config) -> list[str]:
    """Run the quick checks of `mnistsum.testing` on a config that uses names from users' files.

    Returns:
        The names of the checks, and a line for each thing to know; empty if all names are this project's, whose
        networks pass them in the tests.

    Raises:
        InputError: if a check fails. Any exception in the user's code is raised as it is.
    """
    optimizer = (config.optimizer.name, config.optimizer.schedule)
    used = {config.model.classifier, config.model.adder, config.objective.name, *optimizer}
    if used.isdisjoint(own.own_names()):
        return []
    try:
        for check in testing.QUICK:
            check(config.model)
        testing.check_objective(config)
    except AssertionError as error:
        if traceback.extract_tb(error.__traceback__)[-1].filename != testing.__file__:
            raise  # an assertion of the user's
        raise InputError(f"{config.name}: {error} (mnistsum.testing.check shows where)") from None
    names = ", ".join(check.__name__.removeprefix("check_") for check in (*testing.QUICK, testing.check_objective))
    lines = [f"{config.name}: checked {names}"]
    lines += [f"warning: {config.name}: no gradient reaches {name}" for name in testing.unreached(config)]
    count_multiply_adds(config.model)  # which warns of a while_loop, also where finished runs are only shown
    if version("jaxlib") == "0.10.2" and device() == "cpu":
        lines.append(
            "warning: jaxlib 0.10.2 miscompiles some reductions of large matrix products for CPUs (jax-ml/jax#39103): "
            "none in the networks of mnistsum, perhaps one in yours; Python 3.12 or newer gets a later release"
        )
    return lines


def device() -> str:
    """Return the kind of device in use, such as `cpu` or `NVIDIA H100`."""
    return jax.devices()[0].device_kind


def hardware() -> str:
    """Return the model name of the accelerator in use, or else of the CPU."""
    if jax.default_backend() != "cpu":
        return device()
    information = Path("/proc/cpuinfo")  # Linux only
    models = re.findall(r"model name\s*: (.*)", information.read_text()) if information.exists() else []
    return models[0] if models else platform.processor() or platform.machine()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_since_start() -> float:
    """Return the seconds since this process began; Linux only, elsewhere those of its own computing."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return time.process_time()
    ticks = float(stat.read_text().rpartition(")")[2].split()[19])  # since the machine was started
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _load_initial(config: Config, init: str) -> Model:
    """Return the model that a run starts from; InputError if its architecture or its input is another."""
    try:
        network = load_pretrained(init)
    except InputError as error:
        raise InputError(f"--init {error}") from None
    like = abstract_model(config.model)
    arrays_differ = first_difference(name_arrays(like), name_arrays(network.model))
    theirs, ours = as_dict(network.config), as_dict(config)
    for name in (*MEANING, *(SIZES if arrays_differ else ())):
        if theirs[name] != ours[name]:
            found = ",".join(map(str, theirs[name])) if isinstance(theirs[name], tuple) else theirs[name]
            raise InputError(f"--init {init}: expected {name} to be {ours[name]}, found {found}; add {name}={found}")
    if arrays_differ:
        raise InputError(f"--init {init}: of another architecture: {arrays_differ}")
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(network.model))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _xla_flags() -> str:
    """Return the XLA flags that are set, without the number of virtual devices, as no record holds `devices`."""
    flags = set(os.environ.get("XLA_FLAGS", "").split())
    return " ".join(sorted(flag for flag in flags if "force_host_platform_device_count" not in flag))


def commit() -> str:
    """Return this checkout's commit, with "-dirty" if tracked files differ from it; unknown outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    try:
        run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return run.stdout.strip() if run.returncode == 0 else "unknown"
