"""Logs a run for TensorBoard, with tensorboardX (extra `tensorboard`)."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from experiments.training.folder import PICTURES, Finished
from mnistsum.config import as_dict
from mnistsum.evaluation import SCORES
from mnistsum.file_io import writing


class Log:
    """The log of a run.

    Opening it replaces an earlier log, so that a resumed run has each point once.
    """

    def __init__(
        self, folder: Path, run: dict[str, Any], lines: Sequence[dict[str, Any]]
    ):
        """Open the log.

        Args:
            folder: of the run.
            run: the content of its `run.json`.
            lines: its metrics so far.
        """
        self.began = datetime.fromisoformat(run["started"]).timestamp()
        logs = folder / "tensorboard"
        with writing(logs):
            for old_log in logs.glob("events.*"):
                old_log.unlink()
            self.writer = SummaryWriter(str(logs), flush_secs=1)
        for line in lines:
            self.add(line)

    def add(self, line: dict[str, Any]) -> None:
        """Add a line of metrics. Its time leaves out any interruption of the run."""
        moment = self.began + line["clock"]["wall_seconds"]
        for part in line.keys() & {"train", "validation", "test"}:
            # which are the same in every line
            for name in line[part].keys() - {"images", "pairs"}:
                self.writer.add_scalar(
                    f"{name}/{part}", line[part][name], line["step"], moment
                )
        self.writer.add_scalar("epoch", line["epoch"], line["step"], moment)

    def finish(self, finished: Finished) -> None:
        """Add the pictures, config and test scores of a run, and close the log."""
        step = finished.summary["steps"]
        for name in PICTURES:
            with Image.open(finished.folder / f"{name}.png") as picture:
                self.writer.add_image(
                    f"pictures/{name}", np.asarray(picture), step, dataformats="HWC"
                )
        fields = as_dict(finished.config).items()
        scores = {f"{name}/final": finished.summary["test"][name] for name in SCORES}
        for name, value in scores.items():
            self.writer.add_scalar(name, value, step)
        assert self.writer.file_writer is not None
        # TensorBoard accepts no tuple and no None.
        for summary in hparams(
            {k: v if isinstance(v, int | float | str) else str(v) for k, v in fields},
            scores,
        ):
            self.writer.file_writer.add_summary(summary)
        self.writer.close()
