"""Logs a run's metrics, pictures and config for TensorBoard, with tensorboardX (extra `tensorboard`)."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tensorboardX
from PIL import Image
from tensorboardX.summary import hparams

from experiments.training.folder import PICTURES, Finished
from mnistsum.config import as_dict
from mnistsum.evaluation import SCORES
from mnistsum.file_io import writing

FOLDER = "tensorboard"  # in a run's folder
SIZES = ("images", "pairs")  # scores that are the same in every line


class Log:
    """The log of a run. Opening it replaces an earlier log, so that a resumed run has each point once."""

    def __init__(self, folder: Path, run: dict[str, Any], lines: Sequence[dict[str, Any]]):
        """Open the log.

        Args:
            folder: of the run.
            run: the content of its `run.json`.
            lines: its metrics so far.
        """
        self.began = datetime.fromisoformat(run["started"]).timestamp()
        with writing(folder / FOLDER):
            for old_log in (folder / FOLDER).glob("events.*"):
                old_log.unlink()
            self.writer = tensorboardX.SummaryWriter(str(folder / FOLDER), flush_secs=1)
        for line in lines:
            self.add(line)

    def add(self, line: dict[str, Any]) -> None:
        """Add a line of metrics. Its time leaves out any interruption of the run."""
        moment = self.began + line["clock"]["wall_seconds"]
        for part in line.keys() & {"train", "validation", "test"}:
            for name, value in line[part].items():
                if name not in SIZES:
                    self.writer.add_scalar(f"{name}/{part}", value, line["step"], moment)
        self.writer.add_scalar("epoch", line["epoch"], line["step"], moment)

    def finish(self, finished: Finished) -> None:
        """Add the pictures of a finished run, its config and its test scores, and close the log."""
        step = finished.summary["steps"]
        for name in PICTURES:
            with Image.open(finished.folder / f"{name}.png") as picture:
                self.writer.add_image(f"pictures/{name}", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        fields = {name: _plain(value) for name, value in as_dict(finished.config).items()}
        results = {f"{name}/test": finished.summary["test"][name] for name in SCORES}
        for summary in hparams(fields, results):
            assert self.writer.file_writer is not None
            self.writer.file_writer.add_summary(summary)
        if finished.config.data.validation:  # else the last line of metrics has them
            for name, value in results.items():
                self.writer.add_scalar(name, value, step)
        self.writer.close()


def _plain(value: Any) -> Any:
    """Return a field's value in a type that TensorBoard accepts."""
    return value if isinstance(value, bool | int | float | str) else str(value)
