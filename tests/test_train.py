"""Training: what a step sees and does, and that a stopped run loses nothing.

In this process, XLA's optimizations are off (conftest.py). test_kill.py and test_run.py
compare the bits of the optimized program, in processes of their own.
"""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments.cli import config_names, load_config
from mnistsum.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainingConfig,
)
from mnistsum.data import abstract_split, draw_epoch, pair, scale
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate_batch
from mnistsum.models import parameters
from mnistsum.models.adders import ADDERS
from mnistsum.models.layers import Dense
from mnistsum.objective import weighted
from mnistsum.optimizer import muon
from mnistsum.registry import added_names
from mnistsum.storage import restore, save_checkpoint
from mnistsum.train import (
    advance,
    begin_epoch,
    draw_batch,
    init_state,
    lower_training,
    make_spec,
    split_keys,
    train_step,
    trained_model,
)

N = 256
STEPS = 24  # three epochs of eight
KEYS = split_keys(0)
START, STEP, DRAW = (
    jax.jit(function, static_argnums=0)
    for function in (init_state, train_step, draw_batch)
)
EPOCH = jax.jit(begin_epoch, static_argnums=(0, 3))
SGD = OptimizerConfig(name="sgd", learning_rate=0.2, momentum=0.0, schedule="constant")


def equal(a, b):
    leaves = zip(*map(jax.tree.leaves, (a, b)), strict=True)
    return all((x == y).all() for x, y in leaves)


class Normed(nnx.Module):
    """One layer with a batch norm and dropout, which are in the state."""

    def __init__(self, config, rngs, momentum=0.9):
        self.features = 8
        self.hidden = Dense(config, 784, 8, rngs)
        self.norm = nnx.BatchNorm(8, momentum=momentum, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.output = Dense(config, 8, 10, rngs)

    def __call__(self, image):
        hidden = jax.nn.relu(self.hidden(image.reshape(len(image), 784)))
        features = self.dropout(self.norm(hidden))
        return features, self.output(features)


def noisy(config, rate):
    """Muon, with gradients times a number drawn from a key in the state."""

    def scaled(updates, key, _):
        key, draw = jax.random.split(key)
        return optax.tree.scale(jax.random.uniform(draw), updates), key

    return optax.chain(
        optax.GradientTransformation(lambda _: jax.random.key(0), scaled),
        muon(config, rate),
    )


@pytest.fixture(scope="module")
def whole(config):
    """A config with batch norm, dropout and random updates, too."""
    model = ModelConfig(classifier="normed", hidden=16)
    rule = replace(config.optimizer, name="noisy")
    with added_names(CLASSIFIERS={"normed": Normed}, OPTIMIZERS={"noisy": noisy}):
        yield replace(config, model=model, optimizer=rule)


@pytest.fixture(scope="module")
def spec(whole):
    return make_spec(whole, N)


@pytest.fixture(scope="module")
def start(spec):
    return START(spec, KEYS)


@pytest.fixture(scope="module")
def go(spec, train):
    """Return the compiled `advance`, which uses up a copy of the state."""
    compiled = lower_training(spec, N)[1].compile()

    def go(state, until, keys=KEYS):
        given = jax.tree.map(jnp.copy, state)
        after = compiled(keys, given, train, np.int32(until))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given.model))
        return after

    return go


@pytest.fixture(scope="module")
def batch(train):
    """The first 32 images, as they are."""
    return pair(
        scale(ModelConfig().scaling, train.images[:32]),
        train.labels[:32],
        jnp.arange(32) % 10,
    )


@pytest.fixture(scope="module")
def never_stopped(start, go):
    return go(start, STEPS)


def test_steps_by_hand(config):
    few = replace(config, data=DataConfig(train_images=64))
    short = replace(config, training=TrainingConfig(epochs=0.3, batch_size=32))
    for each, n, steps in (
        (config, N + 31, (8, 24)),
        (short, N, (8, 2)),
        (few, N, (2, 6)),
    ):
        spec = make_spec(each, n)
        assert (spec.steps_per_epoch, spec.steps) == steps
    with pytest.raises(InputError, match=r"data.train_images.* 63 .* 64"):
        make_spec(few, 63)


def test_seed_name_and_place_of_the_data_are_not_in_a_spec(config):
    elsewhere = DataConfig(name="kmnist", dir="elsewhere", validation=3, test_shift=2)
    other = replace(config, seed=7, name="other", data=elsewhere)
    assert make_spec(other, N) == make_spec(config, N)
    unit = replace(config, model=replace(config.model, scaling="unit"))
    assert make_spec(unit, N) != make_spec(config, N)


@pytest.mark.parametrize("size", [32, 64])
def test_batches_of_any_size_are_the_images_of_an_epoch_in_its_order(
    config, train, size
):
    """The numbers are those of the images, whatever the size."""
    training = TrainingConfig(batch_size=size)
    plain = make_spec(replace(config, augment=AugmentConfig(), training=training), N)
    steps = range(plain.steps_per_epoch, 2 * plain.steps_per_epoch)  # the second epoch
    epoch = EPOCH(plain, KEYS, steps[0], N)
    batches = [DRAW(plain, KEYS, step, train, epoch) for step in steps]
    found = jax.tree.map(lambda *fields: np.concatenate(fields), *batches)
    numbers = draw_epoch(KEYS.order, KEYS.number, 1, N).numbers
    every = pair(scale(ModelConfig().scaling, train.images), train.labels, numbers)
    expected = jax.tree.map(lambda field: field[epoch.order], every)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_the_compiled_loop_agrees_with_single_steps(spec, start, go, train):
    single = state = start
    for i in range(20):  # into the third epoch
        batch = DRAW(spec, KEYS, i, train, EPOCH(spec, KEYS, i, N))
        single, state = STEP(spec, KEYS.dropout, single, batch), go(state, i + 1)
        assert state.step == i + 1
        both = [(each.model, each.average, each.metrics) for each in (state, single)]
        chex.assert_trees_all_close(*both, rtol=1e-5, atol=1e-6)
    assert equal(state, go(start, 20))
    assert equal(go(state, STEPS), go(state, STEPS + 3))


def plain_step(config, batch):
    """Return the state before and after a step with a batch."""
    spec = make_spec(config, N)
    start = START(spec, KEYS)
    return start, STEP(spec, KEYS.dropout, start, batch)


@pytest.fixture(scope="module")
def weighed(config):
    return replace(config, optimizer=SGD, objective=ObjectiveConfig(digit_weight=0.25))


def test_a_step_of_sgd_by_hand(weighed, batch):
    """Weights minus the learning rate times the gradient of the plain model's loss."""
    before, after = plain_step(weighed, batch)

    def likelihood(logits, truth):
        return jax.nn.log_softmax(logits)[jnp.arange(32), truth].mean()

    def loss(model):
        logits = model(batch.image, batch.number)
        digit = likelihood(logits.digit, batch.label)
        total = likelihood(logits.sum, batch.sum)
        return -(0.25 * digit + 0.75 * total)

    value, gradient = jax.jit(jax.value_and_grad(loss))(before.model)
    expected = jax.tree.map(lambda w, slope: w - 0.2 * slope, before.model, gradient)
    chex.assert_trees_all_close(after.model, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.metrics.loss, 32 * value, rtol=1e-5)


class Fined(ADDERS["concat"]):
    """An adder with a loss term of its own: the squared norm of its hidden kernel."""

    def penalty(self, features, digit, number):
        norm = 0.5 * (self.hidden.kernel[...] ** 2).sum()
        return jnp.full(len(number), norm)


def test_a_penalty_is_added_to_the_loss_by_its_weight(weighed, batch):
    """Its gradient, too."""
    objective = replace(weighed.objective, penalty_weight=2.5)
    model = replace(weighed.model, adder="fined")
    with added_names(ADDERS={"fined": Fined}):
        _, fined = plain_step(replace(weighed, model=model, objective=objective), batch)
    start, plain = plain_step(weighed, batch)
    before, after, without = (
        state.model.adder.hidden.kernel[...] for state in (start, fined, plain)
    )
    more = fined.metrics.loss - plain.metrics.loss
    penalty = 1.25 * (before**2).sum()
    np.testing.assert_allclose(more, 32 * penalty, rtol=1e-3)
    expected = without - 0.2 * 2.5 * before
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_every_step_distorts_anew(spec, train):
    # All images are the same: only the distortion can make them differ.
    copies = jax.tree.map(lambda array: jnp.repeat(array[:1], N, 0), train)
    epoch = EPOCH(spec, KEYS, 0, N)
    drawn = [DRAW(spec, KEYS, i, copies, epoch).image for i in (0, 1)]
    first, second = map(np.asarray, drawn)
    assert (first != second).any((1, 2, 3)).all()
    assert (first[1:] != first[:-1]).any((1, 2, 3)).all()


def test_the_average_of_the_parameters_follows_its_formula(start, go):
    average = parameters(start.model)
    state = start
    for t in range(12):
        state = go(state, t + 1)
        decay = min(0.9, (1 + t) / (10 + t))
        average = jax.tree.map(
            lambda a, w, d=decay: d * a + (1 - d) * w, average, parameters(state.model)
        )
    found = parameters(state.average)
    chex.assert_trees_all_close(average, found, rtol=1e-4, atol=1e-6)
    assert trained_model(state) is state.average


@pytest.mark.slow
@pytest.mark.parametrize("name", config_names())
def test_training_and_evaluation_lower_for_accelerators(name, monkeypatch):
    # layers choose their convolution by it
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    config = load_config(name)
    spec = make_spec(config, 55_000)
    keys = jax.eval_shape(lambda: split_keys(0))
    state = jax.eval_shape(partial(init_state, spec), keys)
    until = jax.ShapeDtypeStruct((), jnp.int32)
    # `partial` makes new functions, as JAX caches what it has traced for the CPU.
    for function, inputs in (
        (partial(advance, spec), (keys, state, abstract_split(55_000), until)),
        (partial(evaluate_batch, config.data), (state.model, abstract_split(200))),
    ):
        # none of which needs to be present
        platforms = ("cuda", "rocm", "tpu")
        exported = jax.export.export(jax.jit(function), platforms=platforms)(*inputs)
        convolves = "stablehlo.convolution" in exported.mlir_module()
        assert convolves == (name not in ("mlp", "smoke", "vit"))


def test_the_first_step_that_is_not_finite_is_noted(start, go):
    at_5 = go(start, 5)
    assert at_5.fault == -1

    def infinite(leaf):
        return leaf + jnp.inf if leaf.dtype == jnp.float32 else leaf

    for field in ("model", "opt_state"):
        harmed = jax.tree.map(infinite, getattr(at_5, field))
        for until in (6, 10):  # it stays the first
            assert go(at_5._replace(**{field: harmed}), until).fault == 5


def test_a_gradient_that_is_not_finite_is_noted(config, batch):
    def edged(config, logits, batch):  # zero, with the slope of a square root at zero
        return weighted(config, logits, batch) + jnp.sqrt(0 * logits.digit.sum())

    own = replace(config, optimizer=SGD, objective=ObjectiveConfig(name="edged"))
    with added_names(OBJECTIVES={"edged": edged}):
        _, after = plain_step(own, batch)
    assert after.fault == 0
    assert jnp.isfinite(after.metrics.loss)


@pytest.mark.parametrize(
    "average, decays",
    [(0.0, {0: 1 / 10, 1000: 0.8}), (0.95, {10: 11 / 20, 1000: 0.95})],
)
def test_statistics_of_batch_norms_follow_their_formula(whole, batch, average, decays):
    own = replace(
        whole,
        optimizer=replace(SGD, average=average),
        model=replace(whole.model, classifier="own"),
    )
    spec = make_spec(own, N)
    with added_names(CLASSIFIERS={"own": partial(Normed, momentum=0.8)}):
        start = START(spec, KEYS)
        states = [start._replace(step=jnp.int32(step)) for step in decays]
        states = [STEP(spec, KEYS.dropout, state, batch) for state in states]
    hidden = jax.nn.relu(start.model.classifier.hidden(batch.image.reshape(32, 784)))
    mean = hidden.mean(0)
    var = hidden.var(0)
    for state, decay in zip(states, decays.values(), strict=True):
        norm = trained_model(state).classifier.norm
        share = 1 - decay
        np.testing.assert_allclose(norm.mean[...], share * mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.var[...], decay + share * var, rtol=1e-3)


def test_dropout_draws_anew_each_step(spec, start, batch):
    # An epoch later, the metrics restart; all else is the same.
    steps = [start._replace(step=jnp.int32(step)) for step in (0, 8)]
    first, second = (STEP(spec, KEYS.dropout, state, batch) for state in steps)
    assert first.metrics.loss != second.metrics.loss


def test_a_golden_run(go, spec):
    """The results on two versions of JAX: a change of the algorithm shows here."""
    keys = split_keys(3)
    state = START(spec, keys)
    for until, examples, *golden in (
        (1, 32, 3.600109, 474.1181, 474.1181),
        (8, 256, 3.569112, 473.1289, 473.3443),
        (17, 32, 2.753833, 474.4082, 474.6533),
        (24, 256, 2.766592, 475.1900, 475.3283),
    ):
        state = go(state, until, keys)
        assert state.metrics.examples == examples  # of the epoch
        sizes = [optax.tree.norm(tree, ord=1) for tree in (state.model, state.average)]
        found = [state.metrics.loss / examples, *sizes]
        np.testing.assert_allclose(found, golden, rtol=1e-5)


EVERY_STOP = [range(1, STEPS), *((step,) for step in range(1, STEPS + 1))]
SLOW_STOPS = [pytest.param(stops, marks=pytest.mark.slow) for stops in EVERY_STOP]


@pytest.mark.parametrize("stops", [(1, 8, 21), *SLOW_STOPS], ids=str)
def test_a_run_stopped_at_any_step_ends_with_the_same_bits(
    whole, start, go, never_stopped, tmp_path, stops
):
    state = start
    for stop in stops:
        save_checkpoint(tmp_path, whole, go(state, stop), {})
        state = restore(tmp_path, whole).state
    assert equal(go(state, STEPS), never_stopped)


@pytest.mark.slow
def test_no_key_is_used_twice(whole, train):
    elastic = replace(whole, augment=AugmentConfig(shift=2, rotation=10.0, elastic=0.5))
    spec = make_spec(elastic, N)
    with jax.debug_key_reuse(True):
        state = START(spec, KEYS)
        for step in (1, 9):
            state = jax.jit(advance, static_argnums=0)(spec, KEYS, state, train, step)
