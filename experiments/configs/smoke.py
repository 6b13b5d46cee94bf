"""A smoke test: a quarter of an epoch of a network that compiles quickly.

Claim: none.
Result: about 90 % digit and 40 % sum, because the classifier learns before the adder
does.
Command: python -m experiments.run --config smoke
Cost: less than a second of training, and ten seconds in all, on two CPU cores.
"""

from mnistsum.config import Config, ModelConfig, TrainingConfig

config = Config(
    name="smoke",
    model=ModelConfig(classifier="mlp", widths=(32,)),
    training=TrainingConfig(epochs=0.25),
)
