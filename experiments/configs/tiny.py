"""Small convolutions with stride 1 and a global average: 13,080 parameters, trained for 40 epochs.

Claim: within 0.2 points of `base` with an eighth of its parameters. The adder has none (`shift`).
Result: experiments/results/runs/tiny-*; on validation images, experiments/results/search-small.md. Distortions were
chosen for a slightly narrower classifier: experiments/results/search-tiny.md.
Command: python -m experiments.run --config tiny
Cost: 351 s of training, 386 s in all with an empty compilation cache, on two cores of an AMD EPYC (medians of five).
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig, TrainingConfig

config = dataclasses.replace(
    base,
    name="tiny",
    data=dataclasses.replace(base.data, test_shift=1),
    model=ModelConfig(classifier="tiny", widths=(10, 20, 20, 20, 20), adder="shift", dtype="bfloat16"),
    training=TrainingConfig(epochs=40.0),
)
