"""The config that all others vary: the write-up's shape, small, with a modern recipe."""

from mnistsum.config import AugmentConfig, Config, ModelConfig, OptimizerConfig, TrainingConfig

config = Config(
    name="base",
    augment=AugmentConfig(shift=2, rotation=10.0, scale=0.1, shear=0.1),
    model=ModelConfig(classifier="compact", channels=(16, 32, 64)),
    optimizer=OptimizerConfig(name="muon", learning_rate=0.02, schedule="one_cycle", average=0.995),
    training=TrainingConfig(epochs=8),
)
