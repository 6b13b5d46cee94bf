"""A multilayer perceptron on pixels, trained like `base`.

Claim: shows how much `base` gains from its convolutions.
Result: experiments/studies/architectures/classifiers, ten seeds, tuned learning rates.
Command: python -m experiments.run --config mlp
Cost: 35 s of training on one core of an AMD EPYC.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(
    base, name="mlp", model=ModelConfig(classifier="mlp", dtype="auto")
)
