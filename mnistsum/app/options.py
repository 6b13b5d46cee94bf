"""The options of each subcommand of `mnistsum`. JAX is not imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Predict:
    """Read the digit in each picture, dark on light or light on dark, and add a number to it."""

    files: Positional[tuple[str, ...]]  # PNG, JPEG, GIF or BMP files of one digit each, folders, globs; - for stdin
    number: int | None = None  # 0-9, added to each digit; by default, each of the ten in turn
    model: str = "base"  # base or best (shipped with the package), a run's folder, or exported weights
    config: Path | None = None  # the .py file that defines the model's architecture, if it is your own
    json: bool = False  # print a list of objects instead of a table
    csv: bool = False  # print lines of comma-separated values instead of a table


@dataclass(frozen=True)
class Evaluate:
    """Test a trained network on every image of a split, with all ten numbers."""

    model: Positional[str] = "base"  # a run's folder, exported weights, or base or best (shipped with the package)
    split: Literal["test", "validation", "train"] = "test"  # train: all training images but those of validation
    config: Path | None = None  # the .py file that defines the model's architecture, if it is your own
    json: bool = False  # print an object instead of a table


@dataclass(frozen=True)
class Export:
    """Write a trained network as weights that load back bit for bit, or as a graph that runs without mnistsum."""

    model: Positional[str]  # a run's folder, exported weights, or base or best (shipped with the package)
    to: Literal["safetensors", "stablehlo", "onnx"]  # onnx needs the extra `onnx`
    config: Path | None = None  # the .py file that defines the model's architecture, if it is your own
    output: Path | None = None  # default: export/ in the run's folder
    rounded: bool = False  # safetensors only: kernels in bfloat16, half the size


@dataclass(frozen=True)
class Draw:
    """Serve a page on this machine: draw a digit, pick a number, and see both answers as you draw. Ctrl-C ends it."""

    model: str = "base"  # base or best (shipped with the package), a run's folder, or exported weights
    config: Path | None = None  # the .py file that defines the model's architecture, if it is your own
    port: int = 0  # 0: any free port
    no_browser: bool = False  # only print the address, without opening it
