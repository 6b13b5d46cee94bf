"""Checkpoints and weights: the same bits come back, and all else is refused."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mnistsum
from mnistsum.config import Config, DataConfig, ModelConfig, override, to_json
from mnistsum.errors import InputError
from mnistsum.evaluation import describe_evaluation
from mnistsum.models import build
from mnistsum.objective import weighted
from mnistsum.registry import added_names
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
from mnistsum.train import advance, init_state, make_spec, split_keys

KEYS = split_keys(0)
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)
CONFIG = Config(
    data=DataConfig(test_shift=1),
    model=ModelConfig(widths=(4, 4, 8), hidden=16, dtype="bfloat16"),
)

CHANGED = "its network has changed since it was trained: its answers may differ"


def same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    pairs = zip(*map(jax.tree.leaves, (a, b)), strict=True)
    pairs = [tuple(map(np.asarray, pair)) for pair in pairs]
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


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
def weights():
    model = jax.jit(build, static_argnums=0)(CONFIG.model, jax.random.key(1))
    about = describe_evaluation(CONFIG.data, model)
    return Weights(CONFIG, model, "a test", {"test": "12ab"}, about)


@pytest.fixture
def file(weights, tmp_path):
    save_weights(tmp_path / WEIGHTS, weights)
    return tmp_path / WEIGHTS


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def is_equal(one, other):
    fields = one._replace(model=None) == other._replace(model=None)
    return fields and same_bits(one.model, other.model)


def test_a_checkpoint_of_another_config_is_refused(config, two):
    place = f"{two}/8.safetensors"
    answer = f"^{place}: from another config: expected seed to be 1, found 0"
    with pytest.raises(InputError, match=answer):
        restore(two, override(config, ["seed=1"]))


def test_a_run_whose_batch_is_smaller_than_an_example_is_restored(tmp_path):
    def pairs(config, logits, batch):
        return weighted(config, logits, batch)

    pairs.group = 2
    changes = ["objective.name=pairs", "training.batch_size=1"]
    with added_names(OBJECTIVES={"pairs": pairs}):
        config = override(CONFIG, changes)
        state = START(make_spec(config, 4), KEYS)
        extra = {"evaluation": describe_evaluation(config.data, state.model)}
        save_checkpoint(tmp_path, config, state, extra)
        assert same_bits(restore(tmp_path, config)[0].model, state.model)


def damaged(path, count):
    """Damage a file in ways that differ; then mend it.

    Bits are flipped, every other one in the header, which is small. One in ten has lost
    its end, and one in ten is too long.
    """
    random = np.random.default_rng(count)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    for i in range(count):
        harmed = bytearray(whole)
        place = random.integers(header if i % 2 else len(whole))
        harmed[place] ^= 1 << random.integers(8)
        if i % 10 == 8:
            harmed = whole[:place]
        if i % 10 == 9:
            harmed = whole + b"\0"
        path.write_bytes(harmed)
        yield
    path.write_bytes(whole)


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    config, states, two, count
):
    newest = two / "8.safetensors"
    answer = rf"\A{newest}: .*; an older one is used\Z"
    for _ in damaged(newest, count):
        with pytest.warns(UserWarning, match=answer):
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
        assert is_equal(load_weights(path), weights)


def test_exchanged_files_are_refused(config, two, file):
    (two / "9.safetensors").write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match="expected checkpoint, found another kind of"):
        assert restore(two, config).state.step == 8
    with pytest.raises(InputError, match="expected weights, found another kind of fil"):
        load_weights(two / "8.safetensors")


def test_a_damaged_checkpoint_does_not_outlast_the_next_one(config, states, two):
    (two / "8.safetensors").write_bytes(b"")
    # as after resuming from 5
    save_checkpoint(two, config, states[0]._replace(step=jnp.int32(6)), {})
    assert names(two) == ["5.safetensors", "6.safetensors"]


def test_a_folder_without_checkpoints_is_refused(config, tmp_path):
    with pytest.raises(InputError, match="nowhere: holds no checkpoint"):
        restore(tmp_path / "nowhere", config)


def test_load_run_gives_the_average_of_an_unfinished_run(config, states, two):
    """And warns that it is unfinished, of what it skips, and of another program."""

    def load(*warned):
        with pytest.warns(UserWarning) as told:
            run = mnistsum.load_run(two.parent)
        messages = "\n".join(sorted(str(each.message) for each in told))
        assert re.fullmatch("\n".join(f".*{each}" for each in warned), messages)
        return run

    unfinished = "unfinished; this is the network at step"
    run = load(f"{unfinished} 8")
    assert run.config == config
    assert run.data == {}
    assert run.made_by.endswith("unfinished, step 8")
    assert same_bits(run.model, states[1].average)
    (two / "8.safetensors").write_bytes(b"")
    skipped = "8.safetensors: cannot be read .*; an older one is used"
    assert same_bits(load(skipped, f"{unfinished} 5").model, states[0].average)
    then = describe_evaluation(config.data, states[1].average) | {"program": "1"}
    save_checkpoint(two, config, states[1], {"evaluation": then})
    load(CHANGED, f"{unfinished} 8")


@pytest.mark.parametrize(
    "name, size, answer",
    [
        ("more", 1, r"expected more to be absent, found float32\[1\]"),
        ("adder.hidden.bias", 9, r"to be float32\[16\], found float32\[9\]"),
    ],
)
def test_weights_of_another_architecture_are_refused(file, name, size, answer):
    config, arrays, about = load_arrays(file, "weights")
    save_arrays(file, config, arrays | {name: jnp.zeros(size)}, "weights", about)
    answer = f"^{file}: of another architecture: .*{answer}"
    with pytest.raises(InputError, match=answer):
        load_weights(file)


@pytest.mark.parametrize("other, warned", [({}, 1), ({"jax": "0"}, 0)])
def test_weights_warn_if_their_program_has_changed(weights, file, other, warned):
    """Under the same versions, in one line."""
    then = weights.evaluation | {"program": "1"} | other
    save_weights(file, weights._replace(evaluation=then))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run = load_weights(file)
    assert [str(each.message) for each in told] == warned * [f"{file}: {CHANGED}"]
    assert run.evaluation == then  # as an export saves it
