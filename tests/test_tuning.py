"""The choice of a learning rate: one rule for every config."""

import math

import pytest
from programs import TINY, a_run, write_set

from experiments import cli
from experiments.comparison import tuning
from experiments.training.record import prepare
from experiments.training.reuse import locate_runs


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "images")
    return prepare(cli.load_config("smoke", TINY), "a test")


@pytest.mark.parametrize(
    "peak, tried, taken, said",
    [
        pytest.param(-2, range(-3, 2), -2, "", marks=pytest.mark.slow),
        pytest.param(9, range(-1, 6), 5, "at its limit", marks=pytest.mark.slow),
        (None, range(-1, 2), 0, "the optimizer ignores the learning rate"),
    ],
)
def test_rates_are_tried_until_the_best_is_between_worse_ones(
    experiment, tmp_path, monkeypatch, peak, tried, taken, said
):
    """The accuracy falls with each doubling away from the peak, if there is one."""
    own = experiment.config.optimizer.learning_rate

    def train(run_sets, plan, workers, display):
        assert not plan.tests
        assert workers == 0
        for key, (trial, _) in run_sets.items():
            rate = trial.config.optimizer.learning_rate
            away = 0 if peak is None else abs(math.log2(rate / own) - peak)
            scores = dict.fromkeys(("digit_accuracy", "sum_accuracy"), 1 - away / 100)
            assert trial.spec.optimizer == trial.config.optimizer
            weights = "same" if peak is None else str(rate)
            summary = {"validation": scores, "weights": weights}
            yield key, a_run()._replace(summary=summary), False

    monkeypatch.setattr(tuning, "fit_missing", train)
    runs = locate_runs(tmp_path, experiment, (0,))
    ((chosen,), how) = tuning.tune([runs], tmp_path, 0)
    trials = how["smoke"]["trials"]
    note = how["smoke"]["note"]
    assert [trial["learning_rate"] / own for trial in trials] == [2.0**k for k in tried]
    (best,) = (trial["learning_rate"] for trial in trials if trial["taken"])
    assert chosen.experiment.config.optimizer.learning_rate == best == own * 2.0**taken
    assert said in (note or "")
    assert bool(said) == bool(note)
