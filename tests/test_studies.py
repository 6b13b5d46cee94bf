"""What studies define, and learning from written sums."""

import functools
import itertools
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from programs import LABELS, SUMS, a_run

from experiments.configs.smoke import config as smoke
from experiments.studies.speed import networks
from experiments.studies.speed.__main__ import interleave
from experiments.studies.sums_alone import adders as sums_alone
from experiments.studies.sums_alone import symbols
from experiments.studies.unseen_pairs import adders, known_digits, with_images
from experiments.studies.unseen_pairs.splits import (
    FIELDS,
    SUM,
    determined,
    draw,
)
from experiments.studies.written_sums import __main__ as written_sums
from experiments.studies.written_sums import factors, mnist_net, starts
from experiments.studies.written_sums.objectives import (
    IMPOSSIBLE,
    OBJECTIVES,
    digits_of_sum,
    sum_log_likelihood,
)
from mnistsum import testing
from mnistsum.config import ModelConfig, ObjectiveConfig
from mnistsum.errors import InputError
from mnistsum.models import build, parameters
from mnistsum.objective import held_out_cells, trained_outputs
from mnistsum.registry import added_names
from mnistsum.train import make_spec, split_keys

ADDERS = adders.ADDERS | sums_alone.ADDERS
CONFIGS = {
    name: ModelConfig(classifier="mlp", widths=(32,), adder=name) for name in ADDERS
}
CONFIGS["mnist_net"] = mnist_net.config.model
CONFIGS["plain_resnet"] = ModelConfig(classifier="plain_resnet")
CENTERED = """
from dataclasses import replace

from experiments.configs.smoke import config as smoke
from mnistsum.models.classifiers.mlp import MLP


class Centered(MLP):
    def __call__(self, image):
        return super().__call__(image - image.mean(0, keepdims=True))


CLASSIFIERS = {"centered": Centered}
model = replace(smoke.model, classifier="centered")
config = replace(smoke, name="centered", model=model)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_quick_contract_holds(name):
    classifiers = mnist_net.CLASSIFIERS | networks.CLASSIFIERS
    with added_names(ADDERS=ADDERS, CLASSIFIERS=classifiers):
        for check in (*testing.QUICK, testing.check_gradients):
            check(CONFIGS[name])


@pytest.mark.parametrize("kind", [adders.AnyShift, adders.UnnormalizedShift])
def test_a_number_whose_shift_is_sure_is_added(kind):
    adder = kind(ModelConfig(), 0, nnx.Rngs(0))
    adder.scores[...] = 50.0 * (adder.shifts == np.arange(10)[:, None])
    digit, number = np.divmod(np.arange(100), 10)
    sums = jax.jit(lambda *inputs: adder(np.zeros((100, 0)), *inputs))(
        9 * np.eye(10)[digit], np.eye(10)[number]
    )
    assert (sums.argmax(-1) == digit + number).all()


@pytest.mark.parametrize("score, learning", [(0.0, 0.64), (9.0, 0.84)])
def test_only_confident_readings_learn_from_pairs(score, learning):
    adder = sums_alone.ReadFirst(ModelConfig(), 0, nnx.Rngs(0))
    digit, number = np.random.default_rng(0).integers(10, size=(2, 4096))

    @nnx.jit
    @functools.partial(nnx.grad, argnums=1)
    def gradient(adder, digit):
        return adder(np.zeros((4096, 0)), digit, jnp.eye(10)[number]).sum()

    found = np.any(gradient(adder, jnp.float32(score * np.eye(10)[digit])), axis=-1)
    assert found.mean() == pytest.approx(learning, abs=0.03)  # 4 standard errors


def test_held_out_pairs_have_no_loss():
    logits = jnp.zeros((2, 19)).at[1, 0].set(9.0)
    label = jnp.array([3, symbols.HELD_OUT])
    assert symbols.loss_of_trained(logits, label) == pytest.approx(np.log(19))


@pytest.mark.slow
def test_symbols_are_read_if_adder_and_table_are_commutative():
    def read_all(adder, table):
        learn = jax.jit(jax.vmap(functools.partial(symbols.learn, adder)))
        read, _ = learn(symbols.draw(table)[:3], np.arange(3))
        return read == 1

    mirrored = "d + n, 30 held out, with mirror images"
    assert read_all(sums_alone.ReadFirst, "random, commutative").all()
    assert read_all(sums_alone.ReadFirst, mirrored).all()
    assert not read_all(sums_alone.ReadFirst, "d + n, 30 held out").any()
    assert not read_all(sums_alone.ReadFirst, "random").any()
    assert not read_all(sums_alone.TwoTables, "random, commutative").any()


def test_a_random_commutative_table_has_the_classes_of_sums():
    table = draw("random commutative", 30, seed=0).target
    assert (table == table.T).all() and (table != SUM).any()
    assert (np.bincount(table.ravel()) == np.bincount(SUM.ravel())).all()


@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("held_out", [50, 70])
def test_a_sum_is_determined_if_its_equation_follows_from_the_trained_ones(
    tables, held_out
):
    split = draw("d + n", held_out, seed=held_out)
    pairs = [tuple(pair) for pair in np.argwhere(split.is_trained)]

    def equation(pair, other):
        row = np.zeros(20)
        for (digit, number), sign in ((pair, 1), (other, -1)):
            row[digit] += sign
            row[number + 10 * (tables - 1)] += sign
        return row

    equations = [
        equation(a, b)
        for a, b in itertools.product(pairs, repeat=2)
        if split.target[a] == split.target[b]
    ]
    rank = np.linalg.matrix_rank(equations)
    found = determined(split, FIELDS["d + n"], tables)
    for pair in map(tuple, np.argwhere(~split.is_trained)):
        same = [other for other in pairs if split.target[other] == split.target[pair]]
        follows = bool(same) and rank == np.linalg.matrix_rank(
            [*equations, equation(pair, same[0])]
        )
        assert found[pair] == follows


def test_a_pair_follows_from_its_mirror_image_only_with_one_table():
    split = draw("d + n modulo 10", 90, seed=0)
    one, two = (determined(split, FIELDS["d + n modulo 10"], k) for k in (1, 2))
    assert one[split.is_mirrored].all() and not two[split.is_mirrored].all()


@pytest.mark.slow
def test_adders_complete_what_is_built_into_them():
    split = draw("d + n", 50, seed=0)

    def right(adder):
        train = known_digits.compiled(adder, 19)
        trained = np.float32(split.is_trained)
        return np.asarray(
            train(np.arange(1), split.target[None], trained[None], 0.5, 500)
        )[0]

    assert right("learned_shift").all()
    for commutative in ("product, one table", "product, two tables, swapped copies"):
        found = right(commutative)
        assert found[split.is_trained | split.is_mirrored].all() and not found.all()
    assert not right("product, two tables")[split.is_mirrored].all()


def test_an_adder_that_is_only_commutative_reaches_the_mirrored_share():
    objective = with_images.config(with_images.MAIN, seed=0).objective
    trained = ~held_out_cells(objective)
    known = (trained | trained.T)[LABELS]
    run = a_run(total=np.where(known, SUMS, SUMS + 1), config={"objective": objective})
    scores = with_images.score(run, LABELS)
    assert scores["trained_accuracy"] == 1
    assert scores["mirrored_accuracy"] == 1
    assert scores["others_accuracy"] == 0
    assert scores["held_out_accuracy"] == pytest.approx(scores["mirrored_share"])
    assert 0 < scores["mirrored_share"] < 1


def test_the_first_seed_of_all_trials_comes_before_the_second_of_any():
    trials = with_images.trials()
    planned = with_images.missing(set())
    assert len(planned) == sum(trials.values())
    assert [seed for _, seed in planned] == sorted(seed for _, seed in planned)
    assert with_images.missing(set(planned[1:])) == planned[:1]


@pytest.mark.parametrize("places", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_sum_has_the_probability_of_all_digits_that_add_to_it(places):
    logits = 2 * jax.random.normal(jax.random.key(places), (2, places, 10))
    digits = jax.nn.log_softmax(logits)
    # of each number, from 0
    numbers = [functools.reduce(np.kron, each) for each in np.exp(digits)]
    expected = np.convolve(*numbers)
    totals = [f"{total:0{places + 1}}" for total in range(len(expected))]
    sums = jnp.array([list(map(int, total)) for total in totals])
    found = jax.jit(jax.vmap(sum_log_likelihood, (None, 0)))(digits, sums)
    np.testing.assert_allclose(jnp.exp(found), expected, rtol=1e-4, atol=1e-8)


def test_a_rate_is_chosen_once_both_neighbors_do_worse():
    cell = factors.cells()[0]
    digits = {0.002: 0.9, 0.007: 0.95, 0.02: 0.94, 0.06: 0.93, 0.2: 0.1}
    lines = []
    tried = []
    while rates := factors.untried_rates(lines, cell):
        tried.append(rates)
        for rate in rates:
            for seed in factors.TUNING:
                line = {"rate": rate, "seed": seed, "validation_digits": digits[rate]}
                lines.append(cell._asdict() | line)
    assert tried == [[0.007, 0.02, 0.06], [0.002]]
    assert factors.best_rate(lines, cell) == 0.007
    assert factors.untried_rates(lines[:-1], cell) == [0.002]  # one seed is missing


def test_only_runs_with_the_chosen_rate_are_reported():
    lines = []
    for cell in factors.cells():
        for i, rate in enumerate(factors.RATES[cell.recipe]):
            line = cell._asdict() | {"rate": rate, "validation_digits": -abs(i - 1)}
            for seed in (*factors.TUNING, *factors.SEEDS):
                lines.append(line | {"seed": seed})
    found = factors.reported(lines)
    assert len(found) == len(factors.cells()) * len(factors.SEEDS)
    assert {line["rate"] for line in found} == {0.007, 0.0003}


def test_the_main_effect_of_a_factor_is_a_mean_over_the_other_factors():
    lines = []
    for cell in factors.cells():
        points = {"base": 3.0, "muon": 2.0, "distorted": 1.0}
        total = sum(points.get(level, 0.0) for level in cell[1:])
        for seed in factors.SEEDS:
            about = {"seed": seed, "sum_accuracy": (90 + total + seed) / 100}
            lines.append(cell._asdict() | about)
    rows = factors.effects(lines).splitlines()[2:]
    assert [row.split("|")[-2].split()[0] for row in rows] == [
        "+3.00",
        "+2.00",
        "+1.00",
    ] * 2


def test_a_start_differs_from_its_seeds_by_the_scale_of_the_output_alone():
    config = ModelConfig(classifier="mlp", widths=(8,))
    usual = build(config, split_keys(3).init)
    alike = starts.start(config, starts.Trial(start=3, scale=1.0))
    chex.assert_trees_all_equal(parameters(alike), parameters(usual))
    scaled = starts.start(config, starts.Trial(start=3, scale=10.0))
    kernel = usual.classifier.output.kernel
    kernel[...] = 10 * kernel[...]
    chex.assert_trees_all_equal(parameters(scaled), parameters(usual))


def test_an_impossible_digit_gives_no_nan():
    digits = jnp.broadcast_to(
        jnp.where(jnp.arange(10) == 3, 0.0, IMPOSSIBLE), (2, 4, 10)
    )
    value, gradient = jax.jit(jax.value_and_grad(sum_log_likelihood))(
        digits, jnp.array([0, 6, 6, 6, 6])
    )
    assert abs(value) < 1e-5 and jnp.isfinite(gradient).all()


def test_sums_of_long_numbers_keep_all_their_digits():
    labels = jnp.full((1, 2, 15), 9)
    assert jax.jit(digits_of_sum)(labels).tolist() == [[1, *[9] * 14, 8]]


def test_an_objective_of_groups_trains_on_whole_examples():
    config = replace(smoke, objective=ObjectiveConfig(name="sum_of_3_digits"))
    with added_names(OBJECTIVES=OBJECTIVES):
        spec = make_spec(config, 1_000)
        assert spec.group == 6
        assert spec.images == 996
        assert spec.batch_size == 126
        assert trained_outputs(config.objective) == ("digit",)
        with pytest.raises(InputError, match=r"an example has 6 images, .* the 5 "):
            make_spec(config, 5)


@pytest.mark.slow
def test_digits_are_read_after_learning_from_sums_alone(own_code, capsys, tmp_path):
    arguments = ["smoke", "training.epochs=1", "--output", str(tmp_path)]
    assert written_sums.command([*arguments, "--workers", "0"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("N = 1, seed 0: digits ")
    assert float(line.split("digits ")[1].split("%")[0]) > 80
    assert (tmp_path / "results.jsonl").read_text().count("\n") == 1
    assert "| smoke | 1 | 1 |" in (tmp_path / "results.md").read_text()


@pytest.mark.slow
def test_a_users_network_that_breaks_the_contract_is_refused(own_code, tmp_path):
    file = tmp_path / "centered.py"
    file.write_text(CENTERED)
    with pytest.raises(InputError, match=r"^centered: .*depends on the other examples"):
        written_sums.command(
            [str(file), "--output", str(tmp_path / "out"), "--workers", "0"]
        )
    assert not list(tmp_path.glob("out/runs/*"))


def test_turns_alternate_in_order_after_one_that_warms_up():
    calls = []
    interleave({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
    assert calls == [*"ab", *"ab", *"ba"]
