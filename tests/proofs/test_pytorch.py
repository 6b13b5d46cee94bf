"""Both sides of the benchmark have the same networks: the same loss, and the same gradient of every weight."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import benchmark
from mnistsum.data import pair, scale
from mnistsum.models import parameters, with_parameters
from mnistsum.objective import objective

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # PyTorch's own
]


@pytest.mark.parametrize("config", [benchmark.BASE, benchmark.REFERENCE], ids=["base", "reference"])
def test_the_twins_have_the_same_loss_and_the_same_gradient_of_every_weight(config, mnist):
    torch = pytest.importorskip("torch", reason="the extra `pytorch` is not installed")
    twins = pytest.importorskip("experiments.twins")
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype="float32"))
    model = benchmark.our_model(config.model)
    images, labels, numbers = mnist.train.images[:32], mnist.train.labels[:32], np.arange(32) % 10
    batch = pair(scale(config.data.scaling, jnp.asarray(images)), jnp.asarray(labels), jnp.asarray(numbers))

    def loss(params):
        return objective(config.objective, with_parameters(model, params)(batch.image, batch.number), batch)

    ours, gradient = jax.jit(jax.value_and_grad(loss))(parameters(model))
    twin, expected = twins.make_twin(config.model), twins.make_twin(config.model)
    twins.copy_weights(model, twin)
    twins.copy_weights(gradient, expected)  # our gradient, in their layout
    pixels = torch.tensor(images).permute(0, 3, 1, 2)
    theirs = twins.loss(twin, pixels, torch.tensor(labels).long(), torch.tensor(numbers))
    theirs.backward()
    np.testing.assert_allclose(float(ours), theirs.item(), rtol=1e-5)
    for (name, found), leaf in zip(twin.named_parameters(), expected.parameters(), strict=True):
        # As a whole, and loosely: if a ReLU's input is almost zero, rounding decides whether its gradient passes.
        assert torch.linalg.norm(found.grad - leaf) <= 1e-2 * torch.linalg.norm(leaf), name
        assert torch.linalg.norm(leaf) > 0, name
