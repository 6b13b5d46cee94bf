"""The network of `tiny` with fewer channels: 4,828 parameters, trained for 20 epochs.

Claim: at least 99.3 % digit with fewer than 5,000 parameters.
Result: experiments/results/table.md, five seeds.
Command: python -m experiments.run --config nano
Cost: a minute and a half of training on two cores of an AMD EPYC.
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
