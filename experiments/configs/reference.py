"""The write-up's system."""

from mnistsum.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig

config = Config(
    name="reference",
    data=DataConfig(validation=0, scaling="unit"),
    model=ModelConfig(classifier="reference", initialisation="torch"),
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.7, schedule="constant"),
    training=TrainingConfig(epochs=20),
)
