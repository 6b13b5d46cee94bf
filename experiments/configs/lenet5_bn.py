"""LeNet-5 with batch norms, ReLU and dropout, trained like `base`.

Claim: shows how much LeNet-5 gains from later techniques.
Result: experiments/studies/architectures/classifiers, ten seeds, tuned learning rates.
Command: python -m experiments.run --config lenet5_bn optimizer.learning_rate=0.04
Cost: 59 s of training on one core of an AMD EPYC.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(
    base, name="lenet5_bn", model=ModelConfig(classifier="lenet5_bn", dtype="auto")
)
