"""A multilayer perceptron on the pixels, trained like `base`.

Claim: how much `base` gains from its convolutions.
Result: experiments/results/classifiers, ten seeds, tuned rates.
Command: python -m experiments.run --config mlp
Cost: about 22 s of training on two cores of an AMD EPYC (6.4 ms a step, experiments/results/search-classifiers.md).
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="mlp", model=ModelConfig(classifier="mlp", dtype="auto"))
