"""Statistics: by hand, and their error rates by simulation."""

import numpy as np
import pytest
from scipy import stats

from mnistsum.statistics import difference, interval

TRIALS = 2000


def simulate(seeds, images, noise, mean=0.0, n=10, m=200):
    """Comparisons of accuracies with crossed effects of n seeds and m images, and a rest."""
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
    # Seeds' means 1/2, 0, 1: variance 1/4, over 3. Images' means 2/3, 1/3: variance 1/18, over 2. The rest: squares
    # that sum to 1/3, over 2 degrees of freedom, over 6.
    d = difference(np.zeros((3, 2)), np.array([[1.0, 0], [0, 0], [1, 1]]))
    assert d.mean == pytest.approx(0.5)
    assert d.standard_error == pytest.approx(np.sqrt(1 / 12 + 1 / 36 - 1 / 36))
    assert d.high - d.mean == pytest.approx(d.mean - d.low)


@pytest.mark.parametrize(("seeds", "images", "noise"), [(0.3, 10, 10), (0.0, 10, 10), (1, 3, 10), (0.5, 5, 10)])
def test_intervals_cover_the_truth_in_93_to_97_of_100_comparisons(seeds, images, noise):
    results = [difference(a, b) for a, b in simulate(seeds, images, noise, mean=0.7)]
    assert 0.93 <= np.mean([d.low <= 0.7 <= d.high for d in results]) <= 0.97


@pytest.mark.parametrize("contrasts", [1, 3])
def test_identical_architectures_are_called_different_in_at_most_65_of_1000(contrasts):
    # Each image has a chance of its own of being read right, the same for networks of one kind.
    random = np.random.default_rng(6)
    called = []
    for _ in range(TRIALS):
        chance = stats.norm.cdf(2 + 1.5 * random.standard_normal(200))
        first, *others = (random.random((10, 200)) < chance for _ in range(1 + contrasts))
        verdicts = [difference(first, other, contrasts).verdict for other in others]
        called.append(any(verdict in ("better", "worse") for verdict in verdicts))
    assert np.mean(called) <= 0.065


def test_seeds_alone_would_call_equal_architectures_different():
    # Why images count as samples too: on one fixed test set, luck with its images looks like skill.
    called = [stats.ttest_1samp((b - a).mean(1), 0).pvalue < 0.05 for a, b in simulate(0.1, 10, 3)]
    assert np.mean(called) > 0.5


def test_verdicts():
    random = np.random.default_rng(7)
    base = random.random((10, 2000)) < 0.97
    better, worse = base.copy(), base.copy()
    better[:, :200], worse[:, :200] = True, False
    assert difference(base, better).verdict == "better"
    assert difference(base, worse).verdict == "worse"
    assert difference(base, base).verdict == "no worse by 0.1 points"
    assert difference(base[:2], random.random((2, 2000)) < 0.97).verdict.startswith("undecided")


def test_more_contrasts_widen_the_interval_and_one_seed_is_refused():
    a, b = next(simulate(1, 1, 1))
    assert difference(a, b, 5).high > difference(a, b, 1).high
    with pytest.raises(ValueError, match="two seeds or more, found 1"):
        difference(a[:1], b[:1])
