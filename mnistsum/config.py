"""Configs: frozen, hashable dataclasses.

Pydantic checks types and ranges when one is made.

This module does not import JAX, so programs can parse a command line before JAX loads.
"""

import dataclasses
import enum
import functools
import inspect
import json
import re
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from mnistsum.errors import InputError, did_you_mean
from mnistsum.file_io import read_text

CONFIG = "config.json"  # the name of a config's file in its run's folder
ASSIGNMENT = re.compile(r"[a-z][a-z_.]*=.*", re.DOTALL)
CHECKED = ConfigDict(extra="forbid")


class Role(enum.Enum):
    """What a field decides.

    A field names its role in its type, as in `Annotated[str, Role.STRUCTURE]`.
    """

    STRUCTURE = "what the network computes"
    SIZE = "the shapes of its arrays"
    INPUT = "the range of the pixels that it sees"
    REPETITION = "which repetition of an experiment a run is"


def _split_sizes(value: Any) -> Any:
    """Split `8,16`, as typed on a command line. `none` stands for an empty tuple."""
    if not isinstance(value, str):
        return value
    return [] if value in ("", "none") else value.split(",")


def _check_data_name(value: str) -> str:
    if value not in ("mnist", "fashion_mnist", "kmnist") and not value.startswith(
        "tfds:"
    ):
        raise PydanticCustomError(
            "data_name",
            "expected mnist, fashion_mnist, kmnist or tfds:NAME (your own data needs "
            "only data.dir)",
        )
    return value


DataName = Annotated[str, AfterValidator(_check_data_name)]
Pixels = Annotated[int, Field(ge=0, le=14)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Sizes = Annotated[tuple[Size, ...], BeforeValidator(_split_sizes), Role.SIZE]
Hidden = Annotated[Size, Role.SIZE]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
Angle = Annotated[float, Field(ge=0, le=180)]
Stretch = Annotated[float, Field(ge=0, le=0.9)]
Distance = Annotated[float, Field(ge=0, le=14)]
Epochs = Annotated[float, Field(gt=0, le=1e6)]
HeldOut = Annotated[int, Field(ge=0, le=7)]
Seed = Annotated[int, Field(ge=0, lt=2**32), Role.REPETITION]
Part = Annotated[str, Role.STRUCTURE]
Scaling = Literal["unit", "standard"]
PixelScale = Annotated[Scaling, Role.INPUT]  # unit: pixels / 255
DigitScale = Annotated[
    Literal["logits", "probabilities", "log_probabilities"], Role.STRUCTURE
]
# auto: the faster one on the device; a run records which
DType = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, config=CHECKED)
class DataConfig:
    """The data set and its splits.

    Examples:
        >>> from mnistsum import DataConfig
        >>> DataConfig(train_images=600).validation
        5000
    """

    name: DataName = "mnist"  # mnist, fashion_mnist, kmnist or tfds:NAME
    dir: str | None = None  # your .npz file or folder, or TensorFlow Datasets' folder
    validation: Count = 5000  # images, the same for each seed; 0: use the test images
    train_images: Count = 0  # drawn by the seed from the rest; 0: all of them
    test_shift: Pixels = 0  # test-time augmentation: average over shifts up to this

    @property
    def source(self) -> str:
        """What tables call the data set: the place of your own data, or a name."""
        return self.dir if self.dir and self.name == "mnist" else self.name


@dataclass(frozen=True, config=CHECKED)
class AugmentConfig:
    """Random distortion of each training image, drawn at every step; 0 disables it.

    Examples:
        >>> from mnistsum import AugmentConfig
        >>> AugmentConfig(shift=2).rotation
        0.0
    """

    shift: Pixels = 0  # whole pixels; maximum along each axis
    rotation: Angle = 0.0  # degrees; maximum in either direction
    scale: Stretch = 0.0  # maximum relative change of an axis (0.1: to 1/1.1 or 1/0.9)
    shear: Share = 0.0  # pixels in x per pixel in y; maximum
    elastic: Distance = 0.0  # standard deviation of the 5x5 displacements, in pixels


@dataclass(frozen=True, config=CHECKED)
class ModelConfig:
    """The network: a classifier and an adder.

    The classifier maps the image to features and a digit. The adder maps these and the
    number to the sum. `override` sets `widths` back to the defaults of a new
    classifier; `dataclasses.replace` does not.

    Examples:
        >>> from mnistsum import ModelConfig
        >>> ModelConfig(classifier="mlp", widths=(64,)).adder
        'concat'
    """

    classifier: Part = "compact"  # in mnistsum/models/classifiers/, or your own
    widths: Sizes = ()  # channels or units of the classifier's layers; empty: defaults
    adder: Part = "concat"  # a name in mnistsum/models/adders.py, or your own
    adder_input: DigitScale = "logits"  # form of the digit that `concat` sees
    adder_gradient: bool = True  # whether the classifier gets the sum loss's gradients
    hidden: Hidden = 128  # units of the adder's hidden layer, if it has one
    initialization: Literal["torch", "he"] = "he"  # torch: PyTorch's defaults
    zero_output: bool = False  # whether all digits have equal logits at the start
    dtype: DType = "float32"  # of the operands of convolutions and dense layers
    scaling: PixelScale = "standard"  # standard: (x / 255 - mean) / std of MNIST


@dataclass(frozen=True, config=CHECKED)
class ObjectiveConfig:
    """The loss, in nats.

    It is `digit_weight * digit loss + (1 - digit_weight) * sum loss +
    penalty_weight * penalty`. Sum loss and penalty are means over the pairs that are
    not held out.

    Examples:
        >>> from mnistsum import ObjectiveConfig
        >>> ObjectiveConfig(digit_weight=0.9).held_out
        0
    """

    name: str = "weighted"  # a name in mnistsum/objective.py, or your own
    digit_weight: Share = 0.5  # weight of the digit loss
    held_out: HeldOut = 0  # numbers per digit whose sums are not trained
    design: Count = 0  # which pairs `held_out` holds out; 0: fixed, else random
    penalty_weight: Amount = 1.0  # weight of the adder's penalty, if it has one


@dataclass(frozen=True, config=CHECKED)
class OptimizerConfig:
    """The optimizer, its schedule, and weight averaging.

    Examples:
        >>> from mnistsum import OptimizerConfig
        >>> OptimizerConfig(name="sgd", learning_rate=0.1).schedule
        'one_cycle'
    """

    name: str = "muon"  # a name in mnistsum/optimizer.py, or your own
    learning_rate: Positive = 0.02  # the schedule's peak
    momentum: Decay = 0.95  # of sgd, and of muon for matrices and kernels; b1 of adamw
    weight_decay: Amount = 0.0  # decoupled, times the rate; with muon, of matrices only
    adder_decay: Amount | None = None  # the adder's weight decay; None: weight_decay
    schedule: str = "one_cycle"  # a name in mnistsum/optimizer.py, or your own
    warmup: Decay = 0.2  # fraction of steps in which the rate rises, if it does
    average: Decay = 0.0  # decay of the weights' moving average; 0: no average
    clip_norm: Amount = 0.0  # maximum global norm of the gradient; 0: no clipping
    dtype: DType = "float32"  # of the operands of muon's products


@dataclass(frozen=True, config=CHECKED)
class TrainingConfig:
    """The length of training and the batch size.

    Examples:
        >>> from mnistsum import TrainingConfig
        >>> TrainingConfig(epochs=2.5).batch_size
        128
    """

    epochs: Epochs = 8.0  # passes over the training images; fractions are allowed
    batch_size: Size = 128  # images per step; an incomplete last batch is dropped


@dataclass(frozen=True, config=CHECKED)
class Config:
    """Everything that determines a result. `dataclasses.replace` makes a variant.

    The defaults differ from the config `base` in experiments/configs/base.py. For
    example, they neither distort images nor average weights.

    Examples:
        >>> import dataclasses
        >>> from mnistsum import Config, ModelConfig
        >>> config = Config(name="small", model=ModelConfig(classifier="mlp"))
        >>> dataclasses.replace(config, seed=1).seed
        1
        >>> config.optimizer.name, config.training.batch_size
        ('muon', 128)
    """

    name: Name = "unnamed"  # name of the run
    seed: Seed = 0  # of everything random except the validation split
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()


_JSON = TypeAdapter(Config)
SECTIONS: dict[str, Any] = {
    each.name: each.type
    for each in dataclasses.fields(Config)
    if dataclasses.is_dataclass(each.type)
}
# The type of each field by dotted key, such as `optimizer.learning_rate`.
FIELDS: dict[str, Any] = {}


def _raise_input_errors(kind: Any, section: str) -> None:
    """Make a class raise InputError where pydantic raises ValidationError."""
    init = kind.__init__

    @functools.wraps(init)
    def checked(self: Any, *values: Any, **fields: Any) -> None:
        try:
            init(self, *values, **fields)
        except ValidationError as error:
            raise InputError(explain(error, section)) from None

    kind.__init__ = checked


for _section, _kind in {"": Config, **SECTIONS}.items():
    _raise_input_errors(_kind, _section)
    for _field in dataclasses.fields(_kind):
        if _field.name not in SECTIONS:
            FIELDS[f"{_section}.{_field.name}".lstrip(".")] = _field.type


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of the form `field=value`, and the others.

    Raises:
        InputError: if one is written with spaces, as in `seed = 3`.
    """
    for i, argument in enumerate(arguments[1:], 1):
        if argument.startswith("="):
            words = arguments[i - 1 : i + (2 if argument == "=" else 1)]
            raise InputError(
                f"{' '.join(words)}: expected {''.join(words)}, without spaces"
            )
    overrides = [argument for argument in arguments if ASSIGNMENT.fullmatch(argument)]
    return overrides, [argument for argument in arguments if argument not in overrides]


def to_json(config: Config) -> str:
    """Return the config as indented JSON; `from_json` restores an equal config."""
    return _JSON.dump_json(config, indent=2).decode() + "\n"


def from_json(text: str, source: str) -> Config:
    """Return the config in a JSON text.

    Raises:
        InputError: on an unknown field, a wrong type or a value out of range. The
            message names `source`.

    Examples:
        >>> from mnistsum.config import Config, from_json, to_json
        >>> from_json(to_json(Config(seed=3)), "config.json") == Config(seed=3)
        True
    """
    try:
        return _JSON.validate_python(json.loads(text))
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error)}") from None
    except ValueError as error:
        raise InputError(f"{source}: not JSON: {error}") from None


def read_config(folder: Path) -> Config:
    """Return the config of a run's folder; raise InputError if it has none."""
    path = folder / CONFIG
    return from_json(read_text(path), str(path))


def as_dict(config: Config) -> dict[str, Any]:
    """Return the values of the config's FIELDS."""
    return {key: attrgetter(key)(config) for key in FIELDS}


def override(config: Config, assignments: Sequence[str]) -> Config:
    """Return the config with assignments such as `training.epochs=2` applied.

    Another classifier gets its own default widths, unless an assignment gives them.

    Raises:
        InputError: if a field does not exist or cannot have the value.

    Examples:
        >>> from mnistsum.config import Config, override
        >>> override(Config(), ["model.widths=8,16", "seed=3"]).model.widths
        (8, 16)
    """
    values: dict[str, Any] = dataclasses.asdict(config)
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        if key not in FIELDS:
            raise InputError(f"{key}: {_unknown(key)}; --help lists all fields")
        section, _, name = key.rpartition(".")
        parent = values[section] if section else values
        parent[name] = None if value == "None" else value
    model = values["model"]
    widths_given = any(each.startswith("model.widths=") for each in assignments)
    if model["classifier"] != config.model.classifier and not widths_given:
        model["widths"] = ()
    try:
        return _JSON.validate_python(values)
    except ValidationError as error:
        raise InputError(explain(error)) from None


def explain(error: ValidationError, section: str = "") -> str:
    """Say in one line, for each field, what was expected and what was found.

    Args:
        error: of a whole config, or of one of its sections.
        section: the section's name, such as `model`.
    """
    problems: dict[str, list[str]] = {}
    for each in error.errors():
        place = [section] if section else []
        place += map(str, each["loc"])
        depth = 2 if place and place[0] in SECTIONS else 1
        key = ".".join(place[:depth]) or "a config"
        reason = f"{each['msg'][:1].lower()}{each['msg'][1:]}".replace(
            "input should be", "expected"
        )
        if each["type"] == "unexpected_keyword_argument":
            reason = _unknown(key)
        else:
            reason += f", found {each['input']!r}"
        problems.setdefault(key, []).append(reason)
    return "; ".join(
        f"{key}: {' or '.join(reasons)}" for key, reasons in problems.items()
    )


def _unknown(key: str) -> str:
    """Say that there is no such field, and suggest a similar one."""
    section = key.rpartition(".")[0]
    near = [field for field in FIELDS if field.rpartition(".")[0] == section]
    return f"unknown field{did_you_mean(key, near) or did_you_mean(key, FIELDS)}"


def check_config(kind: type, config: Any) -> None:
    """Raise InputError if an argument is no config of this kind."""
    if isinstance(config, kind):
        return
    sections = {section: name for name, section in SECTIONS.items()}
    hint = ""
    if isinstance(config, Config) and kind in sections:
        hint = f"; give its section, config.{sections[kind]}"
    elif type(config) in sections:
        hint = f"; it is the section `{sections[type(config)]}` of a Config"
    found = type(config).__name__
    raise InputError(f"config: expected {kind.__name__}, found {found}{hint}")


def fields_with(*roles: Role) -> tuple[str, ...]:
    """Return the dotted keys of the fields that have one of these roles.

    Examples:
        >>> from mnistsum.config import Role, fields_with
        >>> fields_with(Role.SIZE)
        ('model.widths', 'model.hidden')
    """
    keys = []
    for key, kind in FIELDS.items():
        if any(role in get_args(kind) for role in roles):
            keys.append(key)
    return tuple(keys)


def field_comments() -> dict[str, str]:
    """Return the comment behind each field in this file, by dotted key.

    It says the field's unit and meaning.
    """
    source = "".join(map(inspect.getsource, (Config, *SECTIONS.values())))
    return dict(
        zip(
            FIELDS,
            re.findall(r"^    \w+: .*?  # (.*)$", source, re.MULTILINE),
            strict=True,
        )
    )
