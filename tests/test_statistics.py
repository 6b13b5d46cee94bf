"""Statistics by hand, and their error rates by simulation."""

import itertools
import re

import numpy as np
import pytest
from programs import ROOT
from scipy import stats

from experiments.studies.verdicts.__main__ import (
    CASES,
    SEEDS,
    Setting,
    rates,
    simulate,
    smallest,
)
from mnistsum.errors import InputError
from mnistsum.statistics import detectable, difference, interval


def test_a_single_seed_has_an_infinite_interval():
    assert interval(np.array([1.0])) == (1, -np.inf, np.inf)


def around(mean, half):
    return mean - half, mean + half


ONE = np.array([[1.0, 0], [0, 0], [1, 1]])
OTHER = np.array([[1.0, 1], [1, 1], [0, 0]])
# in the latter, all seeds differ alike
EYE = np.eye(2)
BY_IMAGE = np.array([[0.0, 1, 1, 0, 1]] * 3)
WELCH = stats.ttest_ind(
    ONE.mean(1), OTHER.mean(1), equal_var=False
).confidence_interval()
# of one sample that does not vary
EVEN = around(0.2, stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3))
ONE_SAMPLE = stats.ttest_1samp(BY_IMAGE[0], 0).confidence_interval()


@pytest.mark.parametrize(
    "first, other, contrasts, paired, expected",
    [
        # Seeds' means 1/2, 0, 1: variance 1/4, over 3. Images' means 2/3, 1/3: variance
        # 1/18, over 2. Residual: squares that sum to 1/3, over 2 degrees of freedom,
        # over 6: 1/36 - 1/36 is left for images. t(2) 0.975 = 4.302653.
        (0 * ONE, ONE, 1, True, around(0.5, 4.302653 * np.sqrt(1 / 12))),
        # Nothing is left for images again, and SciPy has its own code for Welch's test.
        (OTHER, ONE, 1, False, WELCH),
        # Seeds and images each have their own quantile: if one of them does not vary, a
        # t-test over the other.
        (0 * BY_IMAGE, BY_IMAGE, 1, False, ONE_SAMPLE),
        (0 * BY_IMAGE, BY_IMAGE, 1, True, ONE_SAMPLE),
        (0 * BY_IMAGE.T, BY_IMAGE.T, 1, True, ONE_SAMPLE),
        # Both misread the same images: what varies over images leaves the difference.
        (BY_IMAGE / 2, BY_IMAGE / 2 + [[0.1], [0.2], [0.3]], 1, False, EVEN),
        # Seeds that agree by chance do not narrow the interval: the means of both seeds
        # and of both images are 1/2, so only the residual is left, 1 over one degree of
        # freedom, over 4. Of two contrasts, each interval is at 97.5 %. Unpaired, each
        # sample of seeds has half of the residual, and so they have two degrees of
        # freedom together.
        (0 * EYE, EYE, 1, True, around(0.5, 12.706205 / 2)),
        (0 * EYE, EYE, 2, True, around(0.5, 25.451700 / 2)),
        (0 * EYE, EYE, 1, False, around(0.5, 4.302653 / 2)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*more seeds than images")
def test_the_interval_of_a_difference_is_that_of_hand_or_scipy(
    first, other, contrasts, paired, expected
):
    np.testing.assert_allclose(
        difference(first, other, contrasts, paired=paired)[1:3], expected, rtol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", [*itertools.chain(*CASES.values())])
def test_verdicts_are_false_in_at_most_5_of_100_comparisons(case):
    found = rates(case._replace(images=3000), trials=200)
    most = 0.07 if case.failing and case.seeds == 2 else 0.05
    assert max(found.false_of_one, found.false_of_five) <= most
    assert found.covered >= 0.93


@pytest.mark.slow
def test_four_of_five_comparisons_of_five_seeds_find_a_difference_of_0_16_points():
    assert smallest(5, others=1) < 0.16


def test_what_compare_says_that_it_can_find_is_what_simulated_comparisons_found():
    text = (ROOT / "experiments/studies/verdicts/verdicts.md").read_text()
    rows = np.array(re.findall(r"^\| (\d+) \| (\S+) \| (\S+) ", text, re.M), float)
    said = [[n, 100 * detectable(n, 2), 100 * detectable(n, 10)] for n in SEEDS]
    np.testing.assert_allclose(said, rows, rtol=0.2)


@pytest.mark.parametrize(
    "half, verdict", [(0.0009, "at most 0.1 points worse"), (0.0011, "undecided")]
)
def test_no_worse_is_said_of_an_interval_that_lies_within_a_tenth_of_a_point(
    half, verdict
):
    effect = half * 3 / stats.t.ppf(0.975, 9)  # of each seed, alternately up and down
    other = 0.5 + np.tile([[effect], [-effect]], (5, 500))
    first = np.full_like(other, 0.5)
    found = difference(first, other)
    assert found.high == pytest.approx(half)
    assert found.verdict == verdict
    assert difference(first, other, failures=1).verdict == "undecided"


RIGHT = np.ones((3, 20))


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (difference, (RIGHT[0], RIGHT), r"first: expected \[seeds, im.* shape \[20\]"),
        (difference, (RIGHT, RIGHT[:, :1]), r"other: expected \[.*, two or more of ea"),
        (difference, (RIGHT, RIGHT[:, :19]), r"as many .*, \[3, 20\], found \[3, 19\]"),
        (difference, (RIGHT, RIGHT[:2], 1, 0, True), r"the shape .*, found \[2, 20\]"),
        (difference, (RIGHT, 100 * RIGHT), "other: .* from 0 to 1, found 100 to 100"),
        (difference, (RIGHT, np.nan * RIGHT), "other: expected finite values from 0 t"),
        (difference, (RIGHT, RIGHT, 0), "contrasts: expected 1 or more, found 0"),
        (difference, (RIGHT, RIGHT, 1, -1), "failures: expected 0 or more, found -1"),
        (interval, (np.array([]),), r"values: expected finite .*\[seeds\], found \[\]"),
        (interval, (np.array([0.9, np.nan]),), r"found \[0.9, nan\]"),
        (detectable, (1, 1), "seeds: expected 2 or more, found 1"),
        (detectable, (2, 0), "contrasts: expected 1 or more, found 0"),
        (detectable, (2, 1, 1), "images: expected 2 or more, found 1"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(function, arguments, message):
    with pytest.raises(InputError, match=message):
        function(*arguments)


def test_samples_of_different_sizes_are_compared_as_welch_does():
    """Each seed is equally right on all images: neither images nor a residual vary."""
    one = [0.9, 0.7, 0.8]
    other = [0.5, 0.6, 0.4, 0.6, 0.5]
    welch = stats.ttest_ind(other, one, equal_var=False)
    found = difference(*(np.tile(each, (50, 1)).T for each in (one, other)))
    np.testing.assert_allclose(found[1:3], welch.confidence_interval(), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("few", SEEDS)
def test_intervals_of_pairs_or_unequal_samples_cover_93_of_100_truths(few, is_paired):
    random = np.random.default_rng(5)
    many = few if is_paired else 10
    case = Setting(many, spread=0.4, images=3000, configs=2)
    covered = 0
    for _ in range(1000):
        first, other = simulate(random, case)[0]
        found = difference(first[:few], other, paired=is_paired)
        covered += found.low <= 0 <= found.high
    assert covered >= 930


def test_more_seeds_than_images_draw_a_warning():
    with (
        pytest.warns(UserWarning, match="first: .*more seeds"),
        pytest.warns(UserWarning, match="other: .*more seeds"),
    ):
        difference(RIGHT.T, RIGHT.T)
