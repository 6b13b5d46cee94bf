"""Training: what a step sees and does, and that stopping, compiling or stacking seeds changes no result."""

import itertools
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.cli import config_names, load_config
from mnistsum.config import (
    AugmentConfig,
    DataConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainingConfig,
)
from mnistsum.data import abstract_split, draw_epoch, pair, scale
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate_batch
from mnistsum.models import abstract_model
from mnistsum.models.adders import ADDERS
from mnistsum.objective import weighted
from mnistsum.registry import added_names
from mnistsum.seeds import compile_advance_seeds, init_seeds, unstack
from mnistsum.train import (
    advance,
    draw_batch,
    init_state,
    lower_training,
    make_spec,
    split_keys,
    train_step,
    trained_model,
)

N = 256
ADVANCE = jax.jit(advance, static_argnums=0)
START = jax.jit(init_state, static_argnums=0)
STEP = jax.jit(train_step, static_argnums=0)
DRAW = jax.jit(draw_batch, static_argnums=0)
EPOCH = jax.jit(draw_epoch, static_argnums=(3, 4))
PLATFORMS = ("cuda", "rocm", "tpu")  # none of which needs to be present
SGD = OptimizerConfig(name="sgd", learning_rate=0.2, momentum=0.0, schedule="constant")


def equal(a, b) -> bool:
    return all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.fixture(scope="module")
def keys():
    return split_keys(0)


@pytest.fixture(scope="module")
def start(spec, keys):
    return START(spec, keys)


def test_steps_by_hand(config):
    short = replace(config, training=TrainingConfig(epochs=0.3, batch_size=32))
    few = replace(config, data=DataConfig(train_images=64))
    sums = replace(config, objective=ObjectiveConfig(name="written_sum", digits=3))  # six images an example
    for each, n, steps in (
        (sums, N, (8, 24)),
        (config, N, (8, 24)),
        (config, N + 31, (8, 24)),
        (short, N, (8, 2)),
        (few, N, (2, 6)),
    ):
        spec = make_spec(each, n)
        assert (spec.steps_per_epoch, spec.steps) == steps
    for each, n, message in ((config, 31, "training.batch_size.* 31 .* 32"), (few, 63, "data.train_images.* 63 .* 64")):
        with pytest.raises(InputError, match=message):
            make_spec(each, n)


def test_a_spec_is_equal_for_every_seed_name_and_place_of_the_data(config):
    other = replace(
        config, seed=7, name="other", data=DataConfig(name="kmnist", dir="elsewhere", validation=3, test_shift=2)
    )
    assert make_spec(config, N) == make_spec(other, N)
    assert hash(make_spec(config, N)) == hash(make_spec(other, N))
    unit = replace(config, data=DataConfig(scaling="unit"))
    assert make_spec(unit, N) != make_spec(config, N)


def test_the_batches_of_an_epoch_are_its_images_once_each_with_their_numbers(config, keys, train):
    plain = make_spec(replace(config, augment=AugmentConfig()), N)
    epoch = EPOCH(keys.order, keys.number, 0, N)
    batches = [DRAW(plain, keys, jnp.int32(step), train, epoch) for step in range(8)]
    found = jax.tree.map(lambda *fields: np.concatenate(fields), *batches)
    every = pair(scale(DataConfig().scaling, train.images), train.labels, epoch.numbers)
    assert sorted(epoch.order.tolist()) == list(range(N))
    chex.assert_trees_all_close(found, jax.tree.map(lambda field: field[epoch.order], every), rtol=1e-6)


def test_stopping_anywhere_gives_the_bits_of_single_steps(spec, keys, start, train):
    """XLA's optimizations are off in this process; test_kill.py and test_run.py compare bits of the optimized program.

    `advance` only equals the single steps within rounding, but its own result is the same bits wherever it stops.
    """
    state = start
    singles = []
    for i in range(20):  # into the third epoch
        epoch = EPOCH(keys.order, keys.number, i // 8, N)
        state = STEP(spec, keys.dropout, state, DRAW(spec, keys, state.step, train, epoch))
        singles.append(state)
    ends = []
    for stops in ([20], [1, 20], [7, 8, 9, 16, 20], range(1, 21)):
        state = start
        for until in stops:
            state = ADVANCE(spec, keys, state, train, jnp.int32(until))
            np.testing.assert_array_equal(state.step, until)
            chex.assert_trees_all_close(state, singles[until - 1], rtol=1e-5, atol=1e-6)
        ends.append(state)
    assert all(equal(state, ends[0]) for state in ends)
    last, beyond = (ADVANCE(spec, keys, ends[0], train, jnp.int32(spec.steps + more)) for more in (0, 3))
    assert equal(last, beyond)


def test_a_step_of_sgd_by_hand(config, keys, train):
    """Weights minus the learning rate times the loss's gradient, which `jax.grad` of the plain model also gives."""
    weighed = replace(config, optimizer=SGD, objective=ObjectiveConfig(digit_weight=0.25))
    before, after = plain_step(weighed, keys, train)
    batch = pair(scale(DataConfig().scaling, train.images[:32]), train.labels[:32], jnp.arange(32) % 10)

    def loss(model):
        logits = model(batch.image, batch.number)
        picked = [
            jax.nn.log_softmax(output_logits)[jnp.arange(32), truth]
            for output_logits, truth in ((logits.digit, batch.label), (logits.sum, batch.sum))
        ]
        return -(0.25 * picked[0].mean() + 0.75 * picked[1].mean())

    value, gradient = jax.jit(jax.value_and_grad(loss))(before.model)
    expected = jax.tree.map(lambda weight, slope: weight - 0.2 * slope, before.model, gradient)
    chex.assert_trees_all_close(after.model, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.metrics.loss, 32 * value, rtol=1e-5)


class Fined(ADDERS["concat"]):
    """An adder with a loss term of its own: the squared norm of its hidden kernel."""

    def penalty(self, features, digit, number):
        return 0.5 * (self.hidden.kernel[...] ** 2).sum()


def plain_step(config, keys, train):
    """Return the state before and after a step with the first 32 images, as they are."""
    spec = make_spec(config, N)
    start = START(spec, keys)
    batch = pair(scale(DataConfig().scaling, train.images[:32]), train.labels[:32], jnp.arange(32) % 10)
    return start, STEP(spec, keys.dropout, start, batch)


def test_an_adders_penalty_is_added_to_the_loss_and_its_gradient_flows(config, keys, train):
    plain_config = replace(config, optimizer=replace(SGD, learning_rate=1.0))
    fined_config = replace(plain_config, model=replace(config.model, adder="fined"))
    with added_names(ADDERS={"fined": Fined}):
        (start, plain), (_, fined) = (plain_step(each, keys, train) for each in (plain_config, fined_config))
    kernel = start.model.adder.hidden.kernel[...]
    np.testing.assert_allclose(fined.metrics.loss - plain.metrics.loss, 32 * 0.5 * (kernel**2).sum(), rtol=1e-3)
    after, expected = fined.model.adder.hidden.kernel[...], plain.model.adder.hidden.kernel[...] - kernel
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_every_step_distorts_anew(spec, keys, train):
    # All images are the same: only the distortion can make them differ.
    copies = jax.tree.map(lambda array: jnp.repeat(array[:1], N, 0), train)
    epoch = EPOCH(keys.order, keys.number, 0, N)
    first, again, second = (np.asarray(DRAW(spec, keys, jnp.int32(i), copies, epoch).image) for i in (0, 0, 1))
    assert (first == again).all()
    assert all((a != b).any() for a, b in [*zip(first, second, strict=True), *itertools.pairwise(first)])


def test_the_average_follows_its_formula(spec, keys, start, train):
    average = start.model
    state = start
    for t in range(12):
        state = ADVANCE(spec, keys, state, train, jnp.int32(t + 1))
        decay = min(0.9, (1 + t) / (10 + t))
        average = jax.tree.map(lambda a, w, d=decay: d * a + (1 - d) * w, average, state.model)
    chex.assert_trees_all_close(average, state.average, rtol=1e-4, atol=1e-6)
    assert trained_model(state) is state.average


def test_the_compiled_program_gives_the_same_bits_and_uses_its_state_up(spec, keys, start, train):
    kept = ADVANCE(spec, keys, start, train, jnp.int32(11))
    compiled = lower_training(spec, N)[1].compile()
    given = START(spec, keys)
    for until in (4, 11):
        before = given
        given = compiled(keys, given, train, np.int32(until))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.model))
    assert equal(given, kept)


@pytest.mark.parametrize(
    "name", [name if name == "base" else pytest.param(name, marks=pytest.mark.slow) for name in config_names()]
)
def test_training_and_evaluation_lower_for_accelerators(name, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # layers choose their convolution by it
    config = load_config(name)
    spec = make_spec(config, 55_000)
    keys = jax.eval_shape(lambda: split_keys(0))
    state, until = jax.eval_shape(partial(init_state, spec), keys), jax.ShapeDtypeStruct((), jnp.int32)
    # New functions, as JAX caches what it has traced for the CPU.
    training, evaluation = (jax.jit(partial(*each)) for each in ((advance, spec), (evaluate_batch, config.data)))
    for exported in (
        jax.export.export(training, platforms=PLATFORMS)(keys, state, abstract_split(55_000), until),
        jax.export.export(evaluation, platforms=PLATFORMS)(abstract_model(config.model), abstract_split(200)),
    ):
        assert ("stablehlo.convolution" in exported.mlir_module()) == (name not in ("mlp", "smoke", "vit"))


def test_the_first_step_with_a_number_that_is_not_finite_is_noted(spec, keys, start, train):
    at_5 = ADVANCE(spec, keys, start, train, jnp.int32(5))
    assert at_5.fault == -1
    infinite = jax.tree.map(lambda leaf: leaf + jnp.inf if leaf.dtype == jnp.float32 else leaf, at_5.opt_state)
    for harmed in (
        at_5._replace(model=jax.tree.map(lambda leaf: leaf * jnp.nan, at_5.model)),
        at_5._replace(opt_state=infinite),
    ):
        for until in (6, 10):  # it stays the first
            assert ADVANCE(spec, keys, harmed, train, jnp.int32(until)).fault == 5


def test_a_gradient_that_is_not_finite_is_noted_where_the_loss_still_is(config, keys, train):
    def edged(config, logits, batch):  # zero, with the slope of a square root at zero
        return weighted(config, logits, batch) + jnp.sqrt(0 * logits.digit.sum())

    with added_names(OBJECTIVES={"edged": edged}):
        _, after = plain_step(replace(config, objective=ObjectiveConfig(name="edged")), keys, train)
    assert after.fault == 0 and jnp.isfinite(after.metrics.loss)


@pytest.mark.slow
def test_vmapped_seeds_match_single_runs(config, train):
    averaged = replace(config, optimizer=replace(SGD, average=0.9))
    spec, until = make_spec(averaged, N, devices=1), jnp.int32(9)  # in the second epoch
    keys, start, data = init_seeds(spec, [0, 1], train)
    together = unstack(compile_advance_seeds(spec, N, 2)(keys, start, data, until), 2)
    for seed, state in enumerate(together):
        alone = ADVANCE(spec, split_keys(seed), START(spec, split_keys(seed)), train, until)
        chex.assert_trees_all_close(state, alone, rtol=1e-4, atol=1e-5)


def test_a_step_moves_the_statistics_of_batch_norms_by_their_formula(normed, keys, train):
    start, after = plain_step(normed, keys, train)
    hidden = start.model.classifier.hidden(scale(DataConfig().scaling, train.images[:32]).reshape(32, 784))
    np.testing.assert_allclose(after.model.classifier.norm.mean[...], 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.model.classifier.norm.var[...], 0.9 + 0.1 * hidden.var(0), rtol=1e-3)


def test_dropout_draws_anew_each_step(normed, keys, train):
    spec = make_spec(normed, N)
    start, _ = plain_step(normed, keys, train)
    batch = pair(scale(DataConfig().scaling, train.images[:32]), train.labels[:32], jnp.arange(32) % 10)
    # An epoch later, the metrics restart; all else is the same.
    states = [STEP(spec, keys.dropout, start._replace(step=jnp.int32(step)), batch) for step in (0, 8)]
    assert states[0].metrics.loss != states[1].metrics.loss


def test_a_golden_run(spec, train):
    """The spec's results on two versions of JAX: a change of the algorithm shows here first."""
    keys = split_keys(3)
    for until, examples, golden in (
        (1, 32, [2.617230, 209.2565, 209.2565]),
        (8, 256, [2.634745, 209.3202, 209.1278]),
        (17, 32, None),
        (24, 256, [2.452638, 213.9156, 213.5502]),
    ):
        state = ADVANCE(spec, keys, START(spec, keys), train, jnp.int32(until))
        assert state.metrics.examples == examples  # of the epoch
        sizes = [optax.tree.norm(tree, ord=1) for tree in (state.model, state.average)]
        if golden is not None:
            np.testing.assert_allclose([state.metrics.loss / examples, *sizes], golden, rtol=1e-5)
