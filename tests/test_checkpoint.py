"""Checkpoints: the same bits back, and a refusal where they are not what was asked for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mnistsum
from mnistsum import checkpoint
from mnistsum.config import InputError, to_json
from mnistsum.train import advance, init_state, split_keys

KEYS = split_keys(0)


@pytest.fixture(scope="module")
def states(config, train):
    start = init_state(config, KEYS, 256)
    return [advance(config, KEYS, start, train, jnp.int32(step)) for step in (3, 5, 8)]


def same_bits(a, b) -> bool:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(
        x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def test_the_newest_state_comes_back_bit_for_bit_and_trains_on_to_the_same_bits(config, train, states, tmp_path):
    for state in states[:2]:
        checkpoint.save(tmp_path, config, state, {"train_seconds": float(state.step)})
    restored, clock, refused = checkpoint.restore(tmp_path, config)
    assert refused == ()
    assert same_bits(restored, states[1])
    assert clock == {"train_seconds": 5.0}
    assert same_bits(advance(config, KEYS, restored, train, jnp.int32(8)), states[2])


def test_two_checkpoints_are_kept_and_the_newest_is_one(config, states, tmp_path):
    for state in states:
        checkpoint.save(tmp_path, config, state, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5", "8"]


@pytest.mark.parametrize(
    ("group", "change", "named"),
    [
        ("model", {"widths": (2, 3, 5)}, "model.widths"),
        ("model", {"hidden": 8}, "model.hidden"),
        ("optimizer", {"average": 0.0}, "optimizer.average"),
        ("optimizer", {"name": "sgd"}, "optimizer.name"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused(config, states, tmp_path, group, change, named):
    checkpoint.save(tmp_path, config, states[0], {})
    other = dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **change)})
    with pytest.raises(InputError, match=f"{tmp_path}/3: of another config: expected .*{named}"):
        checkpoint.restore(tmp_path, other)


def test_a_folder_without_checkpoints_is_refused(config, tmp_path):
    with pytest.raises(InputError, match="holds no complete checkpoint"):
        checkpoint.restore(tmp_path, config)
    with pytest.raises(InputError, match="nowhere: holds no complete checkpoint"):
        checkpoint.restore(tmp_path / "nowhere", config)
    with pytest.raises(InputError, match=r"config.json: no such file; expected the folder of a run"):
        mnistsum.load_run(tmp_path)


def test_load_run_gives_config_and_averaged_model(config, states, tmp_path):
    (tmp_path / "config.json").write_text(to_json(config))
    checkpoint.save(tmp_path / "checkpoints", config, states[0], {})
    loaded, model = mnistsum.load_run(tmp_path)
    assert loaded == config
    assert same_bits(model, states[0].average)
