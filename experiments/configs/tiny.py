"""A classifier of 8,450 parameters, trained as `base`.

Claim: what a thirteenth of `base`'s parameters can do.
Result: experiments/results/classifiers.
Command: python -m experiments.run --config tiny
Cost: COST
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="tiny", model=ModelConfig(classifier="tiny", dtype="bfloat16"))
