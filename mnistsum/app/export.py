"""`mnistsum export`: writes a trained network for other programs."""

from argparse import Namespace

from mnistsum.app.console import say
from mnistsum.errors import InputError
from mnistsum.export import to_stablehlo
from mnistsum.file_io import make_folder, write_whole
from mnistsum.storage import PRETRAINED, WEIGHTS, load_run, locate, save_weights


def run_export(options: Namespace) -> int:
    """Write a network as weights or as a graph; return the exit status."""
    path = locate(options.model)
    network = load_run(path, options.config)
    if options.output is None and (path.parent == PRETRAINED or not path.is_dir()):
        raise InputError(
            "--output: expected a folder to write to, as the model is not a run's "
            "folder"
        )
    folder = options.output or path / "export"
    if (folder / "run.json").exists():
        raise InputError(
            f"--output {folder}: a run's folder, whose own files would be lost; name "
            "another"
        )
    if options.to == "safetensors":
        written = folder / WEIGHTS
        make_folder(folder)
        save_weights(written, network)
    else:
        written = folder / "model.stablehlo"
        graph = to_stablehlo(network.config, network.model)
        make_folder(folder)
        write_whole(written, graph)
    say(f"{written}: {written.stat().st_size:,} bytes")
    return 0
