"""Configs: frozen, hashable dataclasses, checked when they are made.

JAX is not imported here, so that a command line is parsed before JAX loads.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mnistsum import registry
from mnistsum.errors import InputError
from mnistsum.field_checks import Checked, hints
from mnistsum.json_files import parse_json, read_json

CONFIG = "config.json"  # the name of a config's file in its run's folder


@dataclass(frozen=True)
class DataConfig(Checked):
    """The data set, its splits, and how pixels are prepared for the model.

    Examples:
        >>> from mnistsum import DataConfig
        >>> DataConfig(train_images=600).validation
        5000
    """

    name: Literal["mnist", "fashion_mnist", "kmnist", "custom"] = "mnist"  # custom: any ten-class IDX data set in dir
    dir: str | None = None  # folder of the four IDX files, gzipped or not; None: packaged MNIST, others downloaded
    validation: int = 5000  # images held out of training, the same for every seed; 0: epochs are scored on the test set
    train_images: int = 0  # images to train on, drawn by the run's seed from those not held out; 0: all of them
    scaling: Literal["unit", "standard"] = "standard"  # unit: pixels / 255; standard: then (x - mean) / std of MNIST
    test_shift: int = 0  # pixels; outside training, logits are averaged over all image shifts of up to this many

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [
            ("dir", self.name != "custom" or self.dir is not None, "a folder, for data.name=custom"),
            ("validation", self.validation >= 0, "at least 0"),
            ("train_images", self.train_images >= 0, "at least 0"),
            ("test_shift", 0 <= self.test_shift <= 14, "0 to 14 pixels"),
        ]


@dataclass(frozen=True)
class AugmentConfig(Checked):
    """Random distortion of each training image, redrawn at every step; zero disables it.

    Examples:
        >>> from mnistsum import AugmentConfig
        >>> AugmentConfig(shift=2).rotation
        0.0
    """

    shift: int = 0  # whole pixels; maximum along each axis
    rotation: float = 0.0  # degrees; maximum in either direction
    scale: float = 0.0  # maximum relative change of each axis (0.1: to 1/1.1 or 1/0.9 of its length)
    shear: float = 0.0  # pixels in x per pixel in y; maximum
    elastic: float = 0.0  # pixels; standard deviation of the 5x5 draws from which displacements are interpolated

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [
            ("shift", 0 <= self.shift <= 14, "0 to 14 pixels"),
            ("rotation", 0 <= self.rotation <= 180, "0 to 180 degrees"),
            ("scale", 0 <= self.scale <= 0.9, "0 to 0.9"),
            ("shear", 0 <= self.shear <= 1, "0 to 1"),
            ("elastic", 0 <= self.elastic <= 14, "0 to 14 pixels"),
        ]


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The network: a classifier (image to features and digit) and an adder (both and the number to the sum).

    Examples:
        >>> from mnistsum import ModelConfig
        >>> ModelConfig(classifier="mlp", widths=(64,)).adder
        'concat'
        >>> ModelConfig(classifier="lenet")
        Traceback (most recent call last):
        mnistsum.errors.InputError: model.classifier: expected one of ..., found lenet; did you mean lenet5? ...
    """

    classifier: str = "compact"  # reference, compact, tiny, lenet5, lenet5_bn, mlp, resnet, vgg, vit, or your own
    widths: tuple[int, ...] = ()  # channels or units of the classifier's layers, in order; empty: its defaults
    adder: str = "concat"  # concat, bilinear, direct, shift, or your own
    adder_input: Literal["logits", "probabilities", "log_probabilities"] = "logits"  # how concat reads the digit
    adder_gradient: bool = True  # whether the sum's gradient reaches the classifier
    hidden: int = 128  # units of the adder's hidden layer, in concat and direct
    initialization: Literal["torch", "he"] = "he"  # torch: PyTorch's defaults; he: variance 2 / fan-in, biases 0
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of convolutions and dense layers

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [
            ("widths", all(1 <= width <= 1e6 for width in self.widths), "all positive, and a million at most"),
            ("hidden", 1 <= self.hidden <= 1e6, "1 to a million"),
        ]

    def _names(self) -> dict[str, registry.Registry]:
        return {"classifier": registry.CLASSIFIERS, "adder": registry.ADDERS}


@dataclass(frozen=True)
class ObjectiveConfig(Checked):
    """The loss to minimize: digit_weight * digit loss + (1 - digit_weight) * sum loss, in nats.

    Examples:
        >>> from mnistsum import ObjectiveConfig
        >>> ObjectiveConfig(digit_weight=0.9).held_out
        0
    """

    name: str = "weighted"  # weighted: as above; or your own
    digit_weight: float = 0.5  # weight of the digit loss, 0 to 1
    held_out: int = 0  # how many numbers, 0 to 9, get no sum loss with each digit (see `held_out_cells`)

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [
            ("digit_weight", 0 <= self.digit_weight <= 1, "0 to 1"),
            ("held_out", 0 <= self.held_out <= 9, "0 to 9"),
        ]

    def _names(self) -> dict[str, registry.Registry]:
        return {"name": registry.OBJECTIVES}


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """The optimizer, its schedule, and weight averaging.

    Examples:
        >>> from mnistsum import OptimizerConfig
        >>> OptimizerConfig(name="sgd", learning_rate=0.1).schedule
        'one_cycle'
    """

    name: str = "muon"  # sgd, adamw, muon (for matrices and kernels; Adam for the rest), or your own
    learning_rate: float = 0.02  # the schedule's peak
    momentum: float = 0.95  # of sgd, and of muon's matrices and kernels; b1 of adamw
    weight_decay: float = 0.0  # decoupled, scaled by the learning rate; with muon, of matrices and kernels only
    schedule: Literal["constant", "one_cycle"] = "one_cycle"  # one_cycle: linear rise, then linear fall to 0
    warmup: float = 0.2  # fraction of steps in which the rate of one_cycle rises
    average: float = 0.0  # decay of the weights' moving average, which is evaluated and saved; 0: no average
    clip_norm: float = 0.0  # maximum global norm of the gradient; 0: no clipping
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of muon's products; all else is float32

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("momentum", 0 <= self.momentum < 1, "0 to 1, below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
            ("warmup", 0 <= self.warmup < 1, "0 to 1, below 1"),
            ("average", 0 <= self.average < 1, "0 to 1, below 1"),
            ("clip_norm", 0 <= self.clip_norm < math.inf, "at least 0"),
        ]

    def _names(self) -> dict[str, registry.Registry]:
        return {"name": registry.OPTIMIZERS}


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """The length of training and the batch size.

    Examples:
        >>> from mnistsum import TrainingConfig
        >>> TrainingConfig(epochs=2.5).batch_size
        128
    """

    epochs: float = 8.0  # passes over the training images; a fraction stops partway through one
    batch_size: int = 128  # images per step; an epoch's last, incomplete batch is dropped

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [
            ("epochs", 0 < self.epochs <= 1e6, "above 0, and a million at most"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
        ]


@dataclass(frozen=True)
class Config(Checked):
    """Everything that determines a result; `dataclasses.replace` makes a variant.

    The defaults are not the config `base`, which is in experiments/configs/base.py: they neither distort images nor
    average weights, for example.

    Examples:
        >>> import dataclasses
        >>> from mnistsum import Config, ModelConfig
        >>> config = Config(name="small", model=ModelConfig(classifier="mlp"))
        >>> dataclasses.replace(config, seed=1).seed
        1
        >>> config.optimizer.name, config.training.batch_size
        ('muon', 128)
    """

    name: str = "base"  # name of the run
    seed: int = 0  # of initialization, order, numbers, augmentation, dropout, train_images; not of the validation split
    devices: Literal["all"] | int = "all"  # devices that share each batch; they affect only the order of float sums
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def _ranges(self) -> list[tuple[str, bool, str]]:
        in_name = self.name.replace("-", "").replace("_", "").replace(".", "").isalnum() and self.name[0] != "."
        return [
            ("name", in_name, "letters, digits, '-', '_' and '.', but no '.' at the start"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
            ("devices", self.devices == "all" or self.devices >= 1, "all, or at least 1"),
        ]


def to_json(config: Config) -> str:
    """Return the config as indented JSON; `from_json` restores an equal config."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, source: str) -> Config:
    """Return the config in a JSON text.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range; it names `source`.

    Examples:
        >>> from mnistsum.config import Config, from_json, to_json
        >>> from_json(to_json(Config(seed=3)), "config.json") == Config(seed=3)
        True
    """
    return _from_value(parse_json(text, source), source)


def read_config(folder: Path) -> Config:
    """Return the config of a run's folder; raise InputError if it has none."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the folder of a run")
    return _from_value(read_json(path), str(path))


def _from_value(value: Any, source: str) -> Config:
    try:
        return _build(Config, value, "")
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def as_dict(config: Config) -> dict[str, Any]:
    """Return the config's fields by dotted key, such as `optimizer.learning_rate`."""
    fields = {}
    for name, value in dataclasses.asdict(config).items():
        fields |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return fields


def _build(kind: Any, values: Any, path: str) -> Any:
    """Build a config dataclass from parsed JSON."""
    expected = hints(kind)
    fields = f"{path or 'a config of this version'}: expected the fields {', '.join(expected)}"
    if not isinstance(values, dict):
        raise InputError(f"{fields}, found {values}")
    missing = [name for name in expected if name not in values]
    unknown = [name for name in values if name not in expected]
    if missing or unknown:
        differences = (("missing", missing), ("unknown", unknown))
        found = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in differences if names)
        raise InputError(f"{fields}; {found}")
    parts = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(expected[key]):
            parts[key] = _build(expected[key], value, key)
        else:
            parts[key] = tuple(value) if isinstance(value, list) else value
    return kind(**parts)
