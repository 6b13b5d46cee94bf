"""The report of a run: whole in one file, true to the run's files, and no way to inject HTML."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from experiments.report import pages
from experiments.training import folder as files
from experiments.training.job import prepare
from experiments.training.runs import begin_runs, train_runs
from experiments.training.stops import RUN
from mnistsum.config import override
from mnistsum.types import Data, Split


@pytest.fixture(scope="module")
def finished(mnist, config, tmp_path_factory) -> files.Finished:
    folder = tmp_path_factory.mktemp("run")
    data = Data(*(Split(*(part[:64] for part in split)) for split in mnist))
    job = prepare(override(config, ["training.epochs=1"]), "a test", data)
    begin_runs(job, {0: folder})
    for _ in train_runs(job, {0: folder}, RUN):
        pass
    run = files.read(folder)
    pages.write_report(run, data)
    return run


def words(page: str) -> str:
    """Return a page's text."""
    found = []
    parser = HTMLParser()
    parser.handle_data = found.append
    parser.feed(page)
    return " ".join(" ".join(found).split())


def test_a_report_is_one_file_with_all_pictures_and_no_url(finished):
    page = (finished.folder / files.REPORT).read_text()
    assert not re.search(r"https?://|(src|href)=\"(?!data:|#)|<script|@import|url\((?!data:|#)", page)
    assert page.count("data:image/png;base64,") == 1
    names = re.findall(r'<svg role="img" aria-label="(.*?)"', page)
    assert {f"Confusion matrix of the {output}" for output in ("digit", "sum")} <= set(names)
    for name in files.PICTURES:
        with Image.open(finished.folder / f"{name}.png") as picture:
            assert min(picture.size) > 400
            assert len(np.unique(np.asarray(picture))) > 10


def test_a_report_holds_the_runs_scores_config_and_how_it_was_made(finished):
    text = words((finished.folder / files.REPORT).read_text())
    test = finished.summary["test"]
    for shown in (
        *(f"{test[name]:.2%}" for name in ("digit_accuracy", "sum_accuracy", "consistency")),
        *(f"{test[name]:.4f} nats" for name in ("digit_loss", "sum_loss")),
        *(f"{cell:.1%}" for row in test["sum_accuracy_by_cell"] for cell in row),
        *("a test", "optimizer.learning_rate 0.02", finished.run["versions"]["jaxlib"], finished.run["commit"] or ""),
    ):
        assert shown in text, shown


def test_a_report_escapes_all_values(finished):
    evil = "<script>alert(1)</script>"
    config = dataclasses.replace(finished.config, data=dataclasses.replace(finished.config.data, dir=evil))
    run = finished.run | {"command": evil, "commit": evil, "python": evil}
    run["settings"] = run["settings"] | {"hardware": evil}
    page = pages.report(finished._replace(config=config, run=run), finished.predictions["digit"])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 6  # the hardware twice
