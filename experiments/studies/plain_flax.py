"""How fast networks in plain Flax train on one core of a CPU, beside the same network in this project's layers.

`taskset -c 0 python -m experiments.studies.plain_flax` prints the table. It compiles for a minute or two. With the
extra `pytorch`, it times the first network in PyTorch, too: eager and compiled, channels last.
"""

import dataclasses
import importlib.util
import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.comparison.tables import markdown
from experiments.configs.base import config as base
from experiments.training.record import hardware, prepare
from mnistsum import AugmentConfig, Config, ModelConfig, OptimizerConfig, TrainingConfig
from mnistsum.models.flax_layers import quick_max_pool
from mnistsum.models.layers import Conv, Dense, flatten, max_pool, to_maps
from mnistsum.programs import set_up_compiler
from mnistsum.registry import added_names
from mnistsum.train import split_keys
from mnistsum.types import DigitLogits, Features, Images

ROUNDS, STEPS = 7, 20
Turn = Callable[[], Any]  # takes STEPS steps


class Plain(nnx.Module):
    """Two convolutions with batch norms, pools and dropout in plain Flax."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.features = 7 * 7 * 64
        self.conv1, self.norm1 = nnx.Conv(1, 32, (3, 3), rngs=rngs), nnx.BatchNorm(32, rngs=rngs)
        self.conv2, self.norm2 = nnx.Conv(32, 64, (3, 3), rngs=rngs), nnx.BatchNorm(64, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.output = nnx.Linear(self.features, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = self.pool(jax.nn.relu(self.norm1(self.conv1(image))))
        x = self.pool(jax.nn.relu(self.norm2(self.conv2(x))))
        features = self.dropout(x.reshape(len(image), -1))
        return features, self.output(features)

    def pool(self, x: jax.Array) -> jax.Array:
        """Return the maxima of 2x2 squares."""
        return quick_max_pool(x, (2, 2), (2, 2))


class FlaxPool(Plain):
    """The same with Flax's own pool."""

    def pool(self, x: jax.Array) -> jax.Array:
        """Return the maxima of 2x2 squares."""
        return nnx.max_pool(x, (2, 2), (2, 2))


class Ours(nnx.Module):
    """The same in this project's layers."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.features = 7 * 7 * 64
        self.conv1, self.norm1 = Conv(config, (3, 3, 1, 32), rngs), nnx.BatchNorm(32, axis=0, rngs=rngs)
        self.conv2, self.norm2 = Conv(config, (3, 3, 32, 64), rngs), nnx.BatchNorm(64, axis=0, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.output = Dense(config, self.features, 10, rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = max_pool(jax.nn.relu(self.norm1(self.conv1(to_maps(image)))))
        x = max_pool(jax.nn.relu(self.norm2(self.conv2(x))))
        features = self.dropout(flatten(x))
        return features, self.output(features)


class Residual(nnx.Module):
    """Two 3x3 convolutions with batch norms, added to the input or to its projection."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs):
        self.conv1, self.norm1 = nnx.Conv(inputs, outputs, (3, 3), stride, rngs=rngs), nnx.BatchNorm(outputs, rngs=rngs)
        self.conv2, self.norm2 = nnx.Conv(outputs, outputs, (3, 3), rngs=rngs), nnx.BatchNorm(outputs, rngs=rngs)
        self.project = nnx.Conv(inputs, outputs, (1, 1), stride, rngs=rngs) if stride > 1 else None

    def __call__(self, x: jax.Array) -> jax.Array:
        shortcut = x if self.project is None else self.project(x)
        return jax.nn.relu(shortcut + self.norm2(self.conv2(jax.nn.relu(self.norm1(self.conv1(x))))))


class ResNet(nnx.Module):
    """Three residual blocks of 16, 32 and 64 channels (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.features = 64
        self.stem, self.norm = nnx.Conv(1, 16, (3, 3), rngs=rngs), nnx.BatchNorm(16, rngs=rngs)
        self.blocks = nnx.List([Residual(16, 16, 1, rngs), Residual(16, 32, 2, rngs), Residual(32, 64, 2, rngs)])
        self.output = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = jax.nn.relu(self.norm(self.stem(image)))
        for block in self.blocks:
            x = block(x)
        features = x.mean((1, 2))
        return features, self.output(features)


class ConvNeXt(nnx.Module):
    """One ConvNeXt block of 48 channels, with a depthwise 7x7 convolution (Liu et al. 2022, arXiv:2201.03545)."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.features = 48
        self.stem = nnx.Conv(1, 48, (4, 4), 4, rngs=rngs)
        self.depthwise = nnx.Conv(48, 48, (7, 7), feature_group_count=48, rngs=rngs)
        self.norm = nnx.LayerNorm(48, rngs=rngs)
        self.expand, self.reduce = nnx.Linear(48, 192, rngs=rngs), nnx.Linear(192, 48, rngs=rngs)
        self.output = nnx.Linear(48, 10, rngs=rngs)

    def __call__(self, image: Images) -> tuple[Features, DigitLogits]:
        x = self.stem(image)
        x = x + self.reduce(jax.nn.gelu(self.expand(self.norm(self.depthwise(x)))))
        features = x.mean((1, 2))
        return features, self.output(features)


NETWORKS = {
    "two convolutions, plain": Plain,
    "two convolutions, with Flax's pool": FlaxPool,
    "two convolutions, this project's layers": Ours,
    "ResNet, plain": ResNet,
    "ConvNeXt block, plain": ConvNeXt,
}


def our_steps(classifier: str, dtype: str) -> Turn:
    """Return steps of training of a classifier with `concat`, by SGD, without distortion."""
    config = Config(
        name="plain_flax",
        devices=1,
        augment=AugmentConfig(),
        model=ModelConfig(classifier=classifier, dtype="bfloat16" if dtype == "bfloat16" else "float32"),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.01, momentum=0.0, schedule="constant"),
        training=TrainingConfig(epochs=1e6),
    )
    experiment = prepare(dataclasses.replace(config, data=base.data), "python -m experiments.studies.plain_flax")
    keys, data = split_keys(0), jax.device_put(experiment.data.train)
    state = experiment.programs["initialization"].compile()(keys)
    program, step = experiment.programs["training"].compile(), 0

    def turn() -> None:
        nonlocal state, step
        step += STEPS
        state = jax.block_until_ready(program(keys, state, data, np.int32(step)))

    return turn


def torch_steps(dtype: str, compiled: bool) -> Turn:
    """Return steps of the first network in PyTorch, with both losses."""
    import torch  # needs the extra `pytorch`
    from torch import nn
    from torch.nn.functional import cross_entropy, one_hot

    torch.set_num_threads(1)
    layers: list[Any] = []
    for inputs, outputs in ((1, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    classifier: Any = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.25), nn.Linear(7 * 7 * 64, 10))
    adder = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 19))
    classifier = classifier.to(memory_format=torch.channels_last)
    rule = torch.optim.SGD([*classifier.parameters(), *adder.parameters()], 0.01)
    random = np.random.default_rng(0)
    images = torch.tensor(random.random((128, 1, 28, 28), np.float32)).contiguous(memory_format=torch.channels_last)
    labels, numbers = (torch.tensor(random.integers(0, 10, 128)) for _ in range(2))

    def loss() -> Any:
        digit = classifier(images)
        total = adder(torch.cat([digit, one_hot(numbers, 10).to(digit.dtype)], 1))
        return (cross_entropy(digit.float(), labels) + cross_entropy(total.float(), labels + numbers)) / 2

    loss_of = torch.compile(loss, dynamic=False) if compiled else loss

    def turn() -> None:
        for _ in range(STEPS):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                value = loss_of()
            rule.zero_grad()
            value.backward()
            rule.step()

    return turn


def main() -> None:
    """Print the table."""
    set_up_compiler()
    types = ("float32", "bfloat16")
    turns: dict[tuple[str, str], Turn] = {}
    with added_names(CLASSIFIERS=NETWORKS):
        for name, dtype in itertools.product(NETWORKS, types):
            turns[name, dtype] = our_steps(name, dtype)
    if importlib.util.find_spec("torch") is not None:
        for how, dtype in itertools.product(("eager", "compiled"), types):
            turns[f"two convolutions, PyTorch, {how}", dtype] = torch_steps(dtype, how == "compiled")
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in turns}
    for i in range(1 + ROUNDS):  # interleaved; the first round only warms up
        for key, turn in turns.items():
            start = time.perf_counter()
            turn()
            seconds[key] += [time.perf_counter() - start] if i else []
    ours = {dtype: np.array(seconds["two convolutions, this project's layers", dtype]) for dtype in types}
    rows = []
    for name in dict.fromkeys(name for name, _ in turns):
        row = [name]
        for dtype in types:
            ratios = np.array(seconds[name, dtype]) / ours[dtype]
            range_ = f"{median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f})"
            row += [f"{1e3 * median(seconds[name, dtype]) / STEPS:.1f}", range_ if name.startswith("two") else ""]
        rows.append(row)
    header = ["network", "float32, ms", "of ours", "bfloat16, ms", "of ours"]
    print(f"One core of {hardware()}, batches of 128, medians (and ranges) of {ROUNDS} interleaved rounds.\n")
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
