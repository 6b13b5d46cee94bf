"""Configs: frozen, hashable dataclasses. Nothing here imports JAX, so a command line is parsed before JAX loads."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

# The names in mnistsum.models, here so that a command line is checked before JAX loads.
CLASSIFIERS = ("reference", "compact", "tiny", "lenet5", "mlp", "resnet", "vgg", "vit")
ADDERS = ("concat", "bilinear", "direct", "shift")


class InputError(Exception):
    """What the user gave cannot be used: a message of one line that names it, what was expected, what was found."""


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how pixels reach the model."""

    name: Literal["mnist", "fashion_mnist", "kmnist", "custom"] = "mnist"  # custom: any IDX set, ten classes, in dir
    dir: str | None = None  # folder of the four IDX files, gzipped or not; None: the package's, else downloaded
    validation: int = 5000  # images held out of training, the same for every seed; 0: the test set is read each epoch
    scaling: Literal["unit", "standard"] = "standard"  # pixels / 255; standard: then less MNIST's mean, over its sd
    test_shift: int = 0  # pixels; outside training, logits are means over all shifts of the image of up to so many


@dataclass(frozen=True)
class AugmentConfig:
    """Random distortion of each training image, drawn anew each step; zero: none."""

    shift: int = 0  # pixels, whole, at most so many along each axis
    rotation: float = 0.0  # degrees, at most so many either way
    scale: float = 0.0  # relative change of each axis, at most (0.1: 90 to 110 %)
    shear: float = 0.0  # pixels of x for each pixel of y, at most
    elastic: float = 0.0  # pixels, standard deviation of a smooth field of displacements


@dataclass(frozen=True)
class ModelConfig:
    """The network: a classifier (image to features and digit) and an adder (these and the number to the sum)."""

    classifier: str = "compact"  # one of CLASSIFIERS, or a name that your config file defines
    widths: tuple[int, ...] = ()  # channels or units of its layers, in order; none: the classifier's own
    adder: str = "concat"  # one of ADDERS, or a name that your config file defines
    adder_input: Literal["logits", "probabilities", "log_probabilities"] = "logits"  # the digit as concat reads it
    adder_gradient: bool = True  # whether the sum's gradient reaches the classifier
    hidden: int = 128  # units of the adder's hidden layer, in concat and direct
    initialisation: Literal["torch", "he"] = "he"  # torch: PyTorch's defaults; he: variance 2 / fan-in, biases 0
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of products; all else is float32


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is minimised: digit_weight * digit loss + (1 - digit_weight) * sum loss, in nats."""

    digit_weight: float = 0.5  # 0 to 1
    held_out: int = 0  # numbers for each digit, 0 to 9, with which its sum is never trained (see `held_out_cells`)


@dataclass(frozen=True)
class OptimizerConfig:
    """How it is minimised."""

    name: Literal["sgd", "adamw", "muon"] = "muon"  # muon: matrices and kernels; the rest goes to Adam
    learning_rate: float = 0.02  # the schedule's peak
    momentum: float = 0.95  # of sgd and muon; b1 of adamw
    weight_decay: float = 0.0  # decoupled, times the learning rate; adamw and muon
    schedule: Literal["constant", "one_cycle", "cosine"] = "one_cycle"  # linear up, then linear or half a cosine to 0
    warmup: float = 0.2  # share of the steps in which the rate rises; one_cycle and cosine
    average: float = 0.0  # decay of the weights' moving average, which is evaluated and kept; 0: none
    clip_norm: float = 0.0  # the gradient's largest global norm; 0: not clipped


@dataclass(frozen=True)
class TrainingConfig:
    """How long, and how many images at a time."""

    epochs: float = 8.0  # passes over the training images; a fraction stops within one
    batch_size: int = 128  # images a step; what remains of an epoch is dropped


@dataclass(frozen=True)
class Config:
    """All that decides a result. A variant is `dataclasses.replace`; a value out of range is an InputError."""

    name: str = "base"  # what the run is called
    seed: int = 0  # of initialisation, order, numbers and augmentation, not of the validation split
    devices: Literal["all"] | int = "all"  # that share each batch; they decide nothing but the order of float sums
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self):
        in_name = self.name.replace("-", "").replace("_", "").replace(".", "").isalnum() and self.name[0] != "."
        rules = [
            ("name", in_name, "letters, digits, '-', '_' and '.', not first"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
            ("devices", self.devices == "all" or self.devices >= 1, "all, or at least 1"),
            ("data.dir", self.data.name != "custom" or self.data.dir is not None, "a folder, for data.name=custom"),
            ("data.validation", self.data.validation >= 0, "at least 0"),
            ("data.test_shift", 0 <= self.data.test_shift <= 14, "0 to 14 pixels"),
            ("augment.shift", 0 <= self.augment.shift <= 14, "0 to 14 pixels"),
            ("augment.rotation", 0 <= self.augment.rotation <= 180, "0 to 180 degrees"),
            ("augment.scale", 0 <= self.augment.scale <= 0.9, "0 to 0.9"),
            ("augment.shear", 0 <= self.augment.shear <= 1, "0 to 1"),
            ("augment.elastic", 0 <= self.augment.elastic <= 14, "0 to 14 pixels"),
            ("model.widths", all(width >= 1 for width in self.model.widths), "all positive"),
            ("model.hidden", self.model.hidden >= 1, "at least 1"),
            ("objective.digit_weight", 0 <= self.objective.digit_weight <= 1, "0 to 1"),
            ("objective.held_out", 0 <= self.objective.held_out <= 9, "0 to 9"),
            ("optimizer.learning_rate", 0 < self.optimizer.learning_rate < math.inf, "above 0"),
            ("optimizer.momentum", 0 <= self.optimizer.momentum < 1, "0 to 1, below 1"),
            ("optimizer.weight_decay", 0 <= self.optimizer.weight_decay < math.inf, "at least 0"),
            ("optimizer.warmup", 0 <= self.optimizer.warmup < 1, "0 to 1, below 1"),
            ("optimizer.average", 0 <= self.optimizer.average < 1, "0 to 1, below 1"),
            ("optimizer.clip_norm", 0 <= self.optimizer.clip_norm < math.inf, "at least 0"),
            ("training.epochs", 0 < self.training.epochs < math.inf, "above 0"),
            ("training.batch_size", self.training.batch_size >= 1, "at least 1"),
        ]
        for key, holds, expected in rules:
            if not holds:
                raise InputError(f"{key}: expected {expected}, found {lookup(self, key)!r}")


def lookup(config: Config, key: str) -> Any:
    """The value of a dotted key such as `optimizer.learning_rate`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def to_json(config: Config) -> str:
    """The config as indented JSON; `from_json` gives it back, equal."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, source: str) -> Config:
    """The config in a JSON text; InputError, with `source` as its place, on an unknown key, a wrong type or range."""
    try:
        return _build(Config, json.loads(text), "")
    except (json.JSONDecodeError, InputError) as error:
        raise InputError(f"{source}: not a config of this version: {error}") from None


def read_config(folder: Path) -> Config:
    """The config of a run's folder; InputError where it holds none."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the folder of a run")
    return from_json(path.read_text(), str(path))


def _build(kind: Any, values: Any, path: str) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(values, dict) or values.keys() != hints.keys():
        found = sorted(values) if isinstance(values, dict) else values
        raise InputError(f"{path or 'config'}: expected the fields {', '.join(hints)}, found {found}")
    return kind(**{key: _value(hints[key], value, f"{path}.{key}".lstrip(".")) for key, value in values.items()})


def _value(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path)
    choices = get_args(hint)
    if get_origin(hint) is Literal:
        valid = value in choices
    elif choices and get_origin(choices[0]) is Literal:  # or else of the second type
        valid = value in get_args(choices[0]) or type(value) is choices[1]
    elif get_origin(hint) is tuple:
        value = tuple(value) if isinstance(value, list) else value
        valid = isinstance(value, tuple) and all(type(item) is choices[0] for item in value)
    elif hint is float:
        valid = type(value) in (int, float)
        value = float(value) if valid else value
    else:
        valid = type(value) in (choices or (hint,))
    if not valid:
        raise InputError(f"{path}: expected {getattr(hint, '__name__', hint)}, found {value!r}")
    return value
