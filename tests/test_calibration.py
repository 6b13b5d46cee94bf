"""Calibration: temperatures by hand."""

import numpy as np
import pytest

from mnistsum.calibration import fit_temperature


def answers(*groups: tuple[int, float, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return two-class logits and labels, from groups of a count, a confidence, and how many are right."""
    logits = [[np.log(sure), np.log(1 - sure)] for count, sure, _ in groups for _ in range(count)]
    labels = [int(i >= right) for count, _, right in groups for i in range(count)]
    return np.array(logits), np.array(labels)


def test_a_fitted_temperature_makes_answers_as_sure_as_they_are_right():
    logits, labels = answers((1000, 0.98, 750))
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(np.log(0.98 / 0.02) / np.log(0.75 / 0.25), rel=1e-3)


def test_answers_that_are_all_right_are_left_as_sure_as_they_are():
    assert fit_temperature(*answers((100, 0.98, 100))) == 1.0
    assert fit_temperature(*answers((100, 0.98, 99))) != 1.0
