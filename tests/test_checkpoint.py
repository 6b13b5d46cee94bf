"""Checkpoints: the same bits come back, and all but what was asked for is refused."""

import dataclasses
import errno
import os
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mnistsum
from mnistsum import checkpoint, weights
from mnistsum.config import OptimizerConfig, to_json
from mnistsum.errors import InputError
from mnistsum.files import PARTIAL
from mnistsum.registry import OPTIMIZERS
from mnistsum.train import advance, init_state, make_recipe, split_keys

KEYS = split_keys(0)
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)


@pytest.fixture(scope="module")
def states(recipe, train):
    start = START(recipe, KEYS)
    return [ADVANCE(recipe, KEYS, start, train, jnp.int32(step)) for step in (3, 5, 8)]


def same_bits(a, b) -> bool:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(
        x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def test_the_newest_state_comes_back_bit_for_bit_and_trains_on_to_the_same_bits(config, train, states, tmp_path):
    for state in states[:2]:
        checkpoint.save(tmp_path, config, state, {"train_seconds": float(state.step)})
    restored, clock, refused, _ = checkpoint.restore(tmp_path, config)
    assert refused == ()
    assert same_bits(restored, states[1])
    assert clock == {"train_seconds": 5.0}
    assert same_bits(ADVANCE(make_recipe(config, 256), KEYS, restored, train, jnp.int32(8)), states[2])


@pytest.mark.slow
def test_an_optimizer_that_draws_and_one_that_wants_the_loss_train_and_resume(config, train, tmp_path, monkeypatch):
    def rule(config, rate):
        lower = optax.contrib.reduce_on_plateau(patience=1, accumulation_size=2)
        return optax.chain(optax.add_noise(0.01, 0.55, 0), optax.sgd(rate), lower)

    monkeypatch.setitem(OPTIMIZERS._added, "noisy", rule)
    noisy = dataclasses.replace(config, optimizer=OptimizerConfig(name="noisy"))
    recipe = make_recipe(noisy, 256)
    state = ADVANCE(recipe, KEYS, START(recipe, KEYS), train, jnp.int32(3))
    checkpoint.save(tmp_path, noisy, state, {})
    restored = checkpoint.restore(tmp_path, noisy).state
    assert [leaf.dtype for leaf in jax.tree.leaves(restored)] == [leaf.dtype for leaf in jax.tree.leaves(state)]
    ends = [ADVANCE(recipe, KEYS, each, train, jnp.int32(6)) for each in (state, restored)]
    assert same_bits(ends[0].model, ends[1].model)


def test_two_checkpoints_are_kept_and_the_newest_is_one(config, states, tmp_path):
    for state in states:
        checkpoint.save(tmp_path, config, state, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5.safetensors", "8.safetensors"]


@pytest.mark.parametrize(
    ("group", "change", "named"),
    [
        ("model", {"widths": (2, 3, 5)}, "model.widths"),
        ("model", {"hidden": 8}, "model.hidden"),
        ("optimizer", {"average": 0.0}, "optimizer.average"),
        ("optimizer", {"name": "sgd"}, "optimizer.name"),
        ("objective", {"digit_weight": 0.9}, "objective.digit_weight"),
        ("augment", {"elastic": 0.1}, "augment.elastic"),
        ("data", {"train_images": 64}, "data.train_images"),
        (None, {"seed": 1}, "seed"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(config, states, tmp_path, group, change, named):
    checkpoint.save(tmp_path, config, states[0], {})
    if group is not None:
        change = {group: dataclasses.replace(getattr(config, group), **change)}
    other = dataclasses.replace(config, **change)
    with pytest.raises(InputError, match=f"{tmp_path}/3.safetensors: from another config: expected .*{named}"):
        checkpoint.restore(tmp_path, other)


def test_a_checkpoint_of_another_architecture_or_dtype_is_refused(config, states, tmp_path):
    narrower = dataclasses.replace(config, model=dataclasses.replace(config.model, hidden=8))
    checkpoint.save(tmp_path / "a", config, init_state(make_recipe(narrower, 256), KEYS), {})
    with pytest.raises(InputError, match=r"a/0.safetensors: of another architecture: expected .*adder.hidden.* found"):
        checkpoint.restore(tmp_path / "a", config)
    halved = states[0]._replace(average=jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), states[0].average))
    checkpoint.save(tmp_path / "b", config, halved, {})
    with pytest.raises(InputError, match=r"b/3.safetensors: .* expected average.* to be float32.*found bfloat16"):
        checkpoint.restore(tmp_path / "b", config)


@pytest.fixture
def two(config, states, tmp_path):
    """A folder with the checkpoints of steps 5 and 8."""
    for state in states[1:]:
        checkpoint.save(tmp_path, config, state, {})
    return tmp_path


def plant_faults(path, count, seed):
    """Damage a file in one way after another, and undo each before the next."""
    random = np.random.default_rng(seed)
    whole = path.read_bytes()
    for _ in range(count):
        fault = random.choice(["flip", "truncate", "extend", "link"], p=[0.7, 0.1, 0.1, 0.1])
        elsewhere = path.with_name("elsewhere")
        if fault == "flip":
            harmed = bytearray(whole)
            # Every other flip is in the header, which is a hundredth of the file.
            harmed[random.integers(random.choice([2000, len(whole)]))] ^= 1 << random.integers(8)
            path.write_bytes(harmed)
        elif fault == "truncate":
            path.write_bytes(whole[: random.integers(len(whole))])
        elif fault == "extend":
            path.write_bytes(whole + b"\0")
        else:
            elsewhere.write_bytes(whole)
            path.unlink()
            path.symlink_to(elsewhere)
        yield
        elsewhere.unlink(missing_ok=True)
        path.unlink()
        path.write_bytes(whole)


def no_fault_is_silent(config, states, folder, count, seed):
    newest = checkpoint.path_of(folder, 8)
    for _ in plant_faults(newest, count, seed):
        state, _, refused, _ = checkpoint.restore(folder, config)
        assert same_bits(state, states[1])
        (line,) = refused
        assert line.startswith(f"{newest}: ")
        assert "\n" not in line
    assert checkpoint.restore(folder, config).refused == ()


def test_a_harmed_checkpoint_is_refused_by_name_and_the_one_before_is_used(config, states, two):
    no_fault_is_silent(config, states, two, 20, seed=0)


@pytest.mark.slow
def test_none_of_a_thousand_faults_is_silent(config, states, two):
    no_fault_is_silent(config, states, two, 1000, seed=1)


def cut_short(path):
    """Remove the last bytes of a file."""
    path.write_bytes(path.read_bytes()[:-7])


def test_load_run_warns_of_checkpoints_that_it_skips(config, states, two):
    folder = two / "run"
    folder.mkdir()
    (folder / "config.json").write_text(to_json(config))
    for step in (5, 8):
        (folder / "checkpoints").mkdir(exist_ok=True)
        shutil.copy(checkpoint.path_of(two, step), folder / "checkpoints")
    cut_short(checkpoint.path_of(folder / "checkpoints", 8))
    with pytest.warns(UserWarning, match=r"8.safetensors: cannot be read .*; an older one was loaded"):
        _, model = mnistsum.load_run(folder)
    assert same_bits(model, states[1].average)


def test_what_a_killed_process_left_is_no_checkpoint_and_is_cleared_away(config, states, two):
    shutil.copy(checkpoint.path_of(two, 8), two / f".9.safetensors-0{PARTIAL}")
    assert checkpoint.restore(two, config).state.step == 8
    checkpoint.save(two, config, states[2]._replace(step=jnp.int32(9)), {})
    assert sorted(path.name for path in two.iterdir()) == ["8.safetensors", "9.safetensors"]


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(config, states, two):
    cut_short(checkpoint.path_of(two, 8))
    checkpoint.save(two, config, states[2], {})
    assert checkpoint.restore(two, config).refused == ()


def test_a_newer_checkpoint_that_could_not_be_used_does_not_outlast_the_next_one(config, states, two):
    cut_short(checkpoint.path_of(two, 8))
    checkpoint.save(two, config, states[0]._replace(step=jnp.int32(6)), {})  # as after resuming from 5
    assert checkpoint.steps(two) == [6, 5]


def test_a_failing_rename_leaves_the_older_checkpoints_and_names_path_and_cause(config, states, two, monkeypatch):
    def fail(self, target):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=f"{two / '9.safetensors'}: could not be written: Input/output error"):
        checkpoint.save(two, config, states[2]._replace(step=jnp.int32(9)), {})
    assert sorted(path.name for path in two.iterdir()) == ["5.safetensors", "8.safetensors"]
    assert checkpoint.restore(two, config).refused == ()


def test_a_read_only_folder_leaves_the_older_checkpoints_and_names_path_and_cause(config, states):
    folder = Path(tempfile.mkdtemp())  # not tmp_path, as only this user may enter its parents
    checkpoint.save(folder, config, states[1], {})
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:  # nothing is read-only for root
            os.seteuid(65534)
        with pytest.raises(OSError, match=f"{folder / '8.safetensors'}: could not be written: Permission denied"):
            checkpoint.save(folder, config, states[2], {})
    finally:
        os.seteuid(user)
    assert checkpoint.restore(folder, config).state.step == 5
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["[a] run", "run*?", "{x}", "ein Läufer"])
def test_a_folder_may_have_any_name(config, states, tmp_path, name):
    checkpoint.save(tmp_path / name, config, states[0], {})
    assert same_bits(checkpoint.restore(tmp_path / name, config).state, states[0])


def test_a_run_of_devices_that_are_not_here_can_be_opened(config, states, tmp_path):
    there = dataclasses.replace(config, devices=7)
    checkpoint.save(tmp_path / "checkpoints", there, states[0], {})
    (tmp_path / "config.json").write_text(to_json(there))
    loaded, model = mnistsum.load_run(tmp_path)
    assert loaded == there
    assert same_bits(model, states[0].average)


def test_a_folder_without_checkpoints_is_refused(config, tmp_path):
    with pytest.raises(InputError, match="holds no complete checkpoint"):
        checkpoint.restore(tmp_path, config)
    with pytest.raises(InputError, match="nowhere: holds no complete checkpoint"):
        checkpoint.restore(tmp_path / "nowhere", config)
    with pytest.raises(InputError, match=r"expected the folder of a run, found neither"):
        mnistsum.load_run(tmp_path)


def test_load_run_gives_config_and_averaged_model(config, states, tmp_path):
    (tmp_path / "config.json").write_text(to_json(config))
    checkpoint.save(tmp_path / "checkpoints", config, states[0], {})
    loaded, model = mnistsum.load_run(tmp_path)
    assert loaded == config
    assert same_bits(model, states[0].average)
    checkpoint.save(tmp_path / "checkpoints", config, states[1], {}, best=states[0].average)  # the best so far is older
    assert same_bits(mnistsum.load_run(tmp_path)[1], states[0].average)
    weights.save(tmp_path / weights.WEIGHTS, config, states[1].average, "a test")  # as in a finished run
    assert same_bits(mnistsum.load_run(tmp_path)[1], states[1].average)
