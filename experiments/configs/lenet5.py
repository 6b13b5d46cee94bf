"""LeNet-5, the first convolutional network for digits, trained as `base`.

Claim: what convolutional networks have gained since 1998, all else being equal.
Result: after one epoch, ten seeds: experiments/results/classifiers.
Command: python -m experiments.run --config lenet5
Cost: about 64 s of training on two CPU cores, from the seconds an epoch takes in that comparison.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="lenet5", model=ModelConfig(classifier="lenet5", dtype="bfloat16"))
