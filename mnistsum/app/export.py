"""`mnistsum export`: writes a trained network for other programs."""

from pathlib import Path

from mnistsum import weights
from mnistsum.app.console import console
from mnistsum.app.errors import printable
from mnistsum.app.options import Export
from mnistsum.config import CONFIG
from mnistsum.errors import InputError
from mnistsum.export import to_onnx, to_stablehlo
from mnistsum.files import load_arrays, write_whole, writing
from mnistsum.predict import PRETRAINED, load_pretrained, locate

GRAPHS = {"stablehlo": to_stablehlo, "onnx": to_onnx}


def export(options: Export) -> int:
    """Write a network as weights or as a graph; return the exit status."""
    config, model, temperatures = load_pretrained(options.model, options.config)
    model_path = locate(options.model)
    if options.output is None and (model_path.parent == PRETRAINED or not model_path.is_dir()):
        raise InputError("--output: expected a folder to write to, as the model is not a run's folder")
    folder = options.output or model_path / "export"
    if (folder / "run.json").exists():
        raise InputError(f"--output {folder}: a run's folder, whose own files would be lost; name another")
    to_graph = GRAPHS.get(options.to)
    if options.rounded and to_graph:
        raise InputError(f"--rounded: expected with --to safetensors, found --to {options.to}")
    config_beside, older = folder / CONFIG, folder / weights.WEIGHTS
    if to_graph is None and config_beside.exists() and not older.exists():
        raise InputError(f"--output {folder}: holds a {CONFIG} that does not belong to an export; name another")
    graph = to_graph(config, model, temperatures) if to_graph else None  # before anything is written
    written = folder / (weights.WEIGHTS if graph is None else f"model.{options.to}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if graph is None:
        made_by = _describe(model_path)
        with writing(folder):
            config_beside.unlink(missing_ok=True)  # from an export by an earlier version
        weights.save(written, config, model, made_by, temperatures, options.rounded)
    else:
        write_whole(written, graph)
    console.print(f"{printable(str(written))}: {written.stat().st_size:,} bytes", markup=False)
    return 0


def _describe(model: Path) -> str:
    """Describe where a network comes from: as its weights file says, or its path if it has none."""
    file = model / weights.WEIGHTS if model.is_dir() else model
    return load_arrays(file)[1]["made_by"] if file.is_file() else printable(str(model))
