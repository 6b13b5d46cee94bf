"""Assertions that any architecture must pass, here and in tests of your own: `check(ModelConfig(classifier="mine"))`.

Each raises an AssertionError that says what does not hold. They run on random images, in seconds, through jit.
"""

from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnistsum.config import DataConfig, ModelConfig, ObjectiveConfig, OptimizerConfig
from mnistsum.data import pair
from mnistsum.evaluation import evaluate
from mnistsum.models import Model, build
from mnistsum.models.summary import count_parameters
from mnistsum.objective import objective
from mnistsum.optimizer import optimizer
from mnistsum.types import Batch, Split

KEY = jax.random.key(0)
N = 32  # examples


def examples() -> Batch:
    """32 images of random blobs, each with a random label and number."""
    image, label, number = jax.random.split(KEY, 3)
    labels, numbers = (jax.random.randint(key, (N,), 0, 10) for key in (label, number))
    blobs = jax.image.resize(jax.random.normal(image, (N, 7, 7, 1)), (N, 28, 28, 1), "bilinear")
    return pair(blobs, labels, numbers)


def check(config: ModelConfig, parameters: int | None = None) -> None:
    """Runs all the checks of this module on an architecture; `parameters` pins their count."""
    if parameters is not None:
        found = count_parameters(config)
        assert found == parameters, f"expected {parameters:,} parameters, found {found:,}"
    for one in CHECKS:
        one(config)


def check_shapes(config: ModelConfig) -> None:
    """All leaves are float32 parameters; logits are [batch, 10] and [batch, 19], features as wide as they say."""
    model = jax.eval_shape(partial(build, config), KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype("float32")}, "a leaf is not float32"
    batch = examples()
    features, digit = jax.eval_shape(lambda model: model.classify(batch.image), model)
    assert features.shape == (N, model.classifier.features), f"features: found {features.shape}"
    logits = jax.eval_shape(lambda model: model(batch.image, batch.number), model)
    assert (digit.shape, logits.digit.shape, logits.sum.shape) == ((N, 10), (N, 10), (N, 19)), f"logits: {logits}"


def check_jit_equals_eager(config: ModelConfig) -> None:
    """The loss and every leaf of its gradient are the same compiled and not."""
    model, of = build(config, KEY), jax.value_and_grad(_loss)
    # A coarser bound where operands are rounded to bfloat16: another order of sums rounds otherwise.
    bound = 1e-4 if config.dtype == "float32" else 0.1
    for path, a, b in _pairs(jax.jit(of)(model, examples()), of(model, examples())):
        scale = float(np.abs(b).max()) + 1e-3
        assert np.abs(a - b).max() <= bound * scale, f"{path}: jit and eager differ"


def check_traced_once(config: ModelConfig) -> None:
    """New images and new parameters of the same shapes do not compile again."""
    forward = jax.jit(chex.assert_max_traces(lambda model, batch: model(batch.image, batch.number), n=1))
    for seed in range(3):
        model = jax.jit(build, static_argnums=0)(config, jax.random.key(seed))
        forward(model, examples()._replace(image=jnp.full((N, 28, 28, 1), float(seed))))
    chex.clear_trace_counter()


def check_vmapped_step_equals_single_steps(config: ModelConfig) -> None:
    """One training step of three seeds at once gives each what it gets alone (rtol 1e-5)."""

    def step(key):
        model = build(config, key)
        gradient = jax.grad(_loss)(model, examples())
        return jax.tree.map(lambda parameter, slope: parameter - 0.1 * slope, model, gradient)

    keys = jax.random.split(KEY, 3)
    stacked = jax.jit(jax.vmap(step))(keys)
    bound = 1e-5 if config.dtype == "float32" else 1e-2
    for seed, alone in enumerate(map(jax.jit(step), keys)):
        for path, a, b in _pairs(jax.tree.map(lambda leaf, i=seed: leaf[i], stacked), alone):
            np.testing.assert_allclose(a, b, rtol=bound, atol=bound, err_msg=f"{path}: vmapped and single differ")


def check_permutation(config: ModelConfig) -> None:
    """A permuted batch permutes the logits: no example sees another."""
    model, batch = build(config, KEY), examples()
    order = jax.random.permutation(KEY, N)
    forward = jax.jit(type(model).__call__)
    permuted = forward(model, batch.image[order], batch.number[order])
    for path, a, b in _pairs(permuted, jax.tree.map(lambda x: x[order], forward(model, batch.image, batch.number))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=f"{path}: an example depends on its place")


def check_padding(config: ModelConfig) -> None:
    """Evaluation in padded batches answers as in one whole batch."""
    images = jax.random.randint(KEY, (N, 28, 28, 1), 0, 256).astype(jnp.uint8)
    split = Split(np.asarray(images), np.arange(N, dtype=np.int32) % 10)
    model = build(config, KEY)
    for path, a, b in _pairs(evaluate(DataConfig(), model, split, 20), evaluate(DataConfig(), model, split, N)):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=f"{path}: padding changes the answer")


def check_digit_ignores_number(config: ModelConfig) -> None:
    """The derivative of the digit logits by the number is zero, that of the sum logits is not."""
    model, batch = build(config, KEY), examples()
    jacobian = jax.jit(jax.jacobian(lambda number: tuple(model(batch.image[:2], number))))
    digit, total = jacobian(batch.number[:2])
    assert not digit.any(), "the digit depends on the number"
    assert total.any(), "the sum does not depend on the number"


def check_gradients(config: ModelConfig) -> None:
    """The loss reaches every parameter; the sum's loss reaches the classifier, or does not where the config cuts it."""
    model, batch = build(config, KEY), examples()
    both = jax.jit(jax.grad(_loss))(model, batch)
    for path, leaf in jax.tree.leaves_with_path(both):
        assert leaf.any(), f"{jax.tree_util.keystr(path)}: no gradient reaches it"
    only_sum = jax.jit(jax.grad(partial(_loss, weight=0.0)))(model, batch)
    reached = any(leaf.any() for leaf in jax.tree.leaves(only_sum.classifier))
    assert reached == config.adder_gradient, f"the sum's gradient reaches the classifier: {reached}"


def check_learns(config: ModelConfig) -> None:
    """32 examples are learned to 100 % of both outputs within 300 steps of Adam."""
    batch = examples()
    rule = optimizer(OptimizerConfig(name="adamw", learning_rate=1e-2, momentum=0.9, schedule="one_cycle"), 300)

    @jax.jit
    def train(model):
        def step(_, carry):
            model, state = carry
            updates, state = rule.update(jax.grad(_loss)(model, batch), state, model)
            return optax.apply_updates(model, updates), state

        return jax.lax.fori_loop(0, 300, step, (model, rule.init(model)))[0]

    logits = jax.jit(Model.__call__)(train(build(config, KEY)), batch.image, batch.number)
    right = [(logits.digit.argmax(-1) == batch.label).mean(), (logits.sum.argmax(-1) == batch.sum).mean()]
    assert min(right) == 1.0, f"after 300 steps, digit {right[0]:.0%} and sum {right[1]:.0%} of 32 examples are right"


CHECKS: tuple[Callable[[ModelConfig], None], ...] = (
    check_shapes,
    check_jit_equals_eager,
    check_traced_once,
    check_vmapped_step_equals_single_steps,
    check_permutation,
    check_padding,
    check_digit_ignores_number,
    check_gradients,
    check_learns,
)


def _loss(model: Model, batch: Batch, weight: float = 0.5):
    return objective(ObjectiveConfig(digit_weight=weight), model(batch.image, batch.number), batch)[0]


def _pairs(left, right):
    """Path and both values of each leaf."""
    for (path, a), b in zip(jax.tree.leaves_with_path(left), jax.tree.leaves(right), strict=True):
        yield jax.tree_util.keystr(path), np.asarray(a), np.asarray(b)
