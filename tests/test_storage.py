"""Checkpoints and weights: the same bits come back, and all but what was asked for is refused in one line."""

import errno
import os
import re
import shutil
import warnings
from pathlib import Path
from unittest.mock import Mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mnistsum
from mnistsum.config import Config, DataConfig, ModelConfig, override, to_json
from mnistsum.errors import InputError
from mnistsum.evaluation import describe_evaluation
from mnistsum.models import build
from mnistsum.predict import Predictor
from mnistsum.storage import (
    WEIGHTS,
    Weights,
    load_arrays,
    load_weights,
    restore,
    save_arrays,
    save_checkpoint,
    save_weights,
)
from mnistsum.train import advance, init_state, split_keys

KEYS = split_keys(0)
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)
CONFIG = Config(
    data=DataConfig(test_shift=1),
    model=ModelConfig(widths=(4, 4, 8), hidden=16, dtype="bfloat16"),
)

CHANGED = "its network has changed since it was trained: its answers may differ"


def same_bits(a, b) -> bool:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(
        x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


@pytest.fixture(scope="module")
def states(spec, train):
    start = START(spec, KEYS)
    return [ADVANCE(spec, KEYS, start, train, jnp.int32(step)) for step in (5, 8)]


@pytest.fixture
def two(config, states, tmp_path):
    """The checkpoints of steps 5 and 8, in a run's folder."""
    (tmp_path / "config.json").write_text(to_json(config))
    for state in states:
        extra = {"evaluation": describe_evaluation(config.data, state.model)}
        save_checkpoint(tmp_path / "checkpoints", config, state, extra)
    return tmp_path / "checkpoints"


@pytest.fixture(scope="module")
def weights() -> Weights:
    model = jax.jit(build, static_argnums=0)(CONFIG.model, jax.random.key(1))
    about = "a test", {"test": "12ab"}, describe_evaluation(CONFIG.data, model)
    return Weights(CONFIG, model, *about)


@pytest.fixture
def file(weights, tmp_path):
    save_weights(tmp_path / WEIGHTS, weights)
    return tmp_path / WEIGHTS


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    "change", ["model.widths=2,3,5", "optimizer.average=0", "seed=1"]
)
def test_a_checkpoint_of_another_config_is_refused(config, two, change):
    field = change.partition("=")[0]
    with pytest.raises(
        InputError,
        match=f"{two}/8.safetensors: from another config: expected {field} to be .*, found",
    ):
        restore(two, override(config, [change]))


def damaged(path: Path, count: int):
    """Damage a file in one way after another: flipped bits, a part of it, more than it; then mend it."""
    random, whole = np.random.default_rng(count), path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    for i in range(count):
        flipped = bytearray(whole)  # every other flip is in the header, which is small
        flipped[random.integers(header if i % 2 else len(whole))] ^= (
            1 << random.integers(8)
        )
        path.write_bytes(
            {8: whole[: random.integers(len(whole))], 9: whole + b"\0"}.get(
                i % 10, flipped
            )
        )
        yield
    path.write_bytes(whole)


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    config, states, two, count
):
    newest = two / "8.safetensors"
    for _ in damaged(newest, count):
        with pytest.warns(
            UserWarning, match=rf"\A{newest}: .*; an older one is used\Z"
        ):
            assert same_bits(restore(two, config).state, states[0])
    state, extra = restore(two, config)
    assert same_bits(state, states[1])
    assert extra == {"evaluation": describe_evaluation(config.data, state.model)}


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_weights_are_refused_by_name(weights, file, count):
    for _ in damaged(file, count):
        with pytest.raises(InputError, match=rf"\A{file}: .*\Z"):
            load_weights(file)
    for path in (file, file.parent):
        loaded = load_weights(path)
        assert loaded._replace(model=None) == weights._replace(model=None)
        assert same_bits(loaded.model, weights.model)


def test_exchanged_files_are_refused(config, two, file):
    shutil.copy(two / "8.safetensors", two / "9.safetensors")
    shutil.copy(file, two / "10.safetensors")
    (two / "11.safetensors").write_bytes(b"[" * 100_000)
    with pytest.warns(UserWarning) as told:
        assert restore(two, config).state.step == 8
    assert "11.safetensors: cannot be read as safetensors" in str(told[0].message)
    assert "10.safetensors: expected checkpoint, found another kind of file" in str(
        told[1].message
    )
    with pytest.raises(
        InputError, match=r"expected weights, found another kind of file"
    ):
        load_weights(two / "8.safetensors")


def test_a_newer_checkpoint_that_could_not_be_used_does_not_outlast_the_next_one(
    config, states, two
):
    cut_short(two / "8.safetensors")
    # as after resuming from 5
    save_checkpoint(two, config, states[0]._replace(step=jnp.int32(6)), {})
    assert names(two) == ["5.safetensors", "6.safetensors"]


def test_a_failing_write_leaves_the_older_checkpoints_and_names_path_and_cause(
    config, states, two, monkeypatch
):
    monkeypatch.setattr(
        os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    )
    with pytest.raises(
        OSError,
        match=f"{two / '9.safetensors'}: could not be written: No space left on device",
    ):
        save_checkpoint(two, config, states[1]._replace(step=jnp.int32(9)), {})
    assert names(two) == ["5.safetensors", "8.safetensors"]


def test_a_folder_without_checkpoints_is_refused(config, tmp_path):
    with pytest.raises(InputError, match="nowhere: holds no checkpoint"):
        restore(tmp_path / "nowhere", config)


def test_load_run_gives_the_averaged_model_of_an_unfinished_run_and_names_what_it_skips(
    config, states, two
):
    def load(step: int, warning: str = "") -> Weights:
        with pytest.warns(UserWarning) as told:
            run = mnistsum.load_run(two.parent)
        messages = [str(each.message) for each in told]
        for expected in (f"unfinished; this is the network at step {step}$", warning):
            assert any(re.search(expected, message) for message in messages)
        return run

    run = load(8)
    assert run.config == config
    assert run.data == {}
    assert run.made_by.endswith("unfinished, step 8")
    assert same_bits(run.model, states[1].average)
    cut_short(two / "8.safetensors")
    older = load(5, r"8.safetensors: cannot be read .*; an older one is used$")
    assert same_bits(older.model, states[0].average)
    then = describe_evaluation(config.data, states[1].average) | {"program": "1"}
    save_checkpoint(two, config, states[1], {"evaluation": then})
    load(8, f"{CHANGED}$")


def test_rounded_weights_are_smaller_and_answer_with_the_same_bits(
    weights, file, mnist
):
    rounded = file.with_name("rounded.safetensors")
    save_weights(rounded, weights, rounded=True)
    assert rounded.stat().st_size < 0.7 * file.stat().st_size
    images, numbers = mnist.test.images[:20], np.arange(20) % 10
    exact, answers = (
        Predictor(*each).predict(images, numbers)
        for each in (weights, load_weights(rounded))
    )
    chex.assert_trees_all_equal(exact, answers)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (
            lambda a: a.update(more=jnp.zeros(1)),
            r"expected more to be absent, found float32\[1\]",
        ),
        (
            lambda a: a.update({"adder.hidden.bias": jnp.zeros(9)}),
            r"to be float32\[16\], found float32\[9\]",
        ),
    ],
)
def test_weights_of_another_architecture_are_refused(file, change, answer):
    config, arrays, about = load_arrays(file, "weights")
    change(arrays)
    save_arrays(file, config, arrays, "weights", about)
    with pytest.raises(
        InputError, match=f"^{file}: of another architecture: .*{answer}"
    ):
        load_weights(file)


def test_weights_warn_in_one_line_if_their_program_has_changed_under_the_same_versions(
    weights, file
):
    now = weights.evaluation
    for then, is_told in (
        (now | {"program": "1"}, True),
        (now | {"program": "1", "jax": "0"}, False),
    ):
        save_weights(file, weights._replace(evaluation=then))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run = load_weights(file)
        assert [str(each.message) for each in told] == is_told * [f"{file}: {CHANGED}"]
        assert run.evaluation == then  # as an export saves it


def test_weights_of_an_older_version_load_without_their_temperatures(weights, file):
    config, arrays, about = load_arrays(file, "weights")
    about["temperatures"] = {"digit": 0.5, "sum": 2.0}
    save_arrays(file, config, arrays, "weights", about)
    loaded = load_weights(file)
    chex.assert_trees_all_equal(loaded.model, weights.model)
    assert loaded._replace(model=None) == weights._replace(model=None)
