"""The write-up's network with a modern recipe."""

from mnistsum.config import Config, ModelConfig, OptimizerConfig, TrainingConfig

config = Config(
    name="reference_fast",
    model=ModelConfig(classifier="reference"),
    optimizer=OptimizerConfig(name="muon", learning_rate=0.02, schedule="one_cycle"),
    training=TrainingConfig(epochs=0.6),
)
