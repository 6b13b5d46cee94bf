"""LeNet-5 (1998), an early convolutional network for digits, trained like `base`.

Claim: shows how much convolutional networks have gained since 1998, with everything
else equal.
Result: experiments/studies/architectures/classifiers, ten seeds, tuned learning rates.
Command: python -m experiments.run --config lenet5 optimizer.learning_rate=0.01
Cost: 48 s of training on one core of an AMD EPYC.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(
    base, name="lenet5", model=ModelConfig(classifier="lenet5", dtype="auto")
)
