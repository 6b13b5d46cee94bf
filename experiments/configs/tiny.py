"""A classifier of 8,450 parameters, trained as `base`.

Claim: what a twelfth of the parameters of `base`'s classifier can do.
Result: after one epoch, ten seeds: experiments/results/classifiers.
Command: python -m experiments.run --config tiny
Cost: about 83 s of training on two CPU cores, from the seconds an epoch takes in that comparison.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="tiny", model=ModelConfig(classifier="tiny", dtype="bfloat16"))
