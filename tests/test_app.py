"""The command `mnistsum`: what it prints, and how it ends."""

import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image
from programs import ROOT, write_set

from mnistsum.app.main import command
from mnistsum.config import DataConfig
from mnistsum.data import digest, load
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate, score
from mnistsum.predict import load_pretrained
from mnistsum.storage import save_weights


@pytest.fixture
def album(mnist, tmp_path) -> Path:
    """A folder of six digits, a .png file that is no image, and a file not named like a picture."""
    for i, image in enumerate(mnist.test.images[:6]):
        Image.fromarray(255 - image[..., 0]).resize((280, 280)).save(
            tmp_path / f"{i}.PNG"
        )
    for name in ("bad.png", "notes.txt"):
        (tmp_path / name).write_text("no picture")
    return tmp_path


def test_pictures_and_standard_input_give_the_answers_of_python(album, mnist):
    files = [str(album / "0.PNG"), str(album / "1.PNG")]
    line = [
        sys.executable,
        "-m",
        "mnistsum",
        "predict",
        *files,
        "-",
        "--number",
        "7",
        "--json",
    ]
    run = subprocess.run(
        line,
        input=(album / "1.PNG").read_bytes(),
        cwd=ROOT,
        capture_output=True,
        timeout=100,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    rows = json.loads(run.stdout)
    assert [row["file"] for row in rows] == [*files, "standard input"]
    assert [(row["digit"], row["sum"]) for row in rows] == [(7, 14), (2, 9), (2, 9)]
    assert all(
        row["agree"] and row["number"] == 7 and row["warnings"] == [] for row in rows
    )
    for output, values in (
        load_pretrained("base").predict(mnist.test.images[:1], 7)._asdict().items()
    ):
        top = rows[0][f"{output}_top3"]
        assert top[0]["value"] == values[0].argmax()
        # of the picture, not of the image
        assert top[0]["probability"] == pytest.approx(values[0].max(), abs=0.02)


def test_a_folder_or_a_pattern_gives_a_row_for_each_picture_and_the_reason_of_each_that_cannot_be_read(
    album, capsys, run_program
):
    bad, reason = (
        str(album / "bad.png"),
        "expected a PNG, JPEG, GIF or BMP image, found another kind of file",
    )
    files = [*(str(album / f"{i}.PNG") for i in range(6)), bad]
    with pytest.raises(InputError, match=f"^{bad}: {reason}$"):
        command(["predict", str(album), "--number", "1", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row.get("digit") for row in rows] == [7, 2, 1, 0, 4, 1, None]
    assert rows[-1] == {"file": bad, "error": reason}
    assert [row["file"] for row in rows] == files
    with pytest.raises(InputError):
        command(["predict", str(album), "--number", "1"])
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == files
    assert lines[-1].rstrip().endswith(reason)
    with pytest.raises(InputError, match=f"^{bad}: {reason}$"):
        command(
            ["predict", str(album / "**" / "[0b]*.[pP]*"), "--number", "1", "--json"]
        )
    assert [row["file"] for row in json.loads(capsys.readouterr().out)] == [
        files[0],
        bad,
    ]
    answer = f"error: {bad}: {reason} (and 1 more of 8 pictures)\n"
    assert run_program(command, "predict", album, "nowhere.png") == (2, answer)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["predit"], "; did you mean predict?; mnistsum --help"),
        (
            ["export", "base", "--to", "safetensor"],
            "; did you mean safetensors?; mnistsum export --help",
        ),
        (
            ["export", "--to", "safetensors", "--outptu"],
            "--outptu; did you mean --output?; mnistsum export --help",
        ),
        (["predict", "x.png", "--number", "12"], ", 9); mnistsum predict --help"),
        (
            ["draw", "--port", "99999"],
            "--port 99999: expected a port from 1 to 65535, or 0 for any free one",
        ),
        (["predict", "nowhere.png"], "nowhere.png: no such file"),
        (
            ["predict", "."],
            ".: expected pictures (.png, .jpg, .jpeg, .gif, .bmp) in this folder, found none",
        ),
        (["predict", "x.png", "--config", "nowhere.py"], "nowhere.py: no such file"),
        *(
            (
                arguments,
                "bass: no such model; expected base, best, a run's folder or a file of weights",
            )
            for command, *rest in (
                ["evaluate"],
                ["draw"],
                ["export", "--to", "stablehlo"],
            )
            for arguments in (
                [command, "bass", *rest],
                [command, "--model", "bass", *rest],
            )
        ),
        (
            ["evaluate", "base", "--model", "best"],
            "argument --model: not allowed with argument model",
        ),
    ],
)
def test_a_mistake_is_answered_in_one_line_with_status_2(
    run_program, tmp_path, monkeypatch, arguments, answer
):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(command, *arguments)
    assert (status, stderr.count("\n")) == (2, 1)
    assert stderr.startswith("error: ") and answer in stderr


@pytest.mark.slow
def test_evaluate_says_what_scores_say_and_warns_if_the_data_or_the_code_has_changed(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    network = load_pretrained("base")
    config = DataConfig(dir=str(write_set(tmp_path, 64, 30)), validation=20)
    data = load(config)
    digests = {name: digest(split) for name, split in data._asdict().items()}
    network = network._replace(
        config=dataclasses.replace(network.config, data=config), data=digests
    )
    save_weights(tmp_path / "weights.safetensors", network)
    assert (
        command(["evaluate", "weights.safetensors", "--split", "validation", "--json"])
        == 0
    )
    expected = score(
        evaluate(config, network.model, data.validation), data.validation.labels
    )
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(expected))
    (tmp_path / "summary.json").write_text(json.dumps({"validation": expected}))
    with warnings.catch_warnings(action="error"):
        command(["evaluate", ".", "--split", "validation"])
    (tmp_path / "summary.json").write_text(
        json.dumps({"validation": expected | {"sum_accuracy": 0.5}})
    )
    with pytest.warns(
        UserWarning,
        match=r"^. recorded another score of the same images: digit .*%, sum 50.00%$",
    ):
        command(["evaluate", ".", "--split", "validation"])
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:8] + bytes([3]) * 30)
    with pytest.warns(
        UserWarning,
        match=r"^the test images are not those that weights.safetensors recorded$",
    ):
        command(["evaluate", "weights.safetensors"])
    assert "30 images, ten numbers each" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (FloatingPointError("loss not finite"), (1, "error: loss not finite\n")),
        (KeyboardInterrupt(), (130, "")),
    ],
)
def test_expected_errors_are_one_line_and_a_status(run_program, error, ending):
    assert run_program(Mock(side_effect=error)) == ending


def test_other_errors_show_a_traceback(run_program):
    with pytest.raises(ZeroDivisionError):
        run_program(Mock(side_effect=ZeroDivisionError))
