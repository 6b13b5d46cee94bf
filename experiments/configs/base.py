"""The config that all others vary: the write-up's shape (10 logits and a one-hot, FC 128, FC 19), but small.

Claim: beats the write-up's 98.96 % digit and 98.83 % sum in less than a minute on two CPU cores, with 108,165
parameters. An image whose digit has a probability below 0.95, about one in forty, is answered by the mean over nine
places, moved by up to one pixel: 0.09 points more validation images are read right so (thirty runs of six adders), as
many as if all were moved.
Result: experiments/results/runs/base-*. What else was tried: experiments/results/search-ideas.md.
Command: python -m experiments.run --config base
Cost: less than a minute on two CPU cores.
"""

from mnistsum.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig

config = Config(
    name="base",
    data=DataConfig(test_shift=1, test_doubt=0.95),
    augment=AugmentConfig(shift=2, rotation=10.0, scale=0.1, shear=0.1, elastic=0.5),
    model=ModelConfig(classifier="compact", widths=(24, 48, 64, 96), dtype="bfloat16"),
    optimizer=OptimizerConfig(name="muon", learning_rate=0.02, schedule="one_cycle", average=0.995),
    training=TrainingConfig(epochs=8.0),
)
