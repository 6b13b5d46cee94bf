"""One run of a comparison: a config and a seed trained, watched on validation, tested once, and kept for reuse."""

import dataclasses
import functools
import hashlib
import json
import shutil
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mnistsum
from experiments import environment
from mnistsum.config import Config, InputError, to_json
from mnistsum.evaluation import evaluate, score
from mnistsum.models import Model
from mnistsum.objective import held_out_cells
from mnistsum.seeds import compile_advance_seeds, init_seeds, spread, unstack
from mnistsum.statistics import best_permutation
from mnistsum.train import (
    advance_donating,
    compile_advance,
    init_state,
    non_finite,
    program,
    split_keys,
    steps_per_epoch,
    total_steps,
    trained_model,
)
from mnistsum.types import Data, Split, TrainState

WATCHED = 512  # examples between two looks at the digit and sum accuracy, until both have passed LEARNED
LOOKED_AT = 1000  # validation images of such a look
LEARNED = 0.98
GOOD = 0.988  # of both accuracies on all validation images, looked at four times an epoch
CHANCE = 0.9  # a run below it in either test accuracy has failed

_compile = functools.lru_cache(maxsize=1)(compile_advance)  # once for all seeds of a config


def fingerprint(config: Config, code: bytes) -> str:
    """A hash of all that decides a run but its seed: config, this library's source, the user's `code`, versions."""
    source = sorted(Path(mnistsum.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(to_json(dataclasses.replace(config, seed=0, devices="all")).encode() + code)
    for path in source:
        digest.update(path.read_bytes())
    digest.update(jax.__version__.encode())
    return digest.hexdigest()[:12]


def groups(seeds: list[int]) -> list[list[int]]:
    """Seeds that run as one program: on CPUs as many as there are devices, as one keeps its device busy and vmapped
    ones take it longer; on accelerators all that the devices share evenly, and then the rest.
    """
    devices = jax.device_count()
    size = devices if jax.default_backend() == "cpu" else max(len(seeds) // devices, 1) * devices
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


def read(folder: Path) -> dict[str, Any] | None:
    """The result of a finished run in a folder, None where there is none; InputError where it is damaged."""
    if not folder.exists():
        return None
    try:
        result = json.loads((folder / "result.json").read_text())
        with np.load(folder / "predictions.npz") as predictions:
            result["predictions"] = {name: predictions[name] for name in ("digit", "sum")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder}: a damaged run ({error}); delete it, and it is run again") from None
    return result


@dataclasses.dataclass
class Watch:
    """What is seen of one seed while it learns."""

    seed: int
    learned_at: dict[str, int] = dataclasses.field(default_factory=dict)  # the step at which digit and sum were
    curve: list[list[float]] = dataclasses.field(default_factory=list)  # epoch, digit and sum accuracy on validation
    seconds_to_good: float | None = None
    fault: str | None = None
    steps: int = 0

    def look(self, config: Config, state: TrainState, data: Data, seconds: float, ends_quarter: bool) -> None:
        """Notes a state after so many seconds of training; once it is not finite, no more."""
        if self.fault:
            return
        self.steps, self.fault = int(state.step), non_finite(state)
        if len(self.learned_at) < 2:
            few = Split(*(field[:LOOKED_AT] for field in data.validation))
            scores = score(evaluate(config.data, trained_model(state), few), few.labels)
            for output, accuracy in (("digit", scores.digit_accuracy), ("sum", scores.sum_accuracy)):
                if accuracy >= LEARNED:
                    self.learned_at.setdefault(output, self.steps)
        if ends_quarter or self.fault:
            scores = score(evaluate(config.data, trained_model(state), data.validation), data.validation.labels)
            epoch = self.steps / steps_per_epoch(config, len(data.train.labels))
            self.curve.append([epoch, scores.digit_accuracy, scores.sum_accuracy])
            if self.seconds_to_good is None and min(self.curve[-1][1:]) >= GOOD:
                self.seconds_to_good = seconds


def run(config: Config, folders: dict[int, Path], data: Data) -> None:
    """Trains and tests the config with each seed, and writes each seed's folder; several as one vmapped program.

    Then a seed's seconds are its share of the program's: so many seeds took so many times as long.
    """
    seeds, n, static = list(folders), len(data.train.labels), program(dataclasses.replace(config, devices=1))
    if len(seeds) > 1:
        mode = f"{len(seeds)} seeds as one vmapped program, on {spread(len(seeds))} devices"
        keys, state, train = init_seeds(static, seeds, data.train)
        compiled = compile_advance_seeds(static, keys, state, train)
    else:
        mode, keys, train = "seeds one by one", split_keys(seeds[0]), jax.device_put(data.train)
        state, compiled = init_state(static, keys, n), _compile(static, n)
    per_epoch, total = steps_per_epoch(config, n), total_steps(config, n)
    look, quarter = max(WATCHED // config.training.batch_size, 1), max(per_epoch // 4, 1)
    watches, states, seconds, at = [Watch(seed) for seed in seeds], [], 0.0, 0
    while at < total and not all(watch.fault for watch in watches):
        learned = all(watch.fault or len(watch.learned_at) == 2 for watch in watches)
        until = min(total, (at // quarter + 1) * quarter, total if learned else (at // look + 1) * look)
        start = time.perf_counter()
        state = jax.block_until_ready(compiled(keys, state, train, np.int32(until)))
        seconds += (time.perf_counter() - start) / len(seeds)
        at = until
        states = [state] if len(seeds) == 1 else unstack(state._replace(opt_state=None), len(seeds))
        for watch, one in zip(watches, states, strict=True):
            watch.look(config, one, data, seconds, ends_quarter=at % quarter == 0 or at == total)
    for watch, one in zip(watches, states, strict=True):
        _finish(config, watch, trained_model(one), data, seconds, mode, folders[watch.seed])


def _finish(config: Config, watch: Watch, model: Model, data: Data, seconds: float, mode: str, folder: Path) -> None:
    """Tests a seed's model and writes its folder."""
    evaluation = evaluate(config.data, model, data.test)
    scores = score(evaluation, data.test.labels)
    held_out = evaluate(config.data, model, data.validation)
    permutation = best_permutation(np.asarray(held_out.digit), np.asarray(data.validation.labels))
    cells, not_trained = np.array(scores.sum_accuracy_by_cell), held_out_cells(config.objective)
    failure, at = watch.fault, watch.learned_at
    if not failure and min(scores.digit_accuracy, scores.sum_accuracy) < CHANCE:
        failure = f"digit {scores.digit_accuracy:.1%}, sum {scores.sum_accuracy:.1%}"
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model))
    result = {
        "config": config.name,
        "seed": watch.seed,
        "failure": failure,
        **{name: value for name, value in scores._asdict().items() if not name.startswith("digit_accuracy_by")},
        "digit_accuracy_permuted": float((permutation[evaluation.digit] == data.test.labels).mean()),
        "sum_accuracy_held_out": float(np.mean(cells[not_trained])) if not_trained.any() else None,
        "sum_accuracy_trained_cells": float(np.mean(cells[~not_trained])),
        "digit_at": at.get("digit"),
        "sum_at": at.get("sum"),
        "adder_lag": at["sum"] - at["digit"] if len(at) == 2 else None,
        "steps": watch.steps,
        "train_seconds": seconds,
        "seconds_to_good": watch.seconds_to_good,
        "images_per_second": watch.steps * config.training.batch_size / seconds,
        "curve": watch.curve,
        "weights": hashlib.sha256(weights).hexdigest(),
        "mode": mode,
        "environment": environment.describe(),
    }
    # Other processes may write the same run: whole folders alone appear, and the first to appear stays.
    partial = _beside(folder)
    partial.mkdir(parents=True)
    np.savez_compressed(
        partial / "predictions.npz", digit=evaluation.digit.astype(np.uint8), sum=evaluation.sum.astype(np.uint8)
    )
    (partial / "config.json").write_text(to_json(dataclasses.replace(config, seed=watch.seed)))
    (partial / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    try:
        partial.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(partial)


def write_whole(path: Path, text: str) -> None:
    """Writes a file that other processes may write and read at the same time."""
    partial = _beside(path)
    partial.write_text(text)
    partial.replace(path)


def _beside(path: Path) -> Path:
    """A name that no other process takes."""
    return path.with_name(f".{path.name}-{uuid.uuid4().hex}")


def validate(config: Config, data: Data) -> float:
    """Mean of digit and sum accuracy on validation after training; the test set is not read."""
    n, keys = len(data.train.labels), split_keys(config.seed)
    static = program(dataclasses.replace(config, devices=1))
    state = init_state(static, keys, n)
    state = advance_donating(static, keys, state, jax.device_put(data.train), jnp.int32(total_steps(config, n)))
    scores = score(evaluate(config.data, trained_model(state), data.validation), data.validation.labels)
    return (scores.digit_accuracy + scores.sum_accuracy) / 2
