"""A small pre-activation residual network, trained as `base`.

Claim: whether shortcuts pay in a network this shallow.
Result: experiments/results/classifiers.
Command: python -m experiments.run --config resnet
Cost: COST
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="resnet", model=ModelConfig(classifier="resnet", dtype="bfloat16"))
