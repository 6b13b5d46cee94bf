"""A network that sees every pixel: pairs of 3x3 convolutions from full resolution down, trained for nine minutes.

Claim: the best accuracy of a single network of ours in about nine minutes on two CPU cores. Its adder has no
parameters (`shift`). An answer is the mean over nine shifts of the image by up to a pixel.
Result: experiments/results/table.md, five seeds.
Command: python -m experiments.run --config best
Cost: about ten minutes on two CPU cores.
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import DataConfig, ModelConfig, TrainingConfig

config = dataclasses.replace(
    base,
    name="best",
    # Settings were chosen on 10,000 images; 400 show that it trains.
    data=DataConfig(validation=400, test_shift=1),
    augment=dataclasses.replace(base.augment, elastic=0.7),
    model=ModelConfig(classifier="vgg", adder="shift", dtype="auto"),
    optimizer=dataclasses.replace(base.optimizer, weight_decay=0.05, average=0.999),
    training=TrainingConfig(epochs=15.0),
)
