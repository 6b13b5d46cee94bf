"""Statistics by hand, and their error rates by simulation."""

import numpy as np
import pytest
from scipy import stats

from experiments.studies.verdicts.__main__ import (
    CASES,
    power,
    rates,
)
from mnistsum.errors import InputError
from mnistsum.statistics import detectable, differences, interval


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
    "first, other, outputs, paired, expected",
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
        # freedom, over 4. Of two outputs, each interval is at 97.5 %. Unpaired, each
        # sample of seeds has half of the residual, and so they have two degrees of
        # freedom together.
        (0 * EYE, EYE, 1, True, around(0.5, 12.706205 / 2)),
        (0 * EYE, EYE, 2, True, around(0.5, 25.451700 / 2)),
        (0 * EYE, EYE, 1, False, around(0.5, 4.302653 / 2)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*more seeds than images")
def test_the_interval_of_a_difference_is_that_of_hand_or_scipy(
    first, other, outputs, paired, expected
):
    results = np.stack([[first] * outputs, [other] * outputs])
    for found in differences(results, paired=paired)[0]:
        np.testing.assert_allclose(found[1:3], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alike", "first's sd tenfold", "30 % fail", "paired"])
def test_verdicts_are_false_in_at_most_5_of_100_comparisons(name):
    # The study's page has all cases, with 500 trials each. If 5 of 100 are false, 10 or
    # more of the 100 trials here are with a probability of 0.03.
    case = next(case for case in CASES[name] if case.seeds == 3)
    found = rates(case._replace(images=1000), trials=100)
    assert found.false_of_one < 0.1
    assert found.false_of_five < 0.1
    assert found.false_of_nine < 0.1
    assert found.covered > 0.9


ALIKE = np.random.default_rng(0).random((4, 1, 5, 40))


def test_joint_intervals_are_wider_than_that_of_one_difference():
    joint = [found for (found,) in differences(ALIKE)]
    for i, found in enumerate(joint, 1):
        [[alone]] = differences(ALIKE[[0, i]])
        assert found.mean == alone.mean
        assert alone.low > found.low


def test_nine_copies_of_one_architecture_are_not_nine_independent_differences():
    [[alone]] = differences(ALIKE[:2])
    for (found,) in differences(ALIKE[[0] + [1] * 9]):
        assert found.mean == alone.mean
        # with Student's t of four degrees of freedom, Bonferroni's factor is 1.9
        assert found.mean - found.low < 1.5 * (alone.mean - alone.low)


def test_the_same_results_have_the_same_intervals():
    assert differences(ALIKE) == differences(ALIKE)


@pytest.mark.slow
def test_four_of_five_comparisons_find_what_compare_says_that_they_find():
    points = 100 * detectable(5, others=5, outputs=2)
    assert 0.7 <= power(5, 5, points, trials=100) <= 0.9


@pytest.mark.parametrize(
    "half, verdict", [(0.0009, "at most 0.1 points worse"), (0.0011, "undecided")]
)
def test_no_worse_is_said_of_an_interval_that_lies_within_a_tenth_of_a_point(
    half, verdict
):
    effect = half * 3 / stats.t.ppf(0.975, 9)  # of each seed, alternately up and down
    other = 0.5 + np.tile([[effect], [-effect]], (5, 500))
    first = np.full_like(other, 0.5)
    results = np.stack([first, other])[:, None]
    [[found]] = differences(results)
    assert found.high == pytest.approx(half)
    assert found.verdict == verdict
    for failures in ([1, 0], [0, 1]):
        [[found]] = differences(results, failures)
        assert found.verdict == "undecided"


RIGHT = np.ones((2, 1, 3, 20))


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (differences, (RIGHT[0],), r"results: expected \[arch.* shape \[1, 3, 20\]"),
        (differences, (RIGHT[:1],), r"two or more of each but .* \[1, 1, 3, 20\]"),
        (differences, (RIGHT[..., :1],), r"two or more of each .* \[2, 1, 3, 1\]"),
        (differences, (100 * RIGHT,), "results: .* from 0 to 1, found 100 to 100"),
        (differences, (np.nan * RIGHT,), "results: expected finite values from 0 t"),
        (differences, (RIGHT, [0]), r"failures: expected 2 numbers .*, found \[0\]"),
        (differences, (RIGHT, [0, -1]), r"failures: .*, found \[0, -1\]"),
        (interval, (np.array([]),), r"values: expected finite .*\[seeds\], found \[\]"),
        (interval, (np.array([0.9, np.nan]),), r"found \[0.9, nan\]"),
        (detectable, (1,), "seeds: expected 2 or more, found 1"),
        (detectable, (2, 0), "others: expected 1 or more, found 0"),
        (detectable, (2, 1, 1), "images: expected 2 or more, found 1"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(function, arguments, message):
    with pytest.raises(InputError, match=message):
        function(*arguments)


def test_more_seeds_than_images_draw_a_warning():
    with pytest.warns(UserWarning, match="results: .*more seeds"):
        differences(RIGHT.swapaxes(2, 3))
