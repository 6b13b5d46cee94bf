"""`mnistsum export`: a trained network for other programs."""

import json
from pathlib import Path

from mnistsum import weights
from mnistsum.app.console import console
from mnistsum.app.options import Export
from mnistsum.errors import InputError
from mnistsum.export import to_onnx, to_stablehlo
from mnistsum.files import write_whole, writing
from mnistsum.predict import load_pretrained

GRAPHS = {"stablehlo": to_stablehlo, "onnx": to_onnx}


def export(options: Export) -> int:
    """Write a network as weights or as a graph; return the exit status."""
    config, model = load_pretrained(options.model, options.config)
    if options.output is None and not Path(options.model).is_dir():
        raise InputError("--output: expected a folder to write to, as the model is no run's folder")
    folder = options.output or Path(options.model) / "export"
    graph = GRAPHS[options.to](config, model) if options.to in GRAPHS else None  # before anything is written
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
    """Return the run that made a network, in words, where it is one's folder."""
    if not (model / "summary.json").exists():
        return str(model)
    run, summary = (json.loads((model / name).read_text()) for name in ("run.json", "summary.json"))
    test = summary["test"]
    return (
        f"{run['command']}, commit {run['commit']}: "
        f"digit {test['digit_accuracy']:.2%}, sum {test['sum_accuracy']:.2%} on the test set"
    )
