"""PyTorch's side of the benchmark: twins of the networks, with the same arithmetic from the same weights."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.benchmark.cases import Implementation
from mnistsum.config import Config, OptimizerConfig
from mnistsum.data import DEVIATION, MEAN, load
from mnistsum.models import Model
from mnistsum.models.classifiers.compact import Compact
from mnistsum.types import Split

EVALUATED = 1000  # images at a time
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Wait until the device has finished its work."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class RootMeanSquare(nn.Module):
    """The norm of `compact`: over the whole feature map, with one scale per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean((1, 2, 3), keepdim=True) + 1e-6) * self.scale


class Twin(nn.Module):
    """Either network, with the write-up's adder; `names` are those of the Flax classifier's layers with weights."""

    def __init__(self, classifier: nn.Sequential, names: tuple[str, ...], hidden: int):
        super().__init__()
        self.names = names
        self.classifier = classifier
        self.adder = nn.Sequential(nn.Linear(20, hidden), nn.ReLU(), nn.Linear(hidden, 19))

    def forward(self, image: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        digit = self.classifier(image)
        return digit, self.adder(torch.cat([digit, number.to(digit.dtype)], 1))


def reference_twin(hidden: int) -> Twin:
    """Return the write-up's network."""
    layers: list[nn.Module] = []
    for inputs, outputs, padding, pool in (
        (1, 32, 1, False),
        (32, 64, 1, True),
        (64, 128, 1, False),
        (128, 256, 1, True),
        (256, 512, 0, False),
        (512, 1024, 0, False),
    ):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=padding), nn.ReLU()] + [nn.MaxPool2d(2)] * pool
    names = tuple(f"conv{i}" for i in range(1, 8))
    return Twin(nn.Sequential(*layers, nn.Conv2d(1024, 10, 3), nn.Flatten()), names, hidden)


def compact_twin(channels: tuple[int, ...], hidden: int) -> Twin:
    """Return the network of `base`."""
    layers: list[nn.Module] = []
    names: list[str] = []
    for i, (inputs, outputs) in enumerate(zip((1, *channels), channels, strict=False)):
        size, stride, padding = (5, 2, 0) if i == 0 else (3, 1, int(1 < i < len(channels) - 1))
        layers += [nn.Conv2d(inputs, outputs, size, stride, padding), RootMeanSquare(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (i == 1)
        names += [f"convs.{i}", f"norms.{i}"]
    layers += [nn.Flatten(), nn.Linear(9 * channels[-1], 10)]
    return Twin(nn.Sequential(*layers), (*names, "output"), hidden)


def copy_weights(model: Model, twin: Twin) -> None:
    """Give the twin the model's weights, layer by layer."""
    with torch.no_grad():
        for flax_part, torch_part, names in (
            (model.classifier, twin.classifier, twin.names),
            (model.adder, twin.adder, ("hidden", "output")),
        ):
            layers = [layer for layer in torch_part if any(True for _ in layer.parameters())]
            for name, layer in zip(names, layers, strict=True):
                _copy(_layer(flax_part, name), layer)


def _layer(module: Any, name: str) -> Any:
    """Return the layer of a module by its dotted name, such as `convs.0`."""
    for key in name.split("."):
        module = module[int(key)] if key.isdecimal() else getattr(module, key)
    return module


def _copy(source: Any, layer: Any) -> None:
    if isinstance(layer, RootMeanSquare):
        layer.scale.copy_(torch.tensor(np.array(source.scale[...]))[:, None, None])
        return
    kernel = np.array(source.kernel[...])
    axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
    layer.weight.copy_(torch.tensor(kernel.transpose(axes)))
    layer.bias.copy_(torch.tensor(np.array(source.bias[...])))


class TorchTraining:
    """PyTorch's best case of the same training: data in memory, channels_last, fused optimizer."""

    def __init__(self, twin: Twin, split: Split, config: OptimizerConfig):
        twin.to(DEVICE, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing from the stub
        self.twin = twin
        self.images = torch.tensor(split.images, device=DEVICE).permute(0, 3, 1, 2)
        self.labels = torch.tensor(split.labels, dtype=torch.long, device=DEVICE)
        self.optimizer: torch.optim.Optimizer
        if config.name == "adamw":
            betas = (config.momentum, 0.999)
            self.optimizer = torch.optim.AdamW(
                twin.parameters(), config.learning_rate, betas, weight_decay=config.weight_decay, fused=True
            )
        else:
            self.optimizer = torch.optim.SGD(twin.parameters(), config.learning_rate, config.momentum, fused=True)

    def train(self, forward: Any, steps: int, batch_size: int, autocast: bool) -> float:
        """Train for some steps; return the last loss."""
        order = torch.randperm(len(self.labels), device=DEVICE)[: steps * batch_size].split(batch_size)
        numbers = torch.randint(0, 10, (len(self.labels),), device=DEVICE)
        loss = torch.zeros((), device=DEVICE)
        for chosen in order:
            loss = self.loss(forward, chosen, numbers[chosen], autocast)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        return float(loss.detach())

    def loss(self, forward: Any, chosen: Tensor, number: Tensor, autocast: bool = False) -> Tensor:
        """Return the mean of both losses over the chosen images, each with its number."""
        label = self.labels[chosen]
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
            digit, total = forward(self.batch(chosen), F.one_hot(number, 10).float())
        return (F.cross_entropy(digit.float(), label) + F.cross_entropy(total.float(), label + number)) / 2

    @torch.no_grad()
    def evaluate(self, classify: Any, images: int, autocast: bool) -> int:
        """Read the first images, each with all ten numbers; return how many sums are right."""
        right = 0
        for chosen in torch.arange(images, device=DEVICE).split(EVALUATED):
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
                digit = classify(self.batch(chosen))
                for number in range(10):
                    one_hot = F.one_hot(torch.full((len(chosen),), number, device=DEVICE), 10).to(digit.dtype)
                    total = self.twin.adder(torch.cat([digit, one_hot], 1))
                    right += int((total.argmax(1) == self.labels[chosen] + number).sum())
        return right

    def batch(self, chosen: Tensor) -> Tensor:
        """Return the images at these indices, as the network takes them."""
        image = self.images[chosen].to(torch.float32) / 255
        return ((image - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)


def twin_of(config: Config) -> Twin:
    """Return the twin of a config's network."""
    if config.model.classifier == "reference":
        return reference_twin(config.model.hidden)
    return compact_twin(Compact.widths(config.model), config.model.hidden)


def pytorch(
    config: Config, compiled: bool, autocast: bool, steps: int, images: int, weights: Any = None
) -> Implementation:
    """Return PyTorch's side of a case, with the weights of one of our models if given."""
    twin = twin_of(config)
    if weights is not None:
        copy_weights(weights, twin)
    side = TorchTraining(twin, load(config.data).train, config.optimizer)
    forward, classify = (torch.compile(twin), torch.compile(twin.classifier)) if compiled else (twin, twin.classifier)
    numbers = torch.tensor(np.eye(10, dtype=np.float32)[np.arange(64) % 10], device=DEVICE)

    def answer():
        with torch.no_grad():
            return tuple(logits.cpu() for logits in twin(side.batch(torch.arange(64, device=DEVICE)), numbers))

    return Implementation(
        train=lambda: side.train(forward, steps, config.training.batch_size, autocast),
        evaluate=lambda: side.evaluate(classify, images, autocast),
        answer=answer,
        model=twin,
    )
