"""The benchmark's networks, training and evaluation in PyTorch, which the extra `pytorch` installs."""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._inductor import config as inductor
from torch.nn.functional import cross_entropy, one_hot

from mnistsum.config import Config, ModelConfig
from mnistsum.data import DEVIATION, MEAN


def reference_layers() -> Any:
    """Return PyTorch's layers of the write-up's classifier, named as ours."""
    layers, channels = nn.Sequential(), (1, 32, 64, 128, 256, 512, 1024)
    for i, (inputs, outputs) in enumerate(pairwise(channels), 1):
        layers.add_module(f"conv{i}", nn.Conv2d(inputs, outputs, 3, padding=int(i < 5)))
        layers.append(nn.ReLU())
        if i in (2, 4):
            layers.append(nn.MaxPool2d(2))
    layers.add_module("conv7", nn.Conv2d(1024, 10, 3))
    return layers.append(nn.Flatten())


def compact_layers(widths: Sequence[int]) -> Any:
    """Return PyTorch's layers of `base`'s classifier, named as ours, with `_` for `.`."""

    class Norm(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(channels))

        def forward(self, x):
            return x * torch.rsqrt(x.square().mean((1, 2, 3), keepdim=True) + 1e-6) * self.scale[:, None, None]

    layers = nn.Sequential()
    for i, (inputs, outputs) in enumerate(pairwise((1, *widths))):
        size, stride, padding = (5, 2, 0) if i == 0 else (3, 1, int(1 < i < len(widths) - 1))
        layers.add_module(f"convs_{i}", nn.Conv2d(inputs, outputs, size, stride, padding))
        layers.add_module(f"norms_{i}", Norm(outputs))
        layers.append(nn.ReLU())
        if i == 1:
            layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    layers.add_module("output", nn.Linear(9 * widths[-1], 10))
    return layers


def make_twin(config: ModelConfig) -> Any:
    """Return PyTorch's network of the same layers, in its quickest layout."""
    classifier = reference_layers() if config.classifier == "reference" else compact_layers(config.widths)
    adder = nn.Sequential()
    adder.add_module("hidden", nn.Linear(20, config.hidden))
    adder.append(nn.ReLU())
    adder.add_module("output", nn.Linear(config.hidden, 19))
    twin = nn.ModuleDict({"classifier": classifier, "adder": adder})
    return twin.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing from the stub


def copy_weights(model: Any, twin: Any) -> None:
    """Give the twin the model's weights, or any values of the same structure."""
    for name, parameter in twin.named_parameters():
        *path, leaf = name.replace("_", ".").split(".")
        layer = reduce(lambda part, key: part[int(key)] if key.isdecimal() else getattr(part, key), path, model)
        values = np.array(getattr(layer, "kernel" if leaf == "weight" else leaf)[...])
        values = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T
        parameter.data.copy_(torch.tensor(values))


def logits_of(twin: Any, pixels: Any, numbers: Any) -> tuple[Any, Any]:
    """Return digit logits [batch, 10] of images, and sum logits [batch, k, 19] with each of their k numbers."""
    image = ((pixels / 255 - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)
    digit = twin["classifier"](image)
    added = one_hot(numbers, 10).to(digit.dtype)
    pairs = torch.cat([digit[:, None].expand(-1, numbers.shape[1], -1), added], 2)
    return digit, twin["adder"](pairs)


def loss(twin: Any, pixels: Any, labels: Any, numbers: Any) -> Any:
    """Return the mean of both losses over a batch."""
    digit, sums = logits_of(twin, pixels, numbers[:, None])
    return (cross_entropy(digit.float(), labels) + cross_entropy(sums[:, 0].float(), labels + numbers)) / 2


def answers(twin: Any, pixels: Any, numbers: Any) -> tuple[Any, Any]:
    """Return the most likely digit, and the most likely sum with each number."""
    digit, sums = logits_of(twin, pixels, numbers)
    return digit.argmax(1), sums.argmax(2)


def training(config: Config, split: Any, compiled: bool) -> Callable[[int], Any]:
    """Return PyTorch's steps of training."""
    twin = make_twin(config.model)
    rate, momentum, decay = (getattr(config.optimizer, name) for name in ("learning_rate", "momentum", "weight_decay"))
    if config.optimizer.name == "adamw":
        rule: Any = torch.optim.AdamW(twin.parameters(), rate, (momentum, 0.999), weight_decay=decay, fused=True)
    else:
        rule = torch.optim.SGD(twin.parameters(), rate, momentum, fused=True)
    loss_of = torch.compile(loss, dynamic=False) if compiled else loss
    pixels, labels = torch.tensor(split.images).permute(0, 3, 1, 2), torch.tensor(split.labels).long()
    size = config.training.batch_size

    def turn(steps: int) -> None:
        for chosen in torch.randperm(len(labels))[: steps * size].split(size):
            with torch.autocast("cpu", torch.bfloat16, enabled=config.model.dtype == "bfloat16"):
                value = loss_of(twin, pixels[chosen], labels[chosen], torch.randint(10, (size,)))
            rule.zero_grad()
            value.backward()
            rule.step()

    return turn


def evaluation(config: Config, model: Any, split: Any, frozen: bool, batch: int) -> Callable[[int], Any]:
    """Return PyTorch's evaluation of our model, `batch` images at a time."""
    twin = make_twin(config.model).eval()
    copy_weights(model, twin)
    answer = torch.compile(answers, dynamic=False, options={"freezing": True}) if frozen else answers
    pixels = torch.tensor(split.images).permute(0, 3, 1, 2)
    numbers = torch.arange(10).expand(batch, 10)

    def turn(images: int) -> list[Any]:
        reduced = torch.autocast("cpu", torch.bfloat16, enabled=config.model.dtype == "bfloat16")
        with torch.no_grad(), reduced, inductor.patch(freezing=frozen):  # tracing reads this, not the options
            return [answer(twin, part, numbers) for part in pixels[:images].split(batch)]

    return turn
