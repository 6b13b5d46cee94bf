"""Writes a trained network for other programs: `python -m experiments.export RUN --to safetensors`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from experiments import cli
from mnistsum.errors import InputError


@dataclass(frozen=True)
class Export:
    """Writes a trained network as weights that load back bit for bit, or as a graph that needs no mnistsum."""

    model: Positional[str]  # a run's folder, exported weights, or a network that ships with the package
    to: Literal["safetensors", "stablehlo", "onnx"]  # onnx needs the extra `onnx`
    config: str | None = None  # the .py file that defines the model's architecture, where it is your own
    output: Path | None = None  # default: export/ in the run's folder
    rounded: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False  # of safetensors: kernels in bfloat16, half the size


def command(arguments: list[str]) -> int:
    """The exit status of the program."""
    options = tyro.cli(Export, prog="python -m experiments.export", args=arguments, use_underscores=True)
    if options.config is not None:
        cli.load_config(options.config)

    from experiments.screen import console
    from mnistsum import export, weights
    from mnistsum.files import write_whole, writing
    from mnistsum.predict import load_pretrained

    graphs = {"stablehlo": export.to_stablehlo, "onnx": export.to_onnx}
    config, model = load_pretrained(options.model)
    if options.output is None and not Path(options.model).is_dir():
        raise InputError("--output: expected a folder to write to, as the model is no run's folder")
    folder = options.output or Path(options.model) / "export"
    graph = graphs[options.to](config, model) if options.to in graphs else None  # before anything is written
    written = folder / (weights.WEIGHTS if graph is None else f"model.{options.to}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if graph is None:
            weights.save(folder, config, model, _describe(Path(options.model)), options.rounded)
        else:
            write_whole(written, graph)
    console.print(f"{written}: {written.stat().st_size:,} bytes", markup=False)
    return 0


def _describe(model: Path) -> str:
    """The run that made a network, in words, where it is one's folder."""
    if not (model / "summary.json").exists():
        return str(model)
    run, summary = (json.loads((model / name).read_text()) for name in ("run.json", "summary.json"))
    test = summary["test"]
    return (
        f"{run['command']}, commit {run['commit']}: "
        f"digit {test['digit_accuracy']:.2%}, sum {test['sum_accuracy']:.2%} on the test set"
    )


if __name__ == "__main__":
    cli.main(command)
