"""Statistics by hand, and their error rates by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from experiments.studies.verdicts import BEHIND, SEEDS, SPREADS, rates
from mnistsum.statistics import difference, interval

TRIALS = 2000


def simulate(seeds, images, noise, mean=0.0, n=10, m=200):
    """Yield comparisons of accuracies with crossed effects of n seeds and m images, and a residual."""
    random = np.random.default_rng(5)
    for _ in range(TRIALS):
        effects = seeds * random.standard_normal((n, 1)) + images * random.standard_normal((1, m))
        yield np.zeros((n, m)), mean + effects + noise * random.standard_normal((n, m))


def test_interval_by_hand():
    # mean 2, sd 1, t(2) 0.975 = 4.302653: 2 -+ 4.302653 / sqrt(3)
    mean, low, high = interval(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose([mean, low, high], [2, 2 - 2.484138, 2 + 2.484138], rtol=1e-6)
    assert interval(np.array([1.0]))[1:] == (-np.inf, np.inf)


def test_difference_by_hand():
    # Seeds' means 1/2, 0, 1: variance 1/4, over 3. Images' means 2/3, 1/3: variance 1/18, over 2. Residual: squares
    # that sum to 1/3, over 2 degrees of freedom, over 6. t(2) 0.975 = 4.302653 for the seeds; for images 1/36 - 1/36.
    d = difference(np.zeros((3, 2)), np.array([[1.0, 0], [0, 0], [1, 1]]))
    assert d.mean == pytest.approx(0.5)
    assert d.standard_error == pytest.approx(np.sqrt(1 / 12))
    np.testing.assert_allclose([d.low, d.high], 0.5 + np.array([-1, 1]) * 4.302653 * np.sqrt(1 / 12), rtol=1e-6)


def test_seeds_and_images_each_have_their_own_quantile():
    # If all seeds differ alike, their variance is zero: the interval of a paired t-test over images.
    d = np.array([[0.0, 1, 1, 0, 1]] * 3)
    low, high = stats.ttest_1samp(d[0], 0).confidence_interval()
    np.testing.assert_allclose(difference(np.zeros((3, 5)), d)[1:3], [low, high], rtol=1e-6)
    # If all images differ alike: that of a paired t-test over seeds.
    low, high = stats.ttest_1samp([0.0, 1, 1], 0).confidence_interval()
    d = np.array([[0.0] * 5, [1.0] * 5, [1.0] * 5])
    np.testing.assert_allclose(difference(np.zeros((3, 5)), d)[1:3], [low, high], rtol=1e-6)


def test_seeds_that_agree_by_chance_do_not_narrow_the_interval():
    # Both seeds' means are 1/2, as are both images': only the residual is left, 1 over one degree of freedom, over 4.
    d = difference(np.zeros((2, 2)), np.eye(2))
    np.testing.assert_allclose([d.low, d.high], 0.5 + np.array([-1, 1]) * 12.706205 * np.sqrt(1 / 4), rtol=1e-6)
    # For two contrasts, each interval is at 97.5 %: the quantile at 1 - 0.0125.
    d = difference(np.zeros((2, 2)), np.eye(2), contrasts=2)
    np.testing.assert_allclose([d.low, d.high], 0.5 + np.array([-1, 1]) * 25.4517 * np.sqrt(1 / 4), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "seeds", "images", "noise"), [(10, 0.3, 10, 10), (10, 0.0, 10, 10), (2, 1, 3, 10), (3, 0.5, 5, 10)]
)
def test_intervals_cover_the_truth_in_at_least_93_of_100_comparisons(n, seeds, images, noise):
    results = [difference(a, b) for a, b in simulate(seeds, images, noise, mean=0.7, n=n)]
    assert np.mean([d.low <= 0.7 <= d.high for d in results]) >= 0.93


@pytest.mark.parametrize(
    ("seeds", "spread", "behind"),
    [
        pytest.param(*cell, marks=[] if cell == (3, 0.4, BEHIND) else [pytest.mark.slow])
        for cell in itertools.product(SEEDS, SPREADS, (0.0, BEHIND))
    ],
)
def test_verdicts_are_false_in_at_most_5_of_100_comparisons(seeds, spread, behind):
    found = rates(seeds, spread, behind, images=3000, trials=200)
    assert max(found.false_of_one, found.false_of_five) <= 0.05  # at most 0.027 in all trials, 0.03 in these
    assert found.covered >= 0.93


@pytest.mark.slow
def test_seeds_alone_would_call_equal_architectures_different():
    # Why images count as samples, too: on a fixed test set, luck with its images looks like skill.
    called = [stats.ttest_1samp((b - a).mean(1), 0).pvalue < 0.05 for a, b in simulate(0.1, 10, 3)]
    assert np.mean(called) > 0.5


@pytest.mark.parametrize(("half", "verdict"), [(0.0009, "at most 0.1 points worse"), (0.0011, "undecided")])
def test_no_worse_is_said_of_an_interval_that_lies_within_a_tenth_of_a_point(half, verdict):
    effect = half * 3 / stats.t.ppf(0.975, 9)  # of each seed, alternately up and down
    other = np.tile(effect * (-1.0) ** np.arange(10)[:, None], (1, 500))
    found = difference(np.zeros_like(other), other)
    assert found.high == pytest.approx(half)
    assert found.verdict == verdict


def test_verdicts():
    random = np.random.default_rng(7)
    base = random.random((10, 2000)) < 0.97
    better, worse = base.copy(), base.copy()
    better[:, :200], worse[:, :200] = True, False
    assert difference(base, better).verdict == "better"
    assert difference(base, worse).verdict == "worse"
    assert difference(base, base).verdict == "at most 0.1 points worse"
    assert difference(base[:2], random.random((2, 2000)) < 0.97).verdict == "undecided"


def test_a_config_that_fails_in_some_seeds_is_never_called_no_worse():
    base = np.ones((10, 2000))
    assert difference(base, base, failures=1).verdict == "undecided"
