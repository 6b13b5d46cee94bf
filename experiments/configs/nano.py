"""The network of `tiny` with fewer channels: 4,828 parameters, trained for 20 epochs.

Claim: at least 99.3 % digit with fewer than 5,000 parameters.
Result: experiments/studies/architectures/small/comparison.md, ten seeds.
Command: python -m experiments.compare base tiny nano --seeds 10
Cost: two minutes of training on one core of an AMD EPYC.
"""

import dataclasses

from experiments.configs.tiny import config as tiny
from mnistsum.config import TrainingConfig

config = dataclasses.replace(
    tiny,
    name="nano",
    model=dataclasses.replace(tiny.model, widths=(6, 12, 12, 12, 12)),
    training=TrainingConfig(epochs=20.0),
)
