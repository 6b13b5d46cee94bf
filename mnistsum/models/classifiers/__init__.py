"""Classifiers, one per file: from an image to features and 10 digit logits.

A class is constructed with `(config, rngs)`; its attribute `features` is the width of its features.
"""

from typing import Any

from mnistsum.models.classifiers.compact import Compact
from mnistsum.models.classifiers.lenet5 import LeNet5
from mnistsum.models.classifiers.lenet5_bn import LeNet5BN
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.models.classifiers.reference import Reference
from mnistsum.models.classifiers.resnet import ResNet
from mnistsum.models.classifiers.tiny import Tiny
from mnistsum.models.classifiers.vgg import VGG
from mnistsum.models.classifiers.vit import ViT

CLASSIFIERS: dict[str, Any] = {
    "reference": Reference,
    "compact": Compact,
    "tiny": Tiny,
    "lenet5": LeNet5,
    "lenet5_bn": LeNet5BN,
    "mlp": MLP,
    "resnet": ResNet,
    "vgg": VGG,
    "vit": ViT,
}
