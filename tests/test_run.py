"""Runs from end to end, in processes of their own, as a user starts them; their files are read back."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from programs import ROOT, timeless, write_set

import mnistsum
from experiments import cli
from experiments.report import console
from mnistsum import testing, weights
from mnistsum.calibration import fit_temperature
from mnistsum.data import load, scale
from mnistsum.evaluation import evaluate, labeled_logits


def start(*arguments, cwd=ROOT, **environment) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.run", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def files(folder: Path) -> dict[str, bytes]:
    """Return what must have equal bits: everything but clocks, and the figures and report made from the rest."""
    lines = [json.loads(line) | {"clock": None} for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "config": (folder / "config.json").read_bytes(),
        "predictions": (folder / "predictions.npz").read_bytes(),
        "metrics": json.dumps(lines).encode(),
        "summary": json.dumps(timeless(folder), sort_keys=True).encode(),
    }


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str]:
    """A finished run of `smoke`, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    return folder, finish(start("--config", "smoke", "--output", folder))


def test_a_run_says_what_it_does_in_plain_lines(smoke):
    _, output = smoke
    assert "55,000 train, 5,000 validation, 10,000 test images" in output
    assert re.search(r"total +30,589 +30,400", output)
    assert re.search(r"epoch 1/1 +validation: average loss \d\.\d+, digit \d\d\.\d\d%, sum \d\d\.\d\d%", output)
    assert "\x1b" not in output
    assert "\r" not in output


@pytest.mark.parametrize("name", ["base", "smoke"])
def test_base_alone_leads_to_the_network_of_the_write_up(mnist, capsys, name):
    console.introduce(cli.load_config(name), mnist)
    assert ("--config reference" in capsys.readouterr().out) == (name == "base")


def test_a_run_leaves_the_files_of_its_folder(smoke):
    folder, _ = smoke
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("config.json", "run.json", "metrics.jsonl", "checkpoints", "predictions.npz", "summary.json"),
        *("curves.png", "confusion.png", "examples.png", "report.html", "weights.safetensors", ".lock"),
    }
    run = json.loads((folder / "run.json").read_text())
    assert run["command"] == f"python -m experiments.run --config smoke --output {folder}"
    assert run["versions"].keys() == {"python", "jax", "jaxlib", "flax", "optax", "numpy"}
    assert run["hardware"] not in ("", "cpu")
    assert {"mnistsum.train", "mnistsum.data", "mnistsum.models.classifiers.mlp"} <= run["sources"].keys()
    assert not {"mnistsum.picture", "mnistsum.models.classifiers.vit"} & run["sources"].keys()
    assert not any(name.startswith(("experiments.report", "mnistsum.app")) for name in run["sources"])


def test_the_summary_agrees_with_the_predictions_and_the_model(smoke):
    folder, _ = smoke
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["config"], summary["dataset"], summary["seed"]) == ("smoke", "mnist", 0)
    assert (summary["parameters"], summary["epochs"], summary["steps"]) == (30589, 0.25, 107)
    assert 0 < summary["train_seconds"] < summary["wall_seconds"]
    config, model = mnistsum.load_run(folder)
    test = load(config.data).test
    predictions = np.load(folder / "predictions.npz")
    assert summary["test"]["digit_accuracy"] == (predictions["digit"] == test.labels).mean() > 0.85
    right = predictions["sum"] == test.labels[:, None] + np.arange(10)
    assert summary["test"]["sum_accuracy"] == right.mean()
    assert (summary["test"]["images"], summary["test"]["pairs"]) == (10_000, 100_000)
    evaluation = evaluate(config.data, model, test)
    assert (evaluation.digit == predictions["digit"]).all()
    # This process compiles, and so rounds, unlike the run: only ties may differ.
    for i, number in np.argwhere(evaluation.sum != predictions["sum"]):
        logits = model(scale(config.data, jnp.asarray(test.images[i : i + 1])), jnp.eye(10)[number][None])
        assert abs(np.subtract(*logits.sum[0, [evaluation.sum[i, number], predictions["sum"][i, number]]])) < 1e-4


def test_the_report_holds_everything_in_one_file(smoke):
    folder, _ = smoke
    report = (folder / "report.html").read_text()
    assert report.count("data:image/png;base64,") == 1
    assert not re.search(r"(src|href)=\"(?!data:|#)", report)  # no references outside itself
    assert report.count("<svg") == 6
    calibration = json.loads((folder / "summary.json").read_text())["calibration"]
    temperatures = weights.load(folder).temperatures
    assert temperatures == tuple(calibration[output]["temperature"] for output in ("digit", "sum"))
    config, model = mnistsum.load_run(folder)
    data = load(config.data)
    on = {
        name: labeled_logits(evaluate(config.data, model, split), split.labels)
        for name, split in (("validation", data.validation), ("test", data.test))
    }
    for output, temperature in zip(("digit", "sum"), temperatures, strict=True):
        assert temperature == pytest.approx(fit_temperature(*on["validation"][output]), rel=1e-3)
        assert temperature != pytest.approx(fit_temperature(*on["test"][output]), rel=1e-3)
    assert f"{temperatures.digit:.3f} for the digit" in " ".join(report.split())
    assert not re.search(r"https?://", report)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_a_run_elsewhere_stopped_by_a_signal_resumes_to_the_same_bits(smoke, tmp_path, number):
    """The working directory, PYTHONHASHSEED and an odd folder name do not change a bit, either."""
    folder, _ = smoke
    parts = "its two parts"
    elsewhere = {"cwd": tmp_path, "PYTHONHASHSEED": "7"}
    process = start("--config", "smoke", "--output", parts, **elsewhere)
    assert process.stdout is not None
    line = " "
    while line and not line.strip().startswith("total"):  # the table's last line: signals are caught by now
        line = process.stdout.readline()
    process.send_signal(number)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + number
    assert f"go on with: python -m experiments.run --resume '{parts}'" in rest
    assert not (tmp_path / parts / "summary.json").exists()
    (tmp_path / parts / ".metrics.jsonl-0.partial").touch()  # as a killed process leaves it
    assert "resumed at step" in finish(start("--resume", parts, **elsewhere))
    assert files(tmp_path / parts) == files(folder)
    assert not list((tmp_path / parts).glob("*.partial"))


@pytest.mark.slow
def test_a_trace_of_a_run_that_is_too_short_for_one_is_refused(tmp_path):
    process = start("--config", "smoke", "training.epochs=0.01", "--profile", tmp_path / "trace")
    assert "--profile: the run's 4 steps are over before a trace begins" in process.communicate(timeout=300)[1]
    assert process.returncode == 2
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_a_run_that_goes_on_with_other_devices_is_one_that_can_be_loaded(tmp_path):
    data = write_set(tmp_path, train=576, test=64)
    own = ["data.name=custom", f"data.dir={data}", "data.validation=64", "training.epochs=0.02"]
    finish(start("--config", "smoke", *own, "--output", tmp_path / "r"))
    finish(start("--resume", tmp_path / "r", "devices=1"))
    config, _ = mnistsum.load_run(tmp_path / "r")
    assert config.devices == 1
    assert json.loads((tmp_path / "r" / "run.json").read_text())["command"].endswith("devices=1")


@pytest.mark.slow
def test_a_folder_that_a_killed_start_left_is_as_good_as_new(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / ".run.json-0.partial").touch()
    finish(start("--config", "smoke", "training.epochs=0.02", "--output", tmp_path / "r"))
    assert not (tmp_path / "r" / ".run.json-0.partial").exists()


@pytest.mark.slow
def test_a_long_run_says_how_long_it_takes(tmp_path):
    process = start("--config", "mlp", "--output", tmp_path / "r")
    assert process.stdout is not None
    line = " "
    while line and not line.startswith("estimated duration"):
        line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert re.match(r"estimated duration: .+ of training \(3,432 steps of \d+\.\d ms, to epoch 8\)", line)


@pytest.mark.slow
def test_without_validation_the_test_set_is_reported_each_epoch(tmp_path):
    output = finish(start("--config", "smoke", "training.epochs=0.05", "data.validation=0", "--output", tmp_path / "r"))
    assert "60,000 train, 0 validation" in output
    assert re.search(r"epoch 1/1 +test: average loss", output)


@pytest.mark.slow
def test_ten_fresh_processes_give_the_same_bits(smoke, tmp_path):
    folder, _ = smoke
    for i in range(10):
        finish(start("--config", "smoke", "--output", tmp_path / str(i)))
        assert files(tmp_path / str(i)) == files(folder)


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """The README's architecture, in one file for all tests, as a process takes a name from only one."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "CLASSIFIERS" in block]
    file = tmp_path_factory.mktemp("own") / "wide.py"
    file.write_text(block)
    return file


def test_the_architecture_of_the_readme_has_the_shapes_of_the_contract(wide):
    testing.check_shapes(cli.load_config(str(wide)).model)


@pytest.mark.slow
def test_a_dry_run_writes_nothing(wide, tmp_path):
    file = Path(shutil.copy(wide, tmp_path))
    without_cache = {"PYTHONDONTWRITEBYTECODE": "1"}  # Python's own, beside the file
    output = finish(start("--config", file, "optimizer.name=sgd", "--dry-run", cwd=tmp_path, **without_cache))
    assert "classifier.hidden  Dense" in output
    assert re.search(r"estimated duration: .* \(3,432 steps of \d+\.\d ms, to epoch 8\)", output)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_the_architecture_of_the_readme_keeps_the_contract_and_resumes(wide, tmp_path):
    testing.check(cli.load_config(str(wide)).model)
    finish(start("--config", wide, "--output", "out", "training.epochs=0.05", cwd=tmp_path))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["parameters"] == 784 * 512 + 512 + 5130 + 5139
    # Its code is loaded because the user names it, never because the run's folder does.
    alone = start("--resume", "out", cwd=tmp_path)
    assert "if it is your own, give the file that defines it, too: --config FILE.py" in alone.communicate(timeout=60)[1]
    assert alone.returncode == 2
    finish(start("--resume", "out", "--config", wide, cwd=tmp_path))
    predict = [sys.executable, "-m", "mnistsum", "predict", ROOT / "docs" / "examples.png", "--model", "out", "--json"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([*predict, "--config", wide], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert len(json.loads(run.stdout)) == 10
