"""A small vision transformer on patches of 4x4 pixels, trained like `base`.

Claim: shows what attention achieves in place of `base`'s convolutions.
Result: experiments/studies/architectures/classifiers, ten seeds, tuned learning rates.
Command: python -m experiments.run --config vit
Cost: 335 s of training on one core of an AMD EPYC.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(
    base, name="vit", model=ModelConfig(classifier="vit", dtype="auto")
)
