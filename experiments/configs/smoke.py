"""A second of training: shows that everything works, end to end."""

from mnistsum.config import Config, ModelConfig, TrainingConfig

config = Config(name="smoke", model=ModelConfig(channels=(8, 16, 32)), training=TrainingConfig(epochs=0.25))
