"""Arguments that cannot be right, which nothing but the library checks."""

import json
import subprocess
import sys

import numpy as np
import pytest
from programs import ROOT

from mnistsum.config import DataConfig
from mnistsum.data import make_data
from mnistsum.evaluation import evaluate
from mnistsum.predict import load_pretrained
from mnistsum.types import Split

SETUP = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
import mnistsum
from mnistsum import Config, DataConfig, InputError, ModelConfig
from mnistsum.data import pair, scale
from mnistsum.models import abstract_model
from mnistsum.predict import Predictor
from mnistsum.statistics import differences, interval
from mnistsum.testing import check
from mnistsum.train import make_spec
from mnistsum.types import Evaluation, Split

config = Config(model=ModelConfig(classifier="mlp", widths=(8,)))
model = abstract_model(config.model)  # nothing is computed
images, labels = np.zeros((2, 28, 28, 1), np.uint8), np.array([3, 9])
answers = Evaluation(*[np.zeros((2, 10))] * 7)
scaled = scale("standard", images)
predict = Predictor(config, model, None, "", {}).predict

def evaluate(labels, config=config.data):
    return mnistsum.evaluate(config, model, Split(images, labels))

def message(expression):
    try:
        return f"no error: {eval(expression)}"
    except InputError as error:
        return str(error)

print(json.dumps([message(expression) for expression in json.loads(sys.argv[1])]))
"""
DIGITS = "expected 2 whole numbers from 0 to 9, one for each image, found"
SECTION = "config: expected {0}Config, found Config; give its section, config.{1}"
PIXELS = "pixels: expected values from 0 to 255, as they are before scaling, found"
MISTAKES = {
    # A whole config in place of a section, and the other way round.
    "mnistsum.build(config, jax.random.key(0))": SECTION.format("Model", "model"),
    "check(config)": SECTION.format("Model", "model"),
    "mnistsum.load(config)": SECTION.format("Data", "data"),
    "evaluate(labels, config)": SECTION.format("Data", "data"),
    "mnistsum.build(DataConfig(), jax.random.key(0))": "config: expected ModelConfig, "
    "found DataConfig; it is the section `data` of a Config",
    "make_spec(config.model, 600)": "config: expected Config, found ModelConfig; it is "
    "the section `model` of a Config",
    # Labels.
    "evaluate(labels.astype(float))": f"split.labels: {DIGITS} float64 [2]",
    "evaluate(labels - 4)": f"split.labels: {DIGITS} -1 at position 0",
    "evaluate(labels[:1])": f"split.labels: {DIGITS} int64 [1]",
    "mnistsum.score(answers, labels + 1)": f"labels: {DIGITS} 10 at position 1",
    # Numbers and pixels.
    "pair(scaled, labels, np.array([4, 10]))": f"numbers: {DIGITS} 10 at position 1",
    "jax.jit(pair)(scaled, labels, jnp.ones(2))": f"numbers: {DIGITS} float32 [2]",
    "scale('standart', images)": "scaling: expected unit or standard, found 'standart'",
    "scale('standard', images + 1 / 2)": f"{PIXELS} float64 from 0 to 0.5",
    "scale('standard', scaled)": f"{PIXELS} float32 from -0.424213 to 0",
    "predict([0], 5)": "images: expected uint8 [n, 28, 28, 1], 0-255, found list",
    "predict(images, True)": f"numbers: {DIGITS} bool [2]",
    "predict(images, [1, 10])": f"numbers: {DIGITS} 10 at position 1",
    # Statistics.
    "interval([[1]])": "values: expected finite numbers, [seeds], found [[1.0]]",
    "differences(np.ones((2, 1, 3, 3)), paired=2)": "paired: expected True or "
    "False, found 2",
}


@pytest.fixture(scope="module")
def messages():
    """What a program that makes these mistakes is told, without jaxtyping."""
    command = [sys.executable, "-W", "error", "-c", SETUP, json.dumps(list(MISTAKES))]
    output = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=100
    ).stdout
    return dict(zip(MISTAKES, json.loads(output), strict=True))


@pytest.mark.parametrize("expression", MISTAKES)
def test_an_argument_that_cannot_be_right_is_named(messages, expression):
    assert messages[expression] == MISTAKES[expression]


@pytest.mark.parametrize(
    "change, answer",
    [
        (lambda pixels: (pixels > 127).astype(np.uint8), "at most 1; multiply them"),
        (lambda pixels: 255 - pixels, "found a light border; invert them"),
    ],
)
def test_pixels_that_cannot_be_right_are_warned_of(mnist, change, answer):
    images = change(mnist.test.images[:200])
    labels = mnist.test.labels[:200]
    base = load_pretrained("base")
    for use in (
        lambda: make_data(images[:150], labels[:150], images[150:], labels[150:], 50),
        lambda: evaluate(DataConfig(), base.model, Split(images[:20], labels[:20])),
        lambda: base.predict(images[:20], 5),
    ):
        with pytest.warns(UserWarning, match=answer):
            use()
