"""Networks, training and evaluation in PyTorch (extra `pytorch`).

`python -m experiments.studies.speed.pytorch compiled` trains and tests `base`, as a
careful user of PyTorch would: the network, distortion, optimizer, schedule, average and
epochs of `base`, but no validation and no figures. Further arguments are overrides.
Images are distorted in whole batches, because torchvision's transforms take one at a
time.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch._dynamo import config as dynamo
from torch._inductor import config as inductor
from torch.nn.functional import (
    affine_grid,
    cross_entropy,
    grid_sample,
    interpolate,
    one_hot,
)
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.resnet import BasicBlock

from experiments import cli
from mnistsum.config import AugmentConfig, Config, ModelConfig, OptimizerConfig
from mnistsum.datasets import read_arrays

dynamo.recompile_limit = 64  # all networks share the functions that are compiled
dynamo.fail_on_recompile_limit_hit = True


class Norm(nn.Module):
    """Divides each example by the root mean square of its maps; scales channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        """Return the normalized maps."""
        return (
            x
            * torch.rsqrt(x.square().mean((1, 2, 3), keepdim=True) + 1e-6)
            * self.scale[:, None, None]
        )


def compact() -> list[nn.Module]:
    """Return the layers of `base`'s classifier."""
    layers: list[nn.Module] = []
    for shape in (
        (1, 24, 5, 2, 0),
        (24, 48, 3, 1, 0),
        (48, 64, 3, 1, 1),
        (64, 96, 3, 1, 0),
    ):
        layers += nn.Conv2d(*shape), Norm(shape[1]), nn.ReLU()
    layers.insert(6, nn.MaxPool2d(2))
    return [*layers, nn.Flatten(), nn.Linear(9 * 96, 10)]


def resnet() -> list[nn.Module]:
    """Return torchvision's residual blocks of 16, 32 and 64 channels."""
    layers = [
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        BasicBlock(16, 16),
    ]
    for inputs in (16, 32):
        project = nn.Conv2d(inputs, 2 * inputs, 1, 2, bias=False)
        layers.append(BasicBlock(inputs, 2 * inputs, 2, project))
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]


CLASSIFIERS = {"compact": compact, "plain_resnet": resnet}


class Twin(nn.Module):
    """PyTorch's network of the same layers as ours, in its quickest layout."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.mean, self.deviation = (
            (0.1307, 0.3081) if config.scaling == "standard" else (0.0, 1.0)
        )
        self.adder = nn.Sequential(
            nn.Linear(20, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 19)
        )
        self.classifier = nn.Sequential(*CLASSIFIERS[config.classifier]())
        # missing from the stub
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, pixels: Any, numbers: Any) -> tuple[Any, Any]:
        """Return digit logits [batch, 10], sum logits [batch, k, 19] of k numbers."""
        image = ((pixels / 255 - self.mean) / self.deviation).contiguous(
            memory_format=torch.channels_last
        )
        digit = self.classifier(image.to(self.adder[0].weight.dtype))
        added = one_hot(numbers, 10).to(digit.dtype)
        return digit, self.adder(
            torch.cat([digit[:, None].expand(-1, numbers.shape[1], -1), added], 2)
        )


def loss(twin: Twin, pixels: Any, labels: Any, numbers: Any) -> Any:
    """Return the mean of both losses over a batch."""
    digit, sums = twin(pixels, numbers[:, None])
    return (
        cross_entropy(digit.float(), labels)
        + cross_entropy(sums[:, 0].float(), labels + numbers)
    ) / 2


def answers(twin: Twin, pixels: Any, numbers: Any) -> tuple[Any, Any]:
    """Return the most likely digit, and the most likely sum with each number."""
    digit, sums = twin(pixels, numbers)
    return digit.argmax(1), sums.argmax(2)


def distort(config: AugmentConfig, pixels: Any) -> Any:
    """Return distorted images, as `mnistsum.data.augment` does for small angles."""
    n, turn = len(pixels), math.radians(config.rotation)
    ranges = torch.tensor([[config.scale, config.shear], [turn, config.scale]])
    maps = torch.eye(2) + ranges * torch.empty(n, 2, 2).uniform_(-1, 1)
    maps[:, 0, 1] -= maps[:, 1, 0]
    # half of the side is 1
    shift = torch.randint(-config.shift, config.shift + 1, (n, 2, 1)) / 14
    field = interpolate(
        config.elastic / 14 * torch.randn(n, 2, 5, 5), (28, 28), mode="bicubic"
    )
    grid = affine_grid(torch.cat([maps, shift], 2), [n, 1, 28, 28], align_corners=False)
    return grid_sample(pixels.float(), grid + field.movedim(1, 3), align_corners=False)


def as_matrix(array: Any) -> Any:
    """Return a kernel as a matrix with a row for each output; it shares the memory."""
    return array.movedim(1, -1).reshape(len(array), -1)


class Muon(torch.optim.Muon):
    """PyTorch's Muon, which takes only matrices, for kernels as well."""

    def __init__(self, arrays: list[Any], rate: float, momentum: float):
        self.arrays = arrays
        self.matrices = [nn.Parameter(as_matrix(array.data)) for array in arrays]
        super().__init__(self.matrices, rate, weight_decay=0, momentum=momentum)

    # without a closure
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update the arrays."""
        for array, matrix in zip(self.arrays, self.matrices, strict=True):
            matrix.grad = as_matrix(array.grad)
        super().step()


def optimizers(config: OptimizerConfig, twin: Twin) -> list[Any]:
    """Return the optimizers: for `muon`, PyTorch's own for matrices, and NAdam."""
    rate, momentum, decay = config.learning_rate, config.momentum, config.weight_decay
    if config.name == "adamw":
        return [
            torch.optim.AdamW(
                twin.parameters(),
                rate,
                (momentum, 0.999),
                weight_decay=decay,
                fused=True,
            )
        ]
    vectors = [array for array in twin.parameters() if array.ndim == 1]
    kernels = [array for array in twin.parameters() if array.ndim > 1]
    return [
        Muon(kernels, rate, momentum),
        torch.optim.NAdam(vectors, rate, momentum_decay=0),
    ]


def training(
    config: Config, twin: Twin, split: Sequence[Any], how: str, average: Any = None
) -> Callable[[int], Any]:
    """Return steps of training, "eager" or "compiled", at most an epoch at a time.

    Args:
        config: of the run.
        twin: the network.
        split: the training images and labels.
        how: "eager" or "compiled".
        average: of the weights.
    """
    size, rules = config.training.batch_size, optimizers(config.optimizer, twin)
    pixels, labels = torch.tensor(split[0]).movedim(3, 1), torch.tensor(split[1]).long()
    if config.optimizer.schedule == "one_cycle":
        end = config.training.epochs * (len(labels) // size)
        peak = config.optimizer.warmup * end
        rules += [
            LambdaLR(rule, lambda step: min(step / peak, (end - step) / (end - peak)))
            for rule in rules
        ]
    loss_of = torch.compile(loss, dynamic=False) if how == "compiled" else loss

    def turn(steps: int) -> None:
        for chosen in torch.randperm(len(labels))[: steps * size].split(size):
            images = pixels[chosen]
            if config.augment != AugmentConfig():
                images = distort(config.augment, images)
            with torch.autocast(
                "cpu", torch.bfloat16, enabled=config.model.dtype == "bfloat16"
            ):
                value = loss_of(
                    twin, images, labels[chosen], torch.randint(10, (size,))
                )
            twin.zero_grad()
            value.backward()
            for rule in rules:
                rule.step()
            if average is not None:
                average.update_parameters(twin)

    return turn


def evaluation(
    config: Config, twin: Any, images: Any, how: str, batch: int = 500
) -> Callable[[], list[Any]]:
    """Return the evaluation of a network on images, `batch` at a time.

    Args:
        config: of the network.
        twin: the network.
        images: to evaluate.
        how: "eager"; "frozen", compiled with constant weights; or "cast" to bfloat16 as
            a whole, and frozen.
        batch: images at a time.
    """
    twin.eval()
    if how == "cast":
        twin.to(torch.bfloat16)
    mixes = config.model.dtype == "bfloat16" and how != "cast"
    is_frozen = how != "eager"
    answer = answers
    if is_frozen:
        answer = torch.compile(answers, dynamic=False, options={"freezing": True})
    pixels = torch.tensor(images).movedim(3, 1)
    numbers = torch.arange(10).expand(batch, 10)

    def turn() -> list[Any]:
        reduced = torch.autocast("cpu", torch.bfloat16, enabled=mixes)
        # tracing reads this, not the options
        with torch.no_grad(), reduced, inductor.patch(freezing=is_frozen):
            return [answer(twin, part, numbers) for part in pixels.split(batch)]

    return turn


def main() -> None:
    """Train and test `base`."""
    how, *overrides = sys.argv[1:]
    config = cli.load_config("base", overrides)
    images, labels, test_images, test_labels = read_arrays(config.data)
    images, test_images = images[..., None], test_images[..., None]
    first = config.data.validation
    twin = Twin(config.model)
    average = AveragedModel(
        twin, multi_avg_fn=get_ema_multi_avg_fn(config.optimizer.average)
    )
    train = training(config, twin, (images[first:], labels[first:]), how, average)
    for _ in range(round(config.training.epochs)):
        train(len(images[first:]) // config.training.batch_size)
    parts = evaluation(config, average.module, test_images, "eager")()
    digit, sums = (torch.cat(each) for each in zip(*parts, strict=True))
    labels = torch.tensor(test_labels)
    right = (digit == labels, sums == labels[:, None] + torch.arange(10))
    print("digit {:.4f}, sum {:.4f}".format(*(each.double().mean() for each in right)))


if __name__ == "__main__":
    main()
