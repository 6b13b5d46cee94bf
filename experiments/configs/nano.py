"""The network of `tiny` with fewer channels: 4,828 parameters, trained for 20 epochs.

Claim: at least 99.3 % digit with fewer than 5,000 parameters.
Result: experiments/results/runs/nano-*. On 5,000 validation images, with one seed, 40 epochs gave no more correct
digits than 20: experiments/results/search-small.md.
Command: python -m experiments.run --config nano
Cost: 94 s of training, 110 s in all with an empty compilation cache, on two cores of an AMD EPYC.
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
