"""Classifiers: an image to features and 10 digit logits. Built as (config, rngs); `features` is how wide they are."""

from mnistsum.models.classifiers.compact import Compact
from mnistsum.models.classifiers.lenet5 import LeNet5
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.models.classifiers.reference import Reference
from mnistsum.models.classifiers.resnet import ResNet
from mnistsum.models.classifiers.tiny import Tiny
from mnistsum.models.classifiers.vgg import VGG
from mnistsum.models.classifiers.vit import ViT

CLASSIFIERS = {
    "reference": Reference,
    "compact": Compact,
    "tiny": Tiny,
    "lenet5": LeNet5,
    "mlp": MLP,
    "resnet": ResNet,
    "vgg": VGG,
    "vit": ViT,
}
