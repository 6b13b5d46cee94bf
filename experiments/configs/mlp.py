"""A multilayer perceptron on the pixels, trained as `base`.

Claim: what `base` gains by convolutions.
Result: after one epoch, ten seeds: experiments/results/classifiers.
Command: python -m experiments.run --config mlp
Cost: about 71 s of training on two CPU cores, from the seconds an epoch takes in that comparison.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="mlp", model=ModelConfig(classifier="mlp", dtype="bfloat16"))
