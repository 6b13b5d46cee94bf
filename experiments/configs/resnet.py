"""A small pre-activation residual network, trained as `base`.

Claim: whether shortcuts pay in a network this shallow.
Result: ten seeds, its learning rate tuned: experiments/results/classifiers; after one epoch: classifiers_one_epoch.
Command: python -m experiments.run --config resnet
Cost: about 51 s of training on two cores of an AMD EPYC (14.9 ms a step, experiments/results/search-classifiers.md).
"""

import dataclasses

from experiments.configs.base import config as base
from mnistsum.config import ModelConfig

config = dataclasses.replace(base, name="resnet", model=ModelConfig(classifier="resnet", dtype="bfloat16"))
