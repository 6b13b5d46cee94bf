"""LeNet-5 with batch norms, ReLU and dropout, trained as `base`.

Claim: what LeNet-5 gains by what came after it.
Result: after one epoch, ten seeds: experiments/results/classifiers.
Command: python -m experiments.run --config lenet5_bn
Cost: about 89 s of training on two CPU cores, from the seconds an epoch takes in that comparison.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="lenet5_bn", model=ModelConfig(classifier="lenet5_bn", dtype="bfloat16"))
