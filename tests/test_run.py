"""Runs from end to end, in processes of their own, as a user starts them; their files and report are read back."""

import dataclasses
import json
import re
import signal
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from programs import bits, finish, start, wait_for_line

import mnistsum
from experiments.report import pages
from experiments.training.folder import read_finished
from mnistsum.data import load, scale
from mnistsum.evaluation import evaluate


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str]:
    """A finished run of `smoke`, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    return folder, finish(
        start("--config", "smoke", "--log", "tensorboard", "--output", folder)
    )[0]


def test_a_run_says_what_it_does_in_plain_lines_and_leaves_the_files_of_its_folder(
    smoke,
):
    folder, output = smoke
    assert "55,000 train, 5,000 validation, 10,000 test images" in output
    assert re.search(
        r"total +30,589\s+30,400 multiply-adds for one image and one number", output
    )
    assert re.search(
        r"epoch 0.249 of 0.249 +validation: average loss \d\.\d+, digit \d\d\.\d\d%, sum \d\d\.\d\d%",
        output,
    )
    assert "\x1b" not in output and "\r" not in output
    assert {path.name for path in folder.iterdir()} == {
        *(
            "config.json",
            "run.json",
            "metrics.jsonl",
            "checkpoints",
            "predictions.npz",
            "summary.json",
        ),
        *(
            "curves.png",
            "confusion.png",
            "examples.png",
            "report.html",
            "weights.safetensors",
            ".lock",
            "tensorboard",
        ),
    }
    run = json.loads((folder / "run.json").read_text())
    assert (
        run["command"]
        == f"python -m experiments.run --config smoke --log tensorboard --output {folder}"
    )
    (log,) = (folder / "tensorboard").iterdir()
    assert b"pictures/confusion" in log.read_bytes()


def test_the_summary_agrees_with_the_predictions_and_the_model(smoke):
    folder, _ = smoke
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 < summary["train_seconds"] < summary["wall_seconds"]
    config, model, *_ = mnistsum.load_run(folder)
    data = load(config.data)
    predictions = np.load(folder / "predictions.npz")
    right = predictions["sum"] == data.test.labels[:, None] + np.arange(10)
    assert (
        summary["test"]["digit_accuracy"]
        == (predictions["digit"] == data.test.labels).mean()
        > 0.85
    )
    assert summary["test"]["sum_accuracy"] == right.mean()
    evaluation = evaluate(config.data, model, data.test)
    assert (evaluation.digit == predictions["digit"]).all()
    # This process compiles, and so rounds, unlike the run: only ties may differ.
    for i, number in np.argwhere(evaluation.sum != predictions["sum"]):
        logits = model(
            scale(config.model.scaling, jnp.asarray(data.test.images[i : i + 1])),
            jnp.eye(10)[number][None],
        )
        assert (
            abs(
                np.subtract(
                    *logits.sum[
                        0, [evaluation.sum[i, number], predictions["sum"][i, number]]
                    ]
                )
            )
            < 1e-4
        )


@pytest.mark.slow
def test_a_finished_run_that_is_resumed_shows_its_results_and_changes_nothing(smoke):
    folder, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    output, _ = finish(start("--resume", folder))
    assert (
        "this run is finished; nothing has changed" in output and "trained in" in output
    )
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.slow
def test_a_finished_run_that_is_resumed_says_what_of_its_users_file_has_changed_since(
    tmp_path,
):
    file = tmp_path / "own.py"
    file.write_text(NETWORK)
    finish(
        start("--config", file, "training.epochs=0.05", "--output", tmp_path / "run")
    )
    for edit, said in (
        (("# call", "# another comment"), "since then, own.py was edited"),
        (
            ("weighted(config, logits, batch)", "weighted(config, logits, batch) / 2"),
            "its program of training has",
        ),
    ):
        file.write_text(NETWORK.replace(*edit))
        output, _ = finish(start("--resume", tmp_path / "run", "--config", file))
        assert "this run is finished; " in output and said in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_a_run_elsewhere_stopped_by_a_signal_resumes_to_the_same_bits(
    smoke, tmp_path, number
):
    """The working directory, PYTHONHASHSEED and an odd folder name do not change a bit, either."""
    folder, _ = smoke
    parts = "its two parts"
    elsewhere = {"cwd": tmp_path, "PYTHONHASHSEED": "7"}
    process = start("--config", "smoke", "--output", parts, **elsewhere)
    wait_for_line(process, " total")  # signals are caught by now
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert f"go on with: python -m experiments.run --resume '{parts}'" in rest
    assert list((tmp_path / parts / "checkpoints").iterdir())
    assert not (tmp_path / parts / "summary.json").exists()
    # as a killed process leaves it
    (tmp_path / parts / ".metrics.jsonl-0.partial").touch()
    assert "resumed at step" in finish(start("--resume", parts, **elsewhere))[0]
    assert bits(tmp_path / parts) == bits(folder)
    assert not list((tmp_path / parts).glob("*.partial"))


@pytest.mark.slow
def test_ten_fresh_processes_give_the_same_bits_and_only_the_first_compiles(
    smoke, tmp_path
):
    folder, _ = smoke
    environment = {"XDG_CACHE_HOME": str(tmp_path), "JAX_LOG_COMPILES": "1"}
    for i in range(10):
        _, log = finish(
            start("--config", "smoke", "--output", tmp_path / str(i), **environment)
        )
        for program in ("init_state", "advance", "evaluate_chunk"):
            assert log.count(f"Finished XLA compilation of jit({program})") == 1
            assert log.count(f"compilation cache hit for 'jit_{program}'") == (i > 0)
        assert bits(tmp_path / str(i)) == bits(folder)


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
network = ModelConfig(classifier="mine", widths=(8,))
config = Config("own", model=network, optimizer=OptimizerConfig("mine"), objective=ObjectiveConfig("mine"))  # file
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("file", "OSError('mine')"),
        ("init", "FloatingPointError('mine')"),
        ("call", "AssertionError('mine')"),
        ("optimizer", "OSError('mine')"),
        ("objective", "ZeroDivisionError('mine')"),
    ],
)
def test_a_fault_in_a_users_code_ends_with_pythons_traceback_that_ends_in_their_line(
    tmp_path, place, error
):
    file = tmp_path / "own.py"
    file.write_text(
        re.sub(
            rf"^( *).*  # {place}$",
            rf"\1raise {error}  # {place}",
            NETWORK,
            flags=re.MULTILINE,
        )
    )
    process = start(
        "--config", file, "--output", "run", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1"
    )
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert errors.startswith(f'Traceback (most recent call last):\n  File "{file}"')
    *_, last = re.findall(
        r'^  File "(.*)", line \d+, in .*\n +(.*)$', errors, re.MULTILINE
    )
    assert last == (str(file), f"raise {error}  # {place}")
    assert error.partition("(")[0] + ": mine" in errors
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_an_edit_of_a_users_file_trains_its_config_alone_and_says_why(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(NETWORK)
    command = [
        "smoke",
        file,
        "--seeds",
        2,
        "training.epochs=0.05",
        "--output",
        tmp_path / "compared",
    ]
    first = start(*command, program="compare")
    wait_for_line(first, ("own, seed", "smoke, seed"))
    file.write_text(
        NETWORK.replace(
            "weighted(config, logits, batch)", "weighted(config, logits, batch) / 2"
        )
    )
    finish(first)  # of the code as it was when it started
    again, _ = finish(start(*command, program="compare"))
    assert "smoke: reusing 2 finished runs\n" in again
    assert (
        "own: training 2 runs, because its program of training has changed (own.py was edited)\n"
        in again
    )
    assert again.count("(reused)") == 2
    file.write_text(file.read_text().replace("# call", "# another comment"))
    assert finish(start(*command, program="compare"))[0].count("(reused)") == 4


def test_a_report_is_one_file_with_all_pictures_and_no_url(smoke):
    folder, _ = smoke
    page = (folder / "report.html").read_text()
    assert not re.search(
        r"https?://|(src|href)=\"(?!data:|#)|<script|@import|url\((?!data:|#)", page
    )
    names = re.findall(r'<svg role="img" aria-label="(.*?)[:"]', page)
    assert names == ["Random images", "Mistakes", "Digit", "Sum"]
    for name in ("curves", "confusion", "examples"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 400
            assert len(np.unique(np.asarray(picture))) > 10


def test_a_report_holds_the_runs_scores_config_and_how_it_was_made_and_escapes_all_values(
    smoke, mnist, tmp_path
):
    finished = read_finished(smoke[0])
    page = (finished.folder / "report.html").read_text()
    text = " ".join(re.sub("<[^>]*>", " ", page).split())
    test = finished.summary["test"]
    for shown in (
        *(
            f"{test[name]:.2%}"
            for name in ("digit_accuracy", "sum_accuracy", "consistency")
        ),
        *(f"{test[name]:.4f} nats" for name in ("digit_loss", "sum_loss")),
        *(f"{cell:.1%}" for row in test["sum_accuracy_by_cell"] for cell in row),
        *(
            "optimizer.learning_rate 0.02",
            finished.run["versions"]["jaxlib"],
            finished.run["commit"],
        ),
    ):
        assert shown in text, shown
    evil = "<script>alert(1)</script>"
    config = dataclasses.replace(
        finished.config, data=dataclasses.replace(finished.config.data, dir=evil)
    )
    run = finished.run | {"command": evil, "commit": evil, "python": evil}
    run["settings"] = run["settings"] | {"hardware": evil}
    pages.write_report(
        finished._replace(folder=tmp_path, config=config, run=run), mnist
    )
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7  # hardware and data twice
