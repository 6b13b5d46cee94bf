"""Training: what a step sees and does, and that stopping, resuming or stacking seeds changes no result.

In this process, XLA's optimizations are off (conftest.py). test_kill.py and test_run.py
compare the bits of the optimized program, in processes of their own.
"""

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
from flax import nnx
from jax.errors import KeyReuseError

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
from mnistsum.models import abstract_model, parameters
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
PLATFORMS = ("cuda", "rocm", "tpu")  # none of which needs to be present
SGD = OptimizerConfig(name="sgd", learning_rate=0.2, momentum=0.0, schedule="constant")


def arrays(state) -> list:
    """Return the arrays of a state, with the data of a random key, which an optimizer may hold."""
    leaves = jax.tree.leaves(state)
    return [
        jax.random.key_data(leaf)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else leaf
        for leaf in leaves
    ]


def equal(a, b) -> bool:
    return all(map(np.array_equal, arrays(a), arrays(b)))


class Normed(nnx.Module):
    """One layer with a batch norm and dropout, whose statistics and keys are in the state."""

    def __init__(self, config, rngs, momentum=0.9):
        self.features = 8
        self.hidden = Dense(config, 784, 8, rngs)
        self.norm = nnx.BatchNorm(8, momentum=momentum, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.output = Dense(config, 8, 10, rngs)

    def __call__(self, image):
        features = self.dropout(
            self.norm(jax.nn.relu(self.hidden(image.reshape(len(image), 784))))
        )
        return features, self.output(features)


def noisy(config, rate):
    """Muon, with gradients times a random number that is drawn from a key in the state."""

    def scaled(updates, key, _):
        key, draw = jax.random.split(key)
        return optax.tree.scale(jax.random.uniform(draw), updates), key

    return optax.chain(
        optax.GradientTransformation(lambda _: jax.random.key(0), scaled),
        muon(config, rate),
    )


@pytest.fixture(scope="module")
def whole(config):
    """A config that uses every part of the state, with augmentation, batch norm, dropout and random updates."""
    with added_names(CLASSIFIERS={"normed": Normed}, OPTIMIZERS={"noisy": noisy}):
        model, rule = (
            ModelConfig(classifier="normed", hidden=16),
            replace(config.optimizer, name="noisy"),
        )
        yield replace(config, model=model, optimizer=rule)


@pytest.fixture(scope="module")
def spec(whole):
    return make_spec(whole, N)


@pytest.fixture(scope="module")
def start(spec):
    return START(spec, KEYS)


@pytest.fixture(scope="module")
def go(spec, train):
    """Return the compiled `advance` as a function of a copy of the state, which it uses up, and of the step."""
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
def finish(whole, start, go, tmp_path_factory):
    """Return a function that trains to the end; at each stop, the state is saved, restored and altered by a fault."""

    def finish(stops=(), fault=lambda *_: {}):
        keys, state, folder = KEYS, start, tmp_path_factory.mktemp("run")
        for stop in stops:
            save_checkpoint(folder, whole, go(state, stop, keys), {})
            state = restore(folder, whole).state
            wrong = fault(keys, state, start)
            keys, state = (
                part._replace(
                    **{
                        name: value
                        for name, value in wrong.items()
                        if name in part._fields
                    }
                )
                for part in (keys, state)
            )
        return go(state, STEPS, keys)

    return finish


@pytest.fixture(scope="module")
def never_stopped(finish):
    return finish()


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
    for each, n, message in (
        (config, 31, "training.batch_size.* 31 .* 32"),
        (few, 63, "data.train_images.* 63 .* 64"),
    ):
        with pytest.raises(InputError, match=message):
            make_spec(each, n)


def test_a_spec_is_equal_for_every_seed_name_and_place_of_the_data(config):
    elsewhere = DataConfig(name="kmnist", dir="elsewhere", validation=3, test_shift=2)
    other = replace(config, seed=7, name="other", data=elsewhere)
    unit = replace(config, model=replace(config.model, scaling="unit"))
    assert len({make_spec(each, N) for each in (config, other)}) == 1
    assert make_spec(unit, N) != make_spec(config, N)


@pytest.mark.parametrize("size", [32, 64])
def test_the_batches_of_an_epoch_are_its_images_once_each_with_numbers_that_depend_on_no_batch_size(
    config, train, size
):
    plain = make_spec(
        replace(
            config, augment=AugmentConfig(), training=TrainingConfig(batch_size=size)
        ),
        N,
    )
    steps = range(plain.steps_per_epoch, 2 * plain.steps_per_epoch)  # the second epoch
    epoch = EPOCH(plain, KEYS, steps[0], N)
    batches = [DRAW(plain, KEYS, step, train, epoch) for step in steps]
    found = jax.tree.map(lambda *fields: np.concatenate(fields), *batches)
    every = pair(
        scale(ModelConfig().scaling, train.images),
        train.labels,
        draw_epoch(KEYS.order, KEYS.number, 1, N).numbers,
    )
    assert sorted(epoch.order.tolist()) == list(range(N))
    chex.assert_trees_all_close(
        found, jax.tree.map(lambda field: field[epoch.order], every), rtol=1e-6
    )


def test_stopping_anywhere_gives_the_same_bits_and_agrees_with_single_steps(
    spec, start, go, train
):
    state, singles = start, []
    for i in range(20):  # into the third epoch
        drawn = DRAW(spec, KEYS, i, train, EPOCH(spec, KEYS, i, N))
        state = STEP(spec, KEYS.dropout, state, drawn)
        singles.append(state)
    ends = []
    for stops in ([20], [1, 20], [7, 8, 9, 16, 20], range(1, 21)):
        state = start
        for until in stops:
            state = go(state, until)
            np.testing.assert_array_equal(state.step, until)
            chex.assert_trees_all_close(
                arrays(state), arrays(singles[until - 1]), rtol=1e-5, atol=1e-6
            )
        ends.append(state)
    assert all(equal(state, ends[0]) for state in ends)
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
    """Weights minus the learning rate times the loss's gradient, which `jax.grad` of the plain model also gives."""
    before, after = plain_step(weighed, batch)

    def loss(model):
        logits = model(batch.image, batch.number)
        digit, total = (
            jax.nn.log_softmax(output_logits)[jnp.arange(32), truth].mean()
            for output_logits, truth in (
                (logits.digit, batch.label),
                (logits.sum, batch.sum),
            )
        )
        return -(0.25 * digit + 0.75 * total)

    value, gradient = jax.jit(jax.value_and_grad(loss))(before.model)
    expected = jax.tree.map(
        lambda weight, slope: weight - 0.2 * slope, before.model, gradient
    )
    chex.assert_trees_all_close(after.model, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.metrics.loss, 32 * value, rtol=1e-5)


class Fined(ADDERS["concat"]):
    """An adder with a loss term of its own: the squared norm of its hidden kernel."""

    def penalty(self, features, digit, number):
        return 0.5 * (self.hidden.kernel[...] ** 2).sum()


def test_an_adders_penalty_is_added_to_the_loss_with_its_weight_and_its_gradient_flows(
    weighed, batch
):
    objective, model = (
        replace(weighed.objective, penalty_weight=2.5),
        replace(weighed.model, adder="fined"),
    )
    with added_names(ADDERS={"fined": Fined}):
        _, fined = plain_step(replace(weighed, model=model, objective=objective), batch)
    start, plain = plain_step(weighed, batch)
    before, after, without = (
        state.model.adder.hidden.kernel[...] for state in (start, fined, plain)
    )
    np.testing.assert_allclose(
        fined.metrics.loss - plain.metrics.loss,
        32 * 1.25 * (before**2).sum(),
        rtol=1e-3,
    )
    np.testing.assert_allclose(
        after, without - 0.2 * 2.5 * before, rtol=1e-4, atol=1e-5
    )


def test_every_step_distorts_anew(spec, train):
    # All images are the same: only the distortion can make them differ.
    copies = jax.tree.map(lambda array: jnp.repeat(array[:1], N, 0), train)
    epoch = EPOCH(spec, KEYS, 0, N)
    first, again, second = (
        np.asarray(DRAW(spec, KEYS, i, copies, epoch).image) for i in (0, 0, 1)
    )
    assert (first == again).all()
    assert all(
        (a != b).any()
        for a, b in [*zip(first, second, strict=True), *itertools.pairwise(first)]
    )


def test_the_average_of_the_parameters_follows_its_formula(start, go):
    average, state = parameters(start.model), start
    for t in range(12):
        state = go(state, t + 1)
        decay = min(0.9, (1 + t) / (10 + t))
        after = parameters(state.model)
        average = jax.tree.map(
            lambda a, w, d=decay: d * a + (1 - d) * w, average, after
        )
    chex.assert_trees_all_close(
        average, parameters(state.average), rtol=1e-4, atol=1e-6
    )
    assert trained_model(state) is state.average


@pytest.mark.slow
@pytest.mark.parametrize("name", config_names())
def test_training_and_evaluation_lower_for_accelerators(name, monkeypatch):
    # layers choose their convolution by it
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    config = load_config(name)
    spec = make_spec(config, 55_000)
    keys = jax.eval_shape(lambda: split_keys(0))
    state, until = (
        jax.eval_shape(partial(init_state, spec), keys),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    # New functions, as JAX caches what it has traced for the CPU.
    training, evaluation = (
        jax.jit(partial(*each))
        for each in ((advance, spec), (evaluate_batch, config.data))
    )
    for exported in (
        jax.export.export(training, platforms=PLATFORMS)(
            keys, state, abstract_split(55_000), until
        ),
        jax.export.export(evaluation, platforms=PLATFORMS)(
            abstract_model(config.model), abstract_split(200)
        ),
    ):
        assert ("stablehlo.convolution" in exported.mlir_module()) == (
            name not in ("mlp", "smoke", "vit")
        )


def test_the_first_step_with_a_number_that_is_not_finite_is_noted(start, go):
    at_5 = go(start, 5)
    assert at_5.fault == -1
    infinite = jax.tree.map(
        lambda leaf: leaf + jnp.inf if leaf.dtype == jnp.float32 else leaf,
        at_5.opt_state,
    )
    for harmed in (
        at_5._replace(model=jax.tree.map(lambda leaf: leaf * jnp.nan, at_5.model)),
        at_5._replace(opt_state=infinite),
    ):
        for until in (6, 10):  # it stays the first
            assert go(harmed, until).fault == 5


def test_a_gradient_that_is_not_finite_is_noted_where_the_loss_still_is(config, batch):
    def edged(config, logits, batch):  # zero, with the slope of a square root at zero
        return weighted(config, logits, batch) + jnp.sqrt(0 * logits.digit.sum())

    with added_names(OBJECTIVES={"edged": edged}):
        _, after = plain_step(
            replace(config, optimizer=SGD, objective=ObjectiveConfig(name="edged")),
            batch,
        )
    assert after.fault == 0 and jnp.isfinite(after.metrics.loss)


@pytest.mark.parametrize(
    ("average", "step", "decay"),
    [(0.0, 0, 1 / 10), (0.0, 1000, 0.8), (0.95, 10, 11 / 20), (0.95, 1000, 0.95)],
)
def test_a_step_moves_the_statistics_of_batch_norms_by_their_formula(
    whole, batch, average, step, decay
):
    with added_names(CLASSIFIERS={"own": partial(Normed, momentum=0.8)}):
        rule = replace(whole.optimizer, average=average)
        model = replace(whole.model, classifier="own")
        spec = make_spec(replace(whole, optimizer=rule, model=model), N)
        start = START(spec, KEYS)._replace(step=jnp.int32(step))
        after = STEP(spec, KEYS.dropout, start, batch)
    hidden = jax.nn.relu(start.model.classifier.hidden(batch.image.reshape(32, 784)))
    norm = trained_model(after).classifier.norm
    mean, var = (1 - decay) * hidden.mean(0), decay + (1 - decay) * hidden.var(0)
    np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.var[...], var, rtol=1e-3)


@pytest.mark.parametrize("momentum", [0.9, 0.99, 0.999])
def test_the_statistics_of_batch_norms_forget_the_initialization_in_twelve_steps(
    whole, batch, momentum
):
    still = replace(whole, optimizer=replace(SGD, learning_rate=1e-9))
    with added_names(CLASSIFIERS={"slow": partial(Normed, momentum=momentum)}):
        spec = make_spec(
            replace(still, model=replace(still.model, classifier="slow")), N
        )
        state = START(spec, KEYS)
        for _ in range(12):
            state = STEP(spec, KEYS.dropout, state, batch)
    classifier = trained_model(state).classifier
    hidden = jax.nn.relu(classifier.hidden(batch.image.reshape(32, 784)))
    np.testing.assert_allclose(
        classifier.norm.mean[...], hidden.mean(0), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        classifier.norm.var[...], hidden.var(0), rtol=1e-3, atol=1e-4
    )


def test_dropout_draws_anew_each_step(spec, start, batch):
    # An epoch later, the metrics restart; all else is the same.
    states = [
        STEP(spec, KEYS.dropout, start._replace(step=jnp.int32(step)), batch)
        for step in (0, 8)
    ]
    assert states[0].metrics.loss != states[1].metrics.loss


def test_a_golden_run(go, spec):
    """The spec's results on two versions of JAX: a change of the algorithm shows here first."""
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
        np.testing.assert_allclose(
            [state.metrics.loss / examples, *sizes], golden, rtol=1e-5
        )


@pytest.mark.parametrize(
    "stops",
    [
        *((1,), (8,), (21,)),
        *(
            pytest.param(stops, marks=pytest.mark.slow)
            for stops in [range(1, STEPS), *zip(range(1, STEPS + 1))]
        ),
    ],
    ids=str,
)
def test_a_run_stopped_at_any_step_ends_with_the_bits_of_one_never_stopped(
    finish, never_stopped, stops
):
    assert equal(finish(stops), never_stopped)


def without_statistics(keys, state, start):
    state.model.classifier.norm.mean.set_value(start.model.classifier.norm.mean[...])
    return {}


# What is wrong after a resume: fields of the keys or of the state.
FAULTS = {
    "optimizer state dropped": lambda keys, state, start: {
        "opt_state": start.opt_state
    },
    "step off by one": lambda keys, state, start: {"step": state.step + 1},
    "epoch order reset": lambda *_: {"order": split_keys(1).order},
    "numbers redrawn": lambda *_: {"number": split_keys(1).number},
    "average dropped": lambda keys, state, start: {"average": state.model},
    "statistics dropped": without_statistics,
    "augmentation key reused": lambda keys, *_: {"augment": keys.dropout},
    "dropout key reused": lambda keys, *_: {"dropout": keys.augment},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_noticed(finish, never_stopped, fault):
    assert not equal(finish([19], fault), never_stopped)


@pytest.mark.slow
def test_no_key_is_used_twice(whole, train):
    spec = make_spec(
        replace(whole, augment=AugmentConfig(shift=2, rotation=10.0, elastic=0.5)), N
    )
    with jax.debug_key_reuse(True):
        state = START(spec, KEYS)
        for step in (1, 9):
            state = jax.jit(advance, static_argnums=0)(spec, KEYS, state, train, step)
        with pytest.raises(KeyReuseError):  # the checker checks
            jax.jit(lambda key: jax.random.normal(key) + jax.random.uniform(key))(
                KEYS.init
            )
