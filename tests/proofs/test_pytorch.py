"""Both sides of the benchmark have the same networks: from weights to answers."""

import dataclasses
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import first

from experiments.configs.base import config as base
from experiments.studies.speed.networks import CLASSIFIERS
from mnistsum.config import Config, override
from mnistsum.data import pair, scale
from mnistsum.evaluation import evaluate
from mnistsum.models import abstract_model, build, parameters, with_values
from mnistsum.models.summary import count_parameters
from mnistsum.objective import objective
from mnistsum.predict import load_pretrained
from mnistsum.registry import added_names
from mnistsum.storage import name_arrays

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # PyTorch's own
]


@pytest.fixture(scope="module")
def twins():
    pytest.importorskip("torchvision", reason="the extra `pytorch` is not installed")
    return pytest.importorskip("experiments.studies.speed.pytorch")


def twin_of(twins, config: Config, arrays: dict):
    """Return a twin with the values of our arrays, in the order of each kind."""
    twin = twins.Twin(config.model)
    queues = defaultdict(list)
    for name, array in arrays.items():
        queues[name.rpartition(".")[2], array.ndim].append(np.array(array))
    for name, parameter in twin.named_parameters():
        values = queues[
            name.rpartition(".")[2].replace("weight", "kernel"), parameter.ndim
        ].pop(0)
        values = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T
        parameter.data.copy_(twins.torch.tensor(values))
    assert not any(queues.values())
    return twin


def test_the_twins_have_the_same_loss_and_gradients(mnist, twins):
    config = override(base, ["model.dtype=float32"])
    model = jax.jit(build, static_argnums=0)(config.model, jax.random.key(0))
    images = mnist.train.images[:32]
    labels = mnist.train.labels[:32]
    numbers = np.arange(32) % 10
    batch = pair(
        scale(config.model.scaling, jnp.asarray(images)),
        jnp.asarray(labels),
        jnp.asarray(numbers),
    )

    def loss(params):
        return objective(
            config.objective,
            with_values(model, params)(batch.image, batch.number),
            batch,
        )

    torch = twins.torch
    ours, gradient = jax.jit(jax.value_and_grad(loss))(parameters(model))
    twin = twin_of(twins, config, name_arrays(parameters(model)))
    # our gradient, in their layout
    expected = twin_of(twins, config, name_arrays(gradient))
    pixels = torch.tensor(images).movedim(3, 1)
    theirs = twins.loss(
        twin, pixels, torch.tensor(labels).long(), torch.tensor(numbers)
    )
    theirs.backward()
    np.testing.assert_allclose(float(ours), theirs.item(), rtol=1e-5)
    for (name, found), leaf in zip(
        twin.named_parameters(), expected.parameters(), strict=True
    ):
        # As a whole, and loosely: if a ReLU's input is almost zero, rounding decides
        # whether its gradient passes.
        assert torch.linalg.norm(found.grad - leaf) <= 1e-2 * torch.linalg.norm(leaf), (
            name
        )
        assert torch.linalg.norm(leaf) > 0, name


@pytest.mark.parametrize("how", ["eager", "frozen", "cast"])
def test_every_variant_of_the_evaluation_gives_our_answers(how, mnist, twins):
    network = load_pretrained("base")
    test = first(mnist.test, 200)
    config = dataclasses.replace(
        network.config,
        model=dataclasses.replace(network.config.model, dtype="bfloat16"),
    )
    twin = twin_of(twins, config, name_arrays(parameters(network.model)))
    turn = twins.evaluation(config, twin, test.images, how, batch=100)
    digit, sums = zip(*turn(), strict=True)
    ours = evaluate(config.data, network.model, test, batch_size=100)
    assert np.mean(twins.torch.cat(digit).numpy() == ours.digit) >= 0.99
    assert np.mean(twins.torch.cat(sums).numpy() == ours.sum) >= 0.99


def test_the_twin_of_the_plain_resnet_has_as_many_parameters(twins):
    config = override(base, ["model.classifier=plain_resnet"]).model
    with added_names(CLASSIFIERS=CLASSIFIERS):
        ours = count_parameters(abstract_model(config))
    assert sum(array.numel() for array in twins.Twin(config).parameters()) == ours
