"""Both sides of the benchmark have the same networks: the same loss, and the same gradient of every weight."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark.cases import config_of
from mnistsum.data import pair, scale
from mnistsum.models import Model, build, parameters, with_parameters
from mnistsum.objective import objective
from mnistsum.train import split_keys

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # PyTorch's own
]


@pytest.mark.parametrize("network", ["compact", "reference"])
def test_the_twins_have_the_same_loss_and_the_same_gradient_of_every_weight(network, mnist):
    torch = pytest.importorskip("torch", reason="the extra `pytorch` is not installed")
    from experiments.benchmark.pytorch import TorchTraining, copy_weights, twin_of

    config = config_of(network)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype="float32"))
    model = jax.jit(build, static_argnums=0)(config.model, split_keys(0).init)
    numbers = np.arange(32) % 10
    images, labels = (jnp.asarray(part[:32]) for part in mnist.train)
    batch = pair(scale(config.data, images), labels, jnp.asarray(numbers))

    def loss(params: Model):
        return objective(config.objective, with_parameters(model, params)(batch.image, batch.number), batch)

    ours, gradient = jax.jit(jax.value_and_grad(loss))(parameters(model))
    twin, gradient_twin = twin_of(config), twin_of(config)
    copy_weights(model, twin)
    side = TorchTraining(twin, mnist.train, config.optimizer)
    theirs = side.loss(twin, torch.arange(32), torch.tensor(numbers))
    theirs.backward()
    np.testing.assert_allclose(float(ours), theirs.item(), rtol=1e-5)
    copy_weights(gradient, gradient_twin)  # our gradient, in their layout
    for (name, leaf), expected in zip(gradient_twin.named_parameters(), twin.parameters(), strict=True):
        # As a whole: if a ReLU's input is almost zero, rounding decides whether single gradients pass.
        assert torch.linalg.norm(leaf - expected.grad) <= 1e-3 * torch.linalg.norm(expected.grad), name
        assert torch.linalg.norm(expected.grad) > 0, name
