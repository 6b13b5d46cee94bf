"""Runs from end to end, in processes of their own; their files are read back."""

import re
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from programs import bits, finish, start, wait_for_line

import mnistsum
from experiments.report import pages
from experiments.training.folder import read_finished
from mnistsum.config import override
from mnistsum.data import load
from mnistsum.evaluation import evaluate
from mnistsum.file_io import read_json


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A finished run of `smoke`, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    output, _ = finish(start("smoke", "--log", "tensorboard", "--output", folder))
    return folder, output


def test_a_run_says_what_it_does_and_leaves_its_files(smoke):
    folder, output = smoke
    percent = r"\d\d\.\d\d%"
    for line in (
        "55,000 train, 5,000 validation, 10,000 test images",
        r"total +30,589\s+30,400 multiply-adds for one image and one number",
        rf"epoch 0.249 of 0.249 +validation: .*, digit {percent}, sum {percent}",
    ):
        assert re.search(line, output)
    assert "\x1b" not in output
    assert "\r" not in output
    files = """
        config.json run.json metrics.jsonl checkpoints predictions.npz summary.json
        curves.png confusion.png examples.png report.html weights.safetensors .lock
        tensorboard
    """
    assert {path.name for path in folder.iterdir()} == set(files.split())
    command = f"experiments.run smoke --log tensorboard --output {folder}"
    assert read_json(folder / "run.json")["command"] == f"python -m {command}"
    (log,) = (folder / "tensorboard").iterdir()
    assert b"pictures/confusion" in log.read_bytes()


def test_the_summary_agrees_with_the_predictions_and_the_model(smoke):
    folder, _ = smoke
    summary = read_json(folder / "summary.json")
    assert 0 < summary["train_seconds"] < summary["wall_seconds"]
    config, model, *_ = mnistsum.load_run(folder)
    test = load(config.data).test
    digit, total = np.load(folder / "predictions.npz").values()
    right = digit == test.labels, total == test.labels[:, None] + np.arange(10)
    for name, each in zip(("digit", "sum"), right, strict=True):
        assert summary["test"][f"{name}_accuracy"] == each.mean()
    assert right[0].mean() > 0.85
    evaluation = evaluate(config.data, model, test)
    assert (evaluation.digit == digit).all()
    # This process compiles, and so rounds, unlike the run: only ties may differ.
    logits = evaluation.sum_logits
    chosen = np.take_along_axis(logits, total[..., None], -1)[..., 0]
    assert (logits.max(-1) - chosen).max() < 1e-4


@pytest.mark.slow
def test_a_finished_run_that_is_resumed_changes_nothing(smoke):
    folder, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    output, _ = finish(start("--resume", folder))
    assert "this run is finished; nothing has changed" in output
    assert "trained in" in output  # it shows its results
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.slow
def test_a_run_killed_before_its_report_gets_it(smoke, tmp_path):
    folder = shutil.copytree(smoke[0], tmp_path / "run")
    (folder / "report.html").unlink()
    finish(start("--resume", folder))
    assert (folder / "report.html").exists()


@pytest.mark.slow
def test_a_finished_run_says_which_file_was_edited_since(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(NETWORK)
    folder = tmp_path / "run"
    finish(start("--config", file, "training.epochs=0.05", "--output", folder))
    for old, new, said in (
        ("# call", "# another comment", "own.py was edited"),
        ("logits, batch)  #", "logits, batch) / 2  #", "its program of training has"),
    ):
        file.write_text(NETWORK.replace(old, new))
        output, _ = finish(start("--resume", folder, "--config", file))
        assert f"this run is finished; since then, {said}" in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_stopped_by_a_signal_resumes_to_the_same_bits(smoke, tmp_path, number):
    """The working directory, PYTHONHASHSEED and an odd folder name change no bit."""
    parts = "its two parts"
    elsewhere = {"cwd": tmp_path, "PYTHONHASHSEED": "7"}
    process = start("smoke", "--output", parts, **elsewhere)
    wait_for_line(process, " total")  # signals are caught by now
    process.send_signal(number)
    rest, _ = finish(process, 128 + number)
    assert f"go on with: python -m experiments.run --resume '{parts}'" in rest
    folder = tmp_path / parts
    assert list((folder / "checkpoints").iterdir())
    assert not (folder / "summary.json").exists()
    # as a killed process leaves it
    (folder / ".metrics.jsonl-0.partial").touch()
    assert "resumed at step" in finish(start("--resume", parts, **elsewhere))[0]
    assert bits(folder) == bits(smoke[0])
    assert not list(folder.glob("*.partial"))


@pytest.mark.slow
def test_fresh_processes_give_the_same_bits_and_one_compiles(smoke, tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path), "JAX_LOG_COMPILES": "1"}
    for i in range(3):
        folder = tmp_path / str(i)
        _, log = finish(start("smoke", "--output", folder, **environment))
        for program in ("init_state", "advance", "evaluate_chunk"):
            assert log.count(f"Finished XLA compilation of jit({program})") == 1
            assert log.count(f"compilation cache hit for 'jit_{program}'") == (i > 0)
        assert bits(folder) == bits(smoke[0])


NETWORK = """
import optax
from mnistsum import Config, ModelConfig, ObjectiveConfig, OptimizerConfig
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.objective import weighted

class Mine(MLP):
    def __init__(self, config, rngs):
        super().__init__(config, rngs)  # init

    def __call__(self, image):
        return super().__call__(image)  # call

def rule(config, rate):
    return optax.sgd(rate)  # optimizer

def loss(config, logits, batch):
    return weighted(config, logits, batch)  # objective

CLASSIFIERS, OPTIMIZERS, OBJECTIVES = {"mine": Mine}, {"mine": rule}, {"mine": loss}
pass  # file
config = Config(
    "own",
    model=ModelConfig(classifier="mine", widths=(8,)),
    optimizer=OptimizerConfig("mine"),
    objective=ObjectiveConfig("mine"),
)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "place, error",
    [
        ("file", "OSError"),
        ("init", "FloatingPointError"),
        ("call", "AssertionError"),
        ("optimizer", "OSError"),
        ("objective", "ZeroDivisionError"),
    ],
)
def test_a_fault_in_a_users_code_is_shown_with_its_line(tmp_path, place, error):
    """By Python's traceback, which begins and ends in the user's file."""
    file, fault = tmp_path / "own.py", f"raise {error}('mine')  # {place}"
    file.write_text(re.sub(rf"\S.*  # {place}", fault, NETWORK))
    environment = {"cwd": tmp_path, "PYTHONDONTWRITEBYTECODE": "1"}
    process = start("--config", file, "--output", "run", **environment)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith(f'Traceback (most recent call last):\n  File "{file}"')
    lines = re.findall(r'^  File "(.*)", .*\n +(.*)$', errors, re.MULTILINE)
    assert lines[-1] == (str(file), fault)
    assert f"{error}: mine" in errors
    assert list(tmp_path.iterdir()) == [file]


def test_a_report_is_one_file_with_all_pictures_and_no_url(smoke):
    folder, _ = smoke
    page = (folder / "report.html").read_text()
    foreign = r"https?://|(src|href)=\"(?!data:|#)|<script|@import|url\((?!data:|#)"
    assert not re.search(foreign, page)
    names = re.findall(r'<svg role="img" aria-label="(.*?)[:"]', page)
    assert names == ["Random images", "Mistakes", "Digit", "Sum"]
    for name in ("curves", "confusion", "examples"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 400
            assert len(np.unique(np.asarray(picture))) > 10


def test_a_report_shows_scores_config_and_how_it_was_made(smoke):
    finished = read_finished(smoke[0])
    page = (finished.folder / "report.html").read_text()
    text = " ".join(re.sub("<[^>]*>", " ", page).split())
    test = finished.summary["test"]
    shares = [test["digit_accuracy"], test["sum_accuracy"], test["consistency"]]
    shown = [f"{share:.2%}" for share in shares]
    shown += [f"{test[name]:.4f} nats" for name in ("digit_loss", "sum_loss")]
    shown += [f"{cell:.1%}" for cell in np.ravel(test["sum_accuracy_by_cell"])]
    shown += [finished.about["versions"]["jaxlib"], finished.about["commit"]]
    for each in ("optimizer.learning_rate 0.02", *shown):
        assert each in text


def test_a_report_escapes_all_values(smoke, mnist, tmp_path):
    finished = read_finished(smoke[0])
    evil = "<script>alert(1)</script>"
    config = override(finished.config, [f"data.dir={evil}"])
    about = finished.about | dict.fromkeys(("command", "commit", "python"), evil)
    about["settings"] = about["settings"] | {"hardware": evil}
    harmful = finished._replace(folder=tmp_path, config=config, about=about)
    pages.write_report(harmful, mnist)
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7  # hardware and data twice
