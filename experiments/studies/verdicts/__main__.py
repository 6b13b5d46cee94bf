"""Simulates how often verdicts are wrong, and which differences they find.

`python -m experiments.studies.verdicts` prints the tables.

A seed of an architecture misreads an image with a probability that depends on all
three: most images are never misread, a few often; some images are equally hard for
every architecture, the others are not; and each seed multiplies all of its
probabilities by a gamma variate, so that the seeds' error rates have the stated
standard deviation. A seed that fails reads anything between 10 and 90 % of the digits,
whichever images they are on. Sums are wrong if the digit is, and in a few other pairs.
In expectation, either all architectures are equally accurate, or the others are behind
the first.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.special import gammainc

from experiments import cli
from experiments.comparison.tables import markdown
from experiments.training.fit import MIN_ACCURACY
from mnistsum.app.program import Parser
from mnistsum.statistics import (
    ERROR,
    MARGIN,
    Difference,
    detectable,
    differences,
    interval,
)
from mnistsum.types import OUTPUTS

ADDER_ERROR = 0.0005  # mean share of wrong sums if the digit is right
OTHERS = (1, 5, 9)  # configs that are compared with the first
SEEDS = (2, 3, 5, 10)
POINTS = (0.1, 0.2, 0.5)
BEHIND = 1.01 * MARGIN  # just too much for "at most 0.1 points worse" to be true


class Setting(NamedTuple):
    """What is simulated."""

    seeds: int  # of each config
    # standard deviation of the seeds' error rates, as a share of their mean
    spread: float = 0.05
    # how much less accurate, in expectation, all configs but the first are
    behind: float = 0.0
    times: float = 1.0  # the first's spread, in spreads of the others
    failing: float = 0.0  # share of seeds that fail
    # spread of what seed k of all configs shares, such as its training images
    common: float = 0.0
    error: float = 0.006  # mean share of misread digits
    # of the images: their probabilities' beta distribution has these parameters' sum
    evenness: float = 2.0
    shared: float = 0.5  # share of images that are equally hard for every config
    images: int = 10_000
    configs: int = 1 + OTHERS[-1]


CASES = {
    "alike": [
        Setting(*cell)
        for cell in itertools.product(SEEDS, (0.05, 0.2, 0.8), (0.0, BEHIND))
    ],
    "first's sd tenfold": [Setting(seeds, times=10) for seeds in SEEDS],
    "30 % fail": [Setting(seeds, 0.2, failing=0.3) for seeds in SEEDS],
    "paired": [Setting(seeds, 0.2, common=0.4) for seeds in SEEDS],
    "0.3 % misread": [Setting(seeds, 0.2, error=0.003) for seeds in SEEDS],
    "5 % misread": [Setting(seeds, 0.2, error=0.05) for seeds in SEEDS],
}


class Rates(NamedTuple):
    """Shares of the trials, over both outputs."""

    false_of_one: float  # any false verdict, with one other config
    false_of_five: float
    false_of_nine: float
    # intervals of the difference that contain the truth, with one other config
    covered: float
    # intervals of an accuracy over seeds that contain its expectation on these images
    mean_covered: float
    decided: float  # any verdict, with one other config


def simulate(
    random: np.random.Generator, case: Setting
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return right digits and sums, [configs, seeds, images], and the first's truth."""
    shape = case.configs, case.seeds, case.images
    hardness = case.evenness * case.error, case.evenness * (1 - case.error)
    same = random.random(case.images) < case.shared
    chance = np.where(
        same, random.beta(*hardness, case.images), random.beta(*hardness, shape[::2])
    )
    spread = np.full((case.configs, 1, 1), case.spread)
    spread[0] *= case.times
    factor = random.gamma(spread**-2, spread**2, (2, *shape[:2], 1))
    if case.common:
        factor *= random.gamma(case.common**-2, case.common**2, (case.seeds, 1))
    digit = random.random(shape, np.float32) >= chance[:, None] * factor[0]
    digit[1:] &= random.random(digit[1:].shape, np.float32) >= case.behind
    failed = random.random(shape[:2]) < case.failing
    accuracy = random.uniform(0.1, MIN_ACCURACY, shape[:2])
    digit[failed] = random.random((failed.sum(), case.images)) < accuracy[failed, None]
    lost = (random.random(shape, np.float32) < 10 * ADDER_ERROR * factor[1]) / 10
    # The expectation of min(q f, 1) for a gamma variate f. What seeds share hardly
    # changes it.
    alpha, q = spread[0] ** -2, np.maximum(chance[0], 1e-12)
    misread = q * gammainc(alpha + 1, alpha / q) + 1 - gammainc(alpha, alpha / q)
    expectation = (1 - case.failing) * (1 - misread.mean()) + case.failing * (
        0.1 + MIN_ACCURACY
    ) / 2
    return digit, digit * (1 - lost), float(expectation)


def rates(case: Setting, trials: int = 500) -> Rates:
    """Return how often verdicts and intervals were wrong or right."""
    random = np.random.default_rng(
        [case.seeds, round(1000 * case.spread), round(1e6 * case.behind)]
    )
    truth = -case.behind * (1 - case.error)  # where some are behind, none fail
    outcomes = []
    for _ in range(trials):
        digit, total, expectation = simulate(random, case)
        one, five, nine = (judge(case, digit, total, others) for others in OTHERS)
        alone = interval(digit[0].mean(1))
        outcomes.append(
            (
                any(is_false(each.verdict, truth) for each in one),
                any(is_false(each.verdict, truth) for each in five),
                any(is_false(each.verdict, truth) for each in nine),
                np.mean([each.low <= truth <= each.high for each in one]),
                alone.low <= expectation <= alone.high,
                any(each.verdict != "undecided" for each in one),
            )
        )
    return Rates(*np.mean(outcomes, 0).tolist())


def judge(
    case: Setting, digit: np.ndarray, total: np.ndarray, others: int
) -> list[Difference]:
    """Return the differences of both outputs of some configs from the first's."""
    results = np.stack([digit, total], 1)[: 1 + others]
    failures = (results[:, 0].mean(2) < MIN_ACCURACY).sum(1)
    found = differences(results, failures.tolist(), paired=case.common > 0)
    return list(itertools.chain(*found))


def is_false(verdict: str, truth: float) -> bool:
    """Return whether a verdict is wrong, given the other's true difference."""
    return {"better": truth <= 0, "worse": truth >= 0, "undecided": False}.get(
        verdict, truth <= -MARGIN
    )


def power(seeds: int, others: int, points: float, trials: int = 300) -> float:
    """Return how often a typical comparison finds a config's digits this much worse."""
    case = Setting(
        seeds,
        behind=points / 100,
        error=ERROR,
        evenness=1 / 3,
        shared=0.95,
        configs=1 + others,
    )
    random = np.random.default_rng(seeds)
    found = 0
    for _ in range(trials):
        digit, total, _ = simulate(random, case)
        found += judge(case, digit, total, others)[0].verdict == "worse"
    return found / trials


def command(words: list[str]) -> int:
    """Print the tables, in Markdown."""
    Parser(
        prog="python -m experiments.studies.verdicts", description=__doc__
    ).parse_args(words)
    header = ["seeds are", "seeds", "sd / error rate", "truth, points"]
    header += ["any false, 1 other", "any false, 5 others", "any false, 9 others"]
    header += ["difference covered", "mean covered", "decided, 1 other"]
    rows = []
    for name, cases in CASES.items():
        for case in cases:
            truth = 0 - case.behind  # never -0.0
            shares = [f"{100 * share:.1f}" for share in (truth, *rates(case))]
            rows.append([name, case.seeds, case.spread, *shares])
    print(markdown(header, rows), flush=True)
    rows = []
    for seeds, others in itertools.product(SEEDS, OTHERS):
        found = [power(seeds, others, points) for points in POINTS]
        smallest = 100 * detectable(seeds, others, outputs=len(OUTPUTS))
        found.append(power(seeds, others, smallest))
        shares = [f"{100 * share:.0f}" for share in found]
        rows.append([seeds, others, *shares, f"{smallest:.2f}"])
    header = ["seeds", "others", *(f"{points} points" for points in POINTS)]
    header += ["at `detectable`", "`detectable`, points"]
    print("\n" + markdown(header, rows, texts=()))
    return 0


if __name__ == "__main__":
    cli.main(command)
