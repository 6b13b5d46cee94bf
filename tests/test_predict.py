"""Predictions of the shipped networks in Python."""

import re

import chex
import jax
import numpy as np
import pytest
from programs import first

from mnistsum.config import override
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate
from mnistsum.predict import load_pretrained
from mnistsum.storage import PRETRAINED, locate


@pytest.fixture(scope="module")
def base():
    return load_pretrained("base")


@pytest.fixture(autouse=True)
def optimized(request):
    """Compile slow tests as a program does, as they read thousands of images."""
    jax.config.update(
        "jax_disable_most_optimizations",
        request.node.get_closest_marker("slow") is None,
    )
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.parametrize("shift", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_predictions_in_batches_equal_single_ones_and_evaluation(base, mnist, shift):
    config = override(base.config, [f"data.test_shift={shift}"])
    base = base._replace(config=config)
    split = first(mnist.test, 37)
    each = np.arange(37)
    together = base.predict(split.images, each % 10)
    for i in (0, 15, 16, 36):
        alone = base.predict(split.images[i : i + 1], i % 10)
        same = jax.tree.map(lambda array, i=i: array[i : i + 1], together)
        chex.assert_trees_all_close(alone, same, rtol=1e-4, atol=1e-6)
    evaluation = evaluate(config.data, base.model, split)
    assert (together.digit.argmax(-1) == evaluation.digit).all()
    assert (together.sum.argmax(-1) == evaluation.sum[each, each % 10]).all()
    loss = -np.log(together.digit[each, split.labels])
    np.testing.assert_allclose(loss, evaluation.digit_loss, rtol=1e-2, atol=1e-6)


def test_a_name_that_ships_wins_over_a_folder_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("base") == PRETRAINED / "base"
    (tmp_path / "base").mkdir()
    answer = r"^base: the network that ships with mnistsum, not the folder ./base$"
    with pytest.warns(UserWarning, match=answer):
        assert load_pretrained("base").config.name == "base"
    answer = r"^base: expected the folder of a run, found neither"
    with pytest.raises(InputError, match=answer):
        load_pretrained("./base")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "best"])
def test_a_network_that_ships_is_small_and_as_accurate_as_it_says(name):
    file = PRETRAINED / name / "weights.safetensors"
    assert file.stat().st_size < 1_000_000
    network = load_pretrained(name)
    said = re.search(r"digit (\d+\.\d+)%, sum (\d+\.\d+)%", network.made_by)
    data = load(network.config.data)  # `best` holds out fewer images than the fixture
    test = evaluate(network.config.data, network.model, data.test)
    correct = (
        test.digit == data.test.labels,
        test.sum == data.test.labels[:, None] + np.arange(10),
    )
    for found, accuracy in zip(correct, said.groups(), strict=True):
        # another CPU rounds differently
        assert found.mean() == pytest.approx(float(accuracy) / 100, abs=5e-4)
