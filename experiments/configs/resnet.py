"""A small pre-activation residual network, trained as `base`.

Claim: whether shortcuts pay in a network this shallow.
Result: after one epoch, ten seeds: experiments/results/classifiers.
Command: python -m experiments.run --config resnet
Cost: about 67 s of training on two CPU cores, from the seconds an epoch takes in that comparison.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="resnet", model=ModelConfig(classifier="resnet", dtype="bfloat16"))
