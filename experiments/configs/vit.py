"""A small vision transformer on patches of 4x4 pixels, trained as `base`.

Claim: what attention reaches where `base` has convolutions.
Result: after one epoch, ten seeds: experiments/results/classifiers.
Command: python -m experiments.run --config vit
Cost: about 360 s of training on two CPU cores, from the seconds an epoch takes in that comparison.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="vit", model=ModelConfig(classifier="vit", dtype="bfloat16"))
