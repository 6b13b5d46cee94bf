"""Assertions that any architecture must pass, here and in your own tests.

`check(ModelConfig(classifier="mine"))` makes them all.

Each check raises an AssertionError that says what failed, or the network's own error.
The checks run on random images, under jit. Those in QUICK take seconds, all of them
about a minute.
"""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from mnistsum.config import (
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainingConfig,
    check_config,
)
from mnistsum.data import pair
from mnistsum.evaluation import evaluate
from mnistsum.models import (
    Model,
    abstract_model,
    build,
    in_training,
    parameters,
    with_values,
)
from mnistsum.objective import (
    batch_metrics,
    group_size,
    held_out_cells,
    objective,
)
from mnistsum.storage import name_arrays
from mnistsum.train import Spec, init_state, make_spec, split_keys, train_step
from mnistsum.types import Batch, Split, TrainState

# of the key, made on demand: at import, it would start JAX before a program has
# configured it
SEED = 0
N = 32  # examples
UNKEYED = "a random number or a counter outside the keys"


def random_batch(n: int = N) -> Batch:
    """Return `n` images of random blobs, each with a random label and number."""
    image, label, number = jax.random.split(jax.random.key(SEED), 3)
    labels, numbers = (jax.random.randint(key, (n,), 0, 10) for key in (label, number))
    blobs = jax.image.resize(
        jax.random.normal(image, (n, 7, 7, 1)), (n, 28, 28, 1), "bilinear"
    )
    return pair(blobs, labels, numbers)


def check(config: ModelConfig) -> None:
    """Run all the checks of this module on an architecture.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.testing import check_shapes
        >>> check_shapes(ModelConfig(classifier="mlp", widths=(8,)))  # one of nine
    """
    check_config(ModelConfig, config)
    for one in CHECKS:
        # an output layer of zeros would hide faults
        one(dataclasses.replace(config, zero_output=False))


def check_shapes(config: ModelConfig) -> None:
    """Check the shapes of logits and features in both modes."""
    batch = random_batch()

    def forward(model: Model) -> None:  # the model itself checks what its parts return
        for mode in (model, in_training(model, jax.random.key(SEED))):
            mode(batch.image, batch.number)

    jax.eval_shape(forward, abstract_model(config))


def check_independence(config: ModelConfig) -> None:
    """Check that predictions are finite and do not depend on other examples."""
    model = build(config, jax.random.key(SEED))
    images = jax.random.randint(jax.random.key(SEED), (N, 28, 28, 1), 0, 256).astype(
        jnp.uint8
    )
    split = Split(np.asarray(images), np.arange(N, dtype=np.int32) % 10)
    order = np.random.default_rng(0).permutation(N)[:20]
    whole = evaluate(DataConfig(), model, split, N)
    for path, values in name_arrays(whole).items():
        assert np.isfinite(values).all(), (
            f"{path}: not finite for random images and initial weights"
        )
    part = evaluate(DataConfig(), model, Split(*(field[order] for field in split)), N)
    for path, a, b in _pairs(part, whole):
        _assert_close(
            a,
            b[order],
            1e-3,
            f"{path} depends on the other examples, or on an example's place",
        )


def check_digit_ignores_number(config: ModelConfig) -> None:
    """Check that the number changes the sum's logits, but not the digit's."""
    model, batch = build(config, jax.random.key(SEED)), random_batch()
    logits = [
        _forward(model, batch.image, jnp.roll(batch.number, by, axis=-1))
        for by in range(10)
    ]
    digits = np.stack([each.digit for each in logits])
    sums = np.stack([each.sum for each in logits])
    _assert_close(digits, digits[:1], 1e-5, "the digit depends on the number")
    assert (sums != sums[:1]).any((0, 2)).all(), "the sum does not depend on the number"


def check_keys(config: ModelConfig) -> None:
    """Check that weights and predictions depend on keys alone.

    They must not depend on NumPy's random numbers or on earlier calls.
    """
    once, again, other = (build(config, jax.random.key(seed)) for seed in (0, 0, 1))
    for path, a, b in _pairs(once, again):
        assert (a == b).all(), f"{path}: two builds from one key differ: {UNKEYED}"
    for path, a, b in _pairs(once, other):
        assert not np.ptp(a) or (a != b).any(), (
            f"{path}: two keys give the same initial weights"
        )
    batch = random_batch()
    for path, a, b in _pairs(*(once(batch.image, batch.number) for _ in range(2))):
        assert (a == b).all(), f"{path}: two calls differ: {UNKEYED}"


def check_jit_equals_eager(config: ModelConfig) -> None:
    """Check that the loss and its gradient are the same with and without jit."""
    arguments = ObjectiveConfig(), build(config, jax.random.key(SEED)), random_batch()
    # The bound is looser with bfloat16 operands because another order of sums rounds
    # differently.
    bound = 1e-4 if config.dtype == "float32" else 0.1
    pairs = list(
        _pairs(_jitted_loss_and_gradient(*arguments), _loss_and_gradient(*arguments))
    )
    # Some gradients are zero except for rounding, such as that of a bias before a batch
    # norm. Do not compare these.
    rounding = 1e-6 * max(np.abs(b).max() for _, _, b in pairs[1:])
    for path, a, b in pairs:
        error = np.abs(a - b).max()
        assert error <= bound * (np.abs(b).max() + 1e-3) + rounding, (
            f"{path}: jit and eager differ by {error:.2g}"
        )


def check_traced_once(config: ModelConfig) -> None:
    """Check that new images and parameters do not trigger recompilation."""
    batch = random_batch()
    forward = jax.jit(
        chex.assert_max_traces(lambda model, *inputs: model(*inputs), n=1)
    )
    for seed in range(3):
        forward.trace(
            build(config, jax.random.key(seed)),
            jnp.full_like(batch.image, seed),
            batch.number,
        )
    chex.clear_trace_counter()


def check_vmapped_step_equals_single_steps(config: ModelConfig) -> None:
    """Check that a vmapped step gives three seeds the results of their own."""
    spec = _spec(
        config,
        OptimizerConfig(
            name="sgd", learning_rate=0.1, momentum=0.0, schedule="constant"
        ),
        1,
    )
    batch = random_batch()

    def init(seed: int | jax.Array) -> TrainState:
        return init_state(spec, split_keys(seed))

    def step(seed: int | jax.Array, state: TrainState) -> Model:
        return train_step(spec, split_keys(seed).dropout, state, batch).model

    seeds = jnp.arange(3)
    stacked = jax.jit(jax.vmap(step))(seeds, jax.vmap(init)(seeds))
    alone = jax.jit(step)
    bound = 1e-5 if config.dtype == "float32" else 1e-2
    for seed in range(3):
        for path, a, b in _pairs(stacked, alone(seed, init(seed))):
            _assert_close(a[seed], b, bound, f"{path}: vmapped and single differ")


def check_gradients(config: ModelConfig) -> None:
    """Check that the loss has a gradient for every parameter.

    That of the sum must reach the classifier, unless `adder_gradient` is off.
    """
    missing = unreached(Config(model=config))
    assert not missing, f"no gradient reaches {', '.join(missing)}"
    model = build(config, jax.random.key(SEED))
    # Not under jit: this saves a compilation, as `check_jit_equals_eager` has compiled
    # the single operations.
    _, gradient = _loss_and_gradient(
        ObjectiveConfig(digit_weight=0.0), model, random_batch()
    )
    reached = any(leaf.any() for leaf in jax.tree.leaves(gradient["classifier"]))
    assert reached == config.adder_gradient, (
        f"the sum's gradient reaches the classifier: {reached}"
    )


def check_learns(config: ModelConfig) -> None:
    """Check that 300 steps of Adam learn 32 examples to 100 % accuracy."""
    batch, keys = random_batch(), split_keys(0)
    spec = _spec(
        config, OptimizerConfig(name="adamw", learning_rate=1e-2, momentum=0.9), 300
    )

    # At a higher level of optimization, XLA takes longer to compile this program than
    # it saves.
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
    def train(state: TrainState) -> TrainState:
        return jax.lax.fori_loop(
            0, 300, lambda _, state: train_step(spec, keys.dropout, state, batch), state
        )

    model = train(init_state(spec, keys)).model
    logits = _forward(model, batch.image, batch.number)
    right = batch_metrics(jnp.float32(0), logits, batch)
    digits, sums = right.digit_correct, right.sum_correct
    assert digits == sums == N, (
        f"after 300 steps, {digits} digits and {sums} sums of {N} examples are right"
    )


def check_objective(config: Config) -> None:
    """Check that the objective honors `held_out` and `digit_weight`.

    The sum of a held-out pair and an output of weight 0 must not contribute to the
    gradient.
    """
    batch, settings = _batch_of(config.objective), config.objective
    logits = build(config.model, jax.random.key(SEED))(batch.image, batch.number)
    gradient = jax.grad(partial(objective, settings))(logits, batch)
    cells = held_out_cells(settings)[batch.label, batch.number.argmax(-1)]
    assert not np.any(gradient.sum[cells]), (
        f"objective {settings.name} ignores held_out={settings.held_out}"
    )
    equal = dataclasses.replace(settings, digit_weight=0.5)
    if settings != equal:
        message = (
            f"objective {settings.name} ignores digit_weight={settings.digit_weight:g}"
        )
        assert objective(settings, logits, batch) != objective(equal, logits, batch), (
            message
        )
        assert settings.digit_weight > 0 or not np.any(gradient.digit), message
        assert settings.digit_weight < 1 or not np.any(gradient.sum), message


def unreached(config: Config) -> list[str]:
    """Return the names of parameters that no gradient of the config's loss reaches."""
    model = build(config.model, jax.random.key(SEED))
    _, gradient = _jitted_loss_and_gradient(
        config.objective, model, _batch_of(config.objective)
    )
    return [name for name, leaf in name_arrays(gradient).items() if not leaf.any()]


def _batch_of(objective: ObjectiveConfig) -> Batch:
    """Return random images, as many as make whole examples of the objective."""
    example = group_size(objective)
    return random_batch(-(-N // example) * example)


# A comparison runs these, in seconds, on each architecture before it trains any.
QUICK = (check_shapes, check_independence, check_digit_ignores_number, check_keys)
CHECKS = (
    *QUICK,
    check_jit_equals_eager,
    check_traced_once,
    check_vmapped_step_equals_single_steps,
    check_gradients,
    check_learns,
)


def _spec(config: ModelConfig, optimizer: OptimizerConfig, steps: int) -> Spec:
    """Return a spec that trains on all of the examples in each step."""
    training = TrainingConfig(epochs=float(steps), batch_size=N)
    return make_spec(Config(model=config, optimizer=optimizer, training=training), N)


def _loss_and_gradient(
    settings: ObjectiveConfig, model: Model, batch: Batch
) -> tuple[jax.Array, PyTree]:
    """Return the loss in training mode and its gradient."""

    def loss(params: PyTree) -> jax.Array:
        trained = in_training(with_values(model, params), jax.random.key(SEED))
        return objective(settings, trained(batch.image, batch.number), batch)

    return jax.value_and_grad(loss)(parameters(model))


# The checks share these, so that each is compiled once for an architecture.
_jitted_loss_and_gradient = jax.jit(_loss_and_gradient, static_argnums=0)
_forward = jax.jit(Model.__call__)


def _assert_close(a: np.ndarray, b: np.ndarray, bound: float, message: str) -> None:
    """Assert that both are equal within an absolute and relative bound."""
    assert np.allclose(a, b, rtol=bound, atol=bound), (
        f"{message} (by up to {np.abs(a - b).max():.2g})"
    )


def _pairs(left, right):
    """Yield the name and both values of each leaf."""
    for (name, a), b in zip(
        name_arrays(left).items(), jax.tree.leaves(right), strict=True
    ):
        yield name, np.asarray(a), np.asarray(b)
