"""One run of a comparison: a config and a seed trained, watched on validation, tested once, and kept for reuse."""

import dataclasses
import functools
import hashlib
import json
import time
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
from mnistsum.objective import held_out_cells
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
from mnistsum.types import Data, Split

WATCHED = 512  # examples between two looks at the digit and sum accuracy, until both have passed LEARNED
LOOKED_AT = 1000  # validation images of such a look
LEARNED = 0.98
GOOD = 0.988  # of both accuracies on all validation images, looked at four times an epoch
CHANCE = 0.9  # a run below it in either test accuracy has failed

_compile = functools.lru_cache(maxsize=1)(compile_advance)  # once for all seeds of a config


def fingerprint(config: Config, code: bytes) -> str:
    """A hash of all that decides a run but its seed: config, this library's source, the user's `code`, versions."""
    source = sorted(Path(mnistsum.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(to_json(dataclasses.replace(config, seed=0)).encode() + code)
    for path in source:
        digest.update(path.read_bytes())
    digest.update(jax.__version__.encode())
    return digest.hexdigest()[:12]


def read(folder: Path) -> dict[str, Any] | None:
    """The result of a finished run in a folder, None where there is none; InputError where it is damaged."""
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text())
        with np.load(folder / "predictions.npz") as predictions:
            result["predictions"] = {name: predictions[name] for name in ("digit", "sum")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder}: a damaged run ({error}); delete it, and it is run again") from None
    return result


def run(config: Config, data: Data, folder: Path) -> dict[str, Any]:
    """Trains, tests and writes the folder; the result as `read` gives it."""
    n, keys, static = len(data.train.labels), split_keys(config.seed), program(config)
    train = jax.device_put(data.train)
    state = init_state(static, keys, n)
    compiled = _compile(static, n)
    per_epoch, total = steps_per_epoch(config, n), total_steps(config, n)
    look, quarter = max(WATCHED // config.training.batch_size, 1), max(per_epoch // 4, 1)
    few = Split(*(field[:LOOKED_AT] for field in data.validation))
    seconds, at = 0.0, 0
    learned_at: dict[str, int] = {}  # the step at which digit and sum were
    seconds_to_good, curve, fault = None, [], None
    while at < total and not fault:
        learned = len(learned_at) == 2
        until = min(total, (at // quarter + 1) * quarter, total if learned else (at // look + 1) * look)
        start = time.perf_counter()
        state = jax.block_until_ready(compiled(keys, state, train, jnp.int32(until)))
        seconds += time.perf_counter() - start
        at = until
        fault = non_finite(state)
        if not learned:
            scores = score(evaluate(config.data, trained_model(state), few), few.labels)
            for output, accuracy in (("digit", scores.digit_accuracy), ("sum", scores.sum_accuracy)):
                if accuracy >= LEARNED:
                    learned_at.setdefault(output, at)
        if at % quarter == 0 or at == total or fault:
            scores = score(evaluate(config.data, trained_model(state), data.validation), data.validation.labels)
            curve.append([at / per_epoch, scores.digit_accuracy, scores.sum_accuracy])
            if seconds_to_good is None and min(curve[-1][1:]) >= GOOD:
                seconds_to_good = seconds
    model = trained_model(state)
    evaluation = evaluate(config.data, model, data.test)
    scores = score(evaluation, data.test.labels)
    held_out = evaluate(config.data, model, data.validation)
    permutation = best_permutation(np.asarray(held_out.digit), np.asarray(data.validation.labels))
    cells, not_trained = np.array(scores.sum_accuracy_by_cell), held_out_cells(config.objective)
    failure = fault
    if not fault and min(scores.digit_accuracy, scores.sum_accuracy) < CHANCE:
        failure = f"digit {scores.digit_accuracy:.1%}, sum {scores.sum_accuracy:.1%}"
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model))
    result = {
        "config": config.name,
        "seed": config.seed,
        "failure": failure,
        **{name: value for name, value in scores._asdict().items() if not name.startswith("digit_accuracy_by")},
        "digit_accuracy_permuted": float((permutation[evaluation.digit] == data.test.labels).mean()),
        "sum_accuracy_held_out": float(np.mean(cells[not_trained])) if not_trained.any() else None,
        "sum_accuracy_trained_cells": float(np.mean(cells[~not_trained])),
        "digit_at": learned_at.get("digit"),
        "sum_at": learned_at.get("sum"),
        "adder_lag": learned_at["sum"] - learned_at["digit"] if len(learned_at) == 2 else None,
        "steps": at,
        "train_seconds": seconds,
        "seconds_to_good": seconds_to_good,
        "images_per_second": at * config.training.batch_size / seconds,
        "curve": curve,
        "weights": hashlib.sha256(weights).hexdigest(),
        "mode": "seeds one by one",
        "environment": environment.describe(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "predictions.npz", digit=evaluation.digit.astype(np.uint8), sum=evaluation.sum.astype(np.uint8)
    )
    (folder / "config.json").write_text(to_json(config))
    unfinished = folder / "result.json.tmp"
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.replace(folder / "result.json")  # only now is the run finished
    return read(folder) or {}


def validate(config: Config, data: Data) -> float:
    """Mean of digit and sum accuracy on validation after training; the test set is not read."""
    n, keys, static = len(data.train.labels), split_keys(config.seed), program(config)
    state = init_state(static, keys, n)
    state = advance_donating(static, keys, state, jax.device_put(data.train), jnp.int32(total_steps(config, n)))
    scores = score(evaluate(config.data, trained_model(state), data.validation), data.validation.labels)
    return (scores.digit_accuracy + scores.sum_accuracy) / 2
