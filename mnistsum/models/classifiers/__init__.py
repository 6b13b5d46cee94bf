"""Classifiers, one per file: from an image to features and 10 digit logits.

A class is constructed with `(config, rngs)`; its attribute `features` is the width of
its features.
"""

import importlib
from collections.abc import Callable
from typing import Any

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError


def _load(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports a classifier's file and builds it."""

    def build(*arguments: Any) -> Any:
        return getattr(
            importlib.import_module(f"mnistsum.models.classifiers.{module}"), name
        )(*arguments)

    return build


CLASSIFIERS: dict[str, Callable[..., Any]] = {
    "reference": _load("reference", "Reference"),
    "compact": _load("compact", "Compact"),
    "tiny": _load("tiny", "Tiny"),
    "lenet5": _load("lenet5", "LeNet5"),
    "lenet5_bn": _load("lenet5_bn", "LeNet5BN"),
    "mlp": _load("mlp", "MLP"),
    "resnet": _load("resnet", "ResNet"),
    "vgg": _load("vgg", "VGG"),
    "vit": _load("vit", "ViT"),
}


def require_he(config: ModelConfig) -> None:
    """Raise InputError if a classifier in plain Flax should start otherwise."""
    if config.initialization != "he":
        raise InputError(
            f"model.initialization: expected he for {config.classifier}, found "
            f"{config.initialization}"
        )
