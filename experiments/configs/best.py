"""The most accurate single network here: wider than `base`, and four times as long.

Claim: meant to be as good as one network gets in eight minutes on two CPU cores.
Result: not yet run to the end; the search that it came from is experiments/results/search-best.md.
Command: python -m experiments.run --config best
Cost: about seven minutes on two CPU cores, estimated.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig, TrainingConfig

config = dataclasses.replace(
    base,
    name="best",
    augment=dataclasses.replace(base.augment, elastic=0.7),
    model=ModelConfig(classifier="compact", widths=(32, 64, 128, 128), dtype="bfloat16"),
    optimizer=dataclasses.replace(base.optimizer, average=0.999),
    training=TrainingConfig(epochs=40.0),
)
