"""Tables of ten by ten classes, their trained cells, and what those determine."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

DIGIT, NUMBER = np.indices((10, 10))
SUM = DIGIT + NUMBER
# Representations of digits and numbers are vectors over these fields: `determined`.
FIELDS = {"d + n": (2_147_483_629,), "d + n modulo 10": (2, 5)}


class Split(NamedTuple):
    """A table, and the pairs that are trained. All arrays are [digit, number]."""

    target: np.ndarray  # classes from 0
    is_trained: np.ndarray

    @property
    def is_mirrored(self) -> np.ndarray:
        """The held-out pairs (d, n) of which (n, d) is trained."""
        return ~self.is_trained & self.is_trained.T

    @property
    def has_trained_class(self) -> np.ndarray:
        """The held-out pairs whose class some trained pair has."""
        known = np.isin(self.target, self.target[self.is_trained])
        return ~self.is_trained & known


def random_commutative(random: np.random.Generator) -> np.ndarray:
    """Return a symmetric random table with the classes of sums, each as frequent."""
    table = SUM.copy()
    for cells in (np.diag_indices(10), np.triu_indices(10, 1)):
        table[cells] = random.permutation(table[cells])
    return np.triu(table) + np.triu(table, 1).T


TARGETS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "d + n": lambda random: SUM,
    "d + n modulo 10": lambda random: SUM % 10,
    "max(d, n)": lambda random: np.maximum(DIGIT, NUMBER),
    "|d - n|": lambda random: abs(DIGIT - NUMBER),
    "d times n": lambda random: DIGIT * NUMBER,
    "random commutative": random_commutative,
    "random": lambda random: random.permuted(SUM.ravel()).reshape(10, 10),
}


def draw(target: str, held_out: int, seed: int) -> Split:
    """Return a split. A seed holds out the same pairs of all targets, more or fewer."""
    pairs, table = np.random.default_rng(seed).spawn(2)
    _, classes = np.unique(TARGETS[target](table), return_inverse=True)
    return Split(
        classes.reshape(10, 10), pairs.permutation(100).reshape(10, 10) >= held_out
    )


def determined(split: Split, fields: Sequence[int], tables: int) -> np.ndarray:
    """Return the held-out pairs that follow from the trained ones, for sums.

    This is the ideal accuracy of Liu et al. 2022 (arXiv:2205.10343). Digits and numbers
    have unknown representations in a field. Two trained pairs of one class have one sum
    of representations. A held-out pair is determined if, in every solution of these
    equations, its sum is that of a trained pair of its class.

    Args:
        split: table and trained pairs.
        fields: the sizes of the fields, primes. A pair has to be determined in each.
        tables: 1 if digits and numbers have the same representations, else 2.
    """
    first: dict[int, np.ndarray] = {}  # a trained pair of each class
    equations = []
    for digit, number in np.argwhere(split.is_trained):
        pair = _represent(digit, number, tables)
        target = int(split.target[digit, number])
        equations.append(pair - first.setdefault(target, pair))
    found = ~split.is_trained
    for field in fields:
        basis = _reduce(equations, [], field)
        for digit, number in np.argwhere(found):
            pair = _represent(digit, number, tables)
            known = first.get(int(split.target[digit, number]))
            found[digit, number] = known is not None and not _reduce(
                [pair - known], basis, field
            )
    return found


def _represent(digit: int, number: int, tables: int) -> np.ndarray:
    """Return how often a pair's sum holds each of the 10 or 20 representations."""
    counts = np.zeros(10 * tables, int)
    counts[digit] += 1
    counts[number + 10 * (tables - 1)] += 1
    return counts


def _reduce(
    vectors: Sequence[np.ndarray], basis: Sequence[tuple[int, np.ndarray]], field: int
) -> list[tuple[int, np.ndarray]]:
    """Return what vectors add to an echelon basis: pivots, and rows with 1 there."""
    added: list[tuple[int, np.ndarray]] = []
    for vector in vectors:
        rest = vector.astype(object) % field
        for pivot, row in (*basis, *added):
            rest = (rest - rest[pivot] * row) % field
        if rest.any():
            pivot = int(np.flatnonzero(rest)[0])
            added.append((pivot, rest * pow(int(rest[pivot]), -1, field) % field))
    return added
