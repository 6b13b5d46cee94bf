"""A quarter of an epoch of a network that compiles quickly, to show that everything works end to end.

Claim: none.
Result: about 90 % digit, 40 % sum: the classifier learns first, the adder much later.
Command: python -m experiments.run --config smoke
Cost: less than a second of training, ten seconds in all, on two CPU cores.
"""

from mnistsum.config import Config, ModelConfig, TrainingConfig

config = Config(name="smoke", model=ModelConfig(classifier="mlp", widths=(32,)), training=TrainingConfig(epochs=0.25))
