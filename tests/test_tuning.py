"""The choice of a learning rate: one rule for every config."""

import math

import pytest
from programs import TINY, a_run, write_set

from experiments import cli
from experiments.comparison import tuning
from experiments.training.record import prepare


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "images", train=576, test=64)
    return prepare(cli.load_config("smoke", TINY), "a test")


@pytest.mark.parametrize(
    ("peak", "tried", "taken"),
    [(0, range(-1, 2), 0), (-2, range(-3, 2), -2), (9, range(-1, 6), 5)],
)
def test_rates_are_halved_and_doubled_until_the_best_lies_between_two_that_do_worse(
    experiment, monkeypatch, peak, tried, taken
):
    """The accuracy falls with each doubling away from the peak; only the trials' training is replaced."""
    own = experiment.config.optimizer.learning_rate

    def train(run_sets, plan, workers):
        assert (plan.tests, workers) == (False, 0)
        for i, (tried, _) in enumerate(run_sets):
            away = abs(math.log2(tried.config.optimizer.learning_rate / own) - peak)
            scores = {"digit_accuracy": 0.9 - 0.01 * away, "sum_accuracy": 0.8 - 0.01 * away}
            assert tried.spec.optimizer == tried.config.optimizer
            yield i, a_run()._replace(summary={"validation": scores}), False

    monkeypatch.setattr(tuning, "fit_missing", train)
    ((chosen, how),) = tuning.tune([experiment], cli.CONFIGS, 0)
    assert [trial["learning_rate"] / own for trial in how["trials"]] == [2.0**k for k in tried]
    assert chosen.config.optimizer.learning_rate == own * 2.0**taken
    assert [trial["learning_rate"] for trial in how["trials"] if trial["taken"]] == [own * 2.0**taken]
    assert how["at_the_edge"] == (abs(taken) == tuning.MAX_DOUBLINGS)
