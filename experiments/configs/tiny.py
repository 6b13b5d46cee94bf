"""Small convolutions and a global average: 13,080 parameters, 40 epochs.

Claim: within 0.2 points of `base` with an eighth of its parameters. The adder `shift`
has none.
Result: experiments/studies/architectures/small/comparison.md, ten seeds.
Command: python -m experiments.compare base tiny nano --seeds 10
Cost: 461 to 513 s of training (median 488 s) on one core of an AMD EPYC.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig, TrainingConfig

config = dataclasses.replace(
    base,
    name="tiny",
    model=ModelConfig(
        classifier="tiny", widths=(10, 20, 20, 20, 20), adder="shift", dtype="auto"
    ),
    training=TrainingConfig(epochs=40.0),
)
