"""A small pre-activation residual network, trained like `base`.

Claim: shows whether residual connections help in a network this shallow.
Result: experiments/studies/architectures/classifiers, ten seeds, tuned learning rates.
Command: python -m experiments.run --config resnet
Cost: 73 s of training on one core of an AMD EPYC.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(
    base, name="resnet", model=ModelConfig(classifier="resnet", dtype="auto")
)
