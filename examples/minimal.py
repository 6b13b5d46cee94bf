"""The whole system on one page: train a network that reads and adds, then test it.

`python examples/minimal.py` takes about a minute on two CPU cores. The programs in
experiments/ train in the same way, with progress, checkpoints, reports and comparisons.
Each name that is imported here has a page in the documentation.
"""

import time

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import mnistsum
from mnistsum.config import AugmentConfig, DataConfig
from mnistsum.data import augment, draw_epoch, pair, scale
from mnistsum.models.flax_layers import quick_max_pool, speed_up
from mnistsum.objective import negative_log_likelihood

EPOCHS, BATCH = 3, 128
SHIFTED = AugmentConfig(
    shift=2
)  # each image is moved by up to two pixels, anew in each step


class Network(nnx.Module):
    """Two inputs, an image and a one-hot number; logits of digit and sum."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(
            1, 16, (5, 5), strides=2, padding="VALID", rngs=rngs
        )  # 28x28 to 12x12
        self.conv2 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.conv3 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.norms = nnx.List(
            [nnx.BatchNorm(width, momentum=0.9, rngs=rngs) for width in (16, 32, 64)]
        )
        self.digit = nnx.Linear(64 * 6 * 6, 10, rngs=rngs)
        self.hidden = nnx.Linear(20, 128, rngs=rngs)
        self.sum = nnx.Linear(128, 19, rngs=rngs)

    def __call__(self, image, number):
        x = nnx.relu(self.norms[0](self.conv1(image)))
        x = quick_max_pool(nnx.relu(self.norms[1](self.conv2(x))), (2, 2), (2, 2))
        x = nnx.relu(self.norms[2](self.conv3(x)))
        digit = self.digit(x.reshape(len(x), -1))
        hidden = self.hidden(jnp.concatenate([jax.nn.softmax(digit), number], 1))
        return digit, self.sum(nnx.relu(hidden))


def loss(params, graph, statistics, batch):
    """Return the mean of both losses, and the batch norms' statistics."""
    network = nnx.merge(graph, params, statistics, copy=True)
    network.train()
    digit, total = network(batch.image, batch.number)
    mean = (
        negative_log_likelihood(digit, batch.label)
        + negative_log_likelihood(total, batch.sum)
    ).mean() / 2
    return mean, nnx.split(network, nnx.Param, ...)[2]


def main() -> None:
    """Train, and print the accuracies on the test images with all ten numbers."""
    print(f"training for {EPOCHS} epochs, after compiling for some seconds", flush=True)
    start = time.time()
    data = mnistsum.load(DataConfig())
    n = len(data.train.labels)
    images, labels = map(jnp.asarray, data.train)
    init, order, number, shift = jax.random.split(
        jax.random.key(0), 4
    )  # one key for each purpose
    network = Network(nnx.Rngs(init))
    speed_up(
        network, "float32"
    )  # convolutions as matrix products, which are much faster on CPUs
    graph, params, statistics = nnx.split(network, nnx.Param, ...)
    steps = n // BATCH
    tx = optax.adamw(optax.cosine_onecycle_schedule(EPOCHS * steps, 5e-3))
    opt_state = tx.init(params)

    @jax.jit
    def step(params, statistics, opt_state, i, chosen, numbers):
        pixels = augment(SHIFTED, jax.random.fold_in(shift, i), images[chosen])
        batch = pair(scale("standard", pixels), labels[chosen], numbers[chosen])
        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(
            params, graph, statistics, batch
        )
        updates, opt_state = tx.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), statistics, opt_state, value

    for epoch in range(EPOCHS):
        drawn = draw_epoch(order, number, epoch, n)
        for i in range(steps):
            chosen = drawn.order[i * BATCH : (i + 1) * BATCH]
            state = step(
                params, statistics, opt_state, epoch * steps + i, chosen, drawn.numbers
            )
            params, statistics, opt_state, value = state
        print(
            f"epoch {epoch + 1}: loss {value:.4f} of the last batch, after "
            f"{time.time() - start:.0f} s"
        )

    trained = nnx.merge(graph, params, statistics)
    trained.eval()
    state = nnx.split(trained)

    @jax.jit
    def predict(
        image,
    ):  # with all ten numbers; what does not depend on the number is computed once
        def logits(number):
            return nnx.merge(*state)(
                image, jnp.broadcast_to(jax.nn.one_hot(number, 10), (len(image), 10))
            )

        digit, sums = jax.vmap(logits, out_axes=(None, 1))(jnp.arange(10))
        return digit.argmax(-1), sums.argmax(-1)

    test_images, test_labels = map(jnp.asarray, data.test)
    parts = [
        predict(scale("standard", test_images[i : i + 500]))
        for i in range(0, len(test_labels), 500)
    ]
    digit, sums = (jnp.concatenate(part) for part in zip(*parts, strict=True))
    right = (
        (digit == test_labels).mean(),
        (sums == test_labels[:, None] + jnp.arange(10)[None]).mean(),
    )
    print(
        f"test: digit {right[0]:.2%}, sum {right[1]:.2%}, after "
        f"{time.time() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
