"""MNIST addition: the probability of a sum, and that learning from sums alone reads digits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import addition
from mnistsum.errors import InputError
from mnistsum.objective import IMPOSSIBLE, digits_of_sum, sum_log_likelihood

CENTERED = """
from dataclasses import replace

from experiments.configs.smoke import config as smoke
from mnistsum.models.classifiers.mlp import MLP


class Centered(MLP):
    def __call__(self, image):
        return super().__call__(image - image.mean(0, keepdims=True))


CLASSIFIERS = {"centered": Centered}
config = replace(smoke, name="centered", model=replace(smoke.model, classifier="centered"))
"""


@pytest.mark.parametrize("places", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_probability_of_a_sum_is_that_of_all_digits_that_add_up_to_it(places):
    digits = jax.nn.log_softmax(
        2 * jax.random.normal(jax.random.key(places), (2, places, 10))
    )
    sums = jnp.array(
        [
            [int(digit) for digit in f"{total:0{places + 1}d}"]
            for total in range(2 * 10**places - 1)
        ]
    )
    found = jnp.exp(jax.jit(jax.vmap(sum_log_likelihood, (None, 0)))(digits, sums))
    share = np.exp(np.asarray(digits, float))
    expected = np.zeros(len(found))
    for numbers in itertools.product(
        itertools.product(range(10), repeat=places), repeat=2
    ):
        total = sum(int("".join(map(str, number))) for number in numbers)
        expected[total] += np.prod(
            [share[i, j, numbers[i][j]] for i in range(2) for j in range(places)]
        )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


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


@pytest.mark.slow
def test_digits_are_read_after_learning_from_sums_alone(capsys, tmp_path):
    file = tmp_path / "sums.jsonl"
    where = ["--output", str(file), "--runs", str(tmp_path), "--workers", "0"]
    arguments = ["smoke", "--digits", "1", "training.epochs=1", *where]
    assert addition.command(arguments) == 0
    line, where = capsys.readouterr().out.splitlines()
    assert line.startswith("N = 1, seed 0: digits ")
    assert (
        where == f"results in {file} and {file.with_suffix('.md')}, runs in {tmp_path}"
    )
    assert float(line.split("digits ")[1].split("%")[0]) > 80
    assert file.read_text().count("\n") == 1


@pytest.mark.slow
def test_a_users_network_that_breaks_the_contract_is_refused_before_it_is_trained(
    own_code, tmp_path
):
    file = tmp_path / "centered.py"
    file.write_text(CENTERED)
    with pytest.raises(InputError, match=r"^centered: .*depends on the other examples"):
        addition.command(
            [str(file), "--runs", str(tmp_path / "runs"), "--workers", "0"]
        )
    assert not list(tmp_path.glob("runs/*"))
