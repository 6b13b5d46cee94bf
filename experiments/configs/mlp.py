"""A multilayer perceptron on the pixels, trained like `base`.

Claim: how much `base` gains from its convolutions.
Result: experiments/results/classifiers, ten seeds, tuned rates; after ten and sixty seconds of training:
classifiers_10_s and classifiers_60_s; after one epoch, all at 0.02: classifiers_one_epoch. Each states its command.
Command: python -m experiments.run --config mlp training.pressure=1 data.test_shift=0
Cost: about 22 s of training on two cores of an AMD EPYC (6.4 ms a step, experiments/results/search-classifiers.md).
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="mlp", model=ModelConfig(classifier="mlp", dtype="bfloat16"))
