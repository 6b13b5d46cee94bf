"""A quarter of an epoch of a tiny network: shows that everything works, end to end.

Claim: none.
Result: about 93 % digit, 40 % sum: the classifier learns first, the adder long after it.
Command: python -m experiments.run --config smoke
Cost: one second of training, ten seconds in all, on two CPU cores.
"""

from mnistsum.config import Config, ModelConfig, TrainingConfig

config = Config(name="smoke", model=ModelConfig(widths=(8, 16, 32)), training=TrainingConfig(epochs=0.25))
