"""A multilayer perceptron on the pixels, trained as `base`.

Claim: what `base` gains by convolutions.
Result: experiments/results/classifiers.
Command: python -m experiments.run --config mlp
Cost: COST
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="mlp", model=ModelConfig(classifier="mlp", dtype="bfloat16"))
