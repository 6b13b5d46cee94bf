"""The command `mnistsum`: what it prints, and how it ends."""

import json
import subprocess
import sys
import warnings

import pytest
from PIL import Image
from programs import ROOT, TINY, write_set

from mnistsum.app.main import command
from mnistsum.config import override
from mnistsum.data import digest, load
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate, score
from mnistsum.file_io import write_json
from mnistsum.predict import load_pretrained
from mnistsum.storage import save_weights


@pytest.fixture
def album(mnist, tmp_path):
    """A folder of six digits, a .png file that is no image, and a file of text."""
    for i, image in enumerate(mnist.test.images[:6]):
        picture = Image.fromarray(255 - image[..., 0]).resize((280, 280))
        picture.save(tmp_path / f"{i}.PNG")
    for name in ("bad.png", "notes.txt"):
        (tmp_path / name).write_text("no picture")
    return tmp_path


def test_pictures_and_standard_input_give_the_answers_of_python(album, mnist):
    files = [str(album / "0.PNG"), str(album / "1.PNG")]
    words = "-m mnistsum predict --number 7 --json -"
    run = subprocess.run(
        [sys.executable, *words.split(), *files],
        input=(album / "1.PNG").read_bytes(),
        cwd=ROOT,
        capture_output=True,
    )
    assert run.returncode == 0
    assert run.stderr == b""
    rows = json.loads(run.stdout)
    answers = [(row["file"], row["digit"], row["sum"]) for row in rows]
    assert answers == [("standard input", 2, 9), (files[0], 7, 14), (files[1], 2, 9)]
    for row in rows:
        assert row["agree"]
        assert row["number"] == 7
        assert row["warnings"] == []
    # of the image, not of its picture
    probabilities = load_pretrained("base").predict(mnist.test.images[:1], 7)
    for output, (values,) in probabilities._asdict().items():
        top = pytest.approx(values.max(), abs=0.02)
        expected = {"value": values.argmax(), "probability": top}
        assert rows[1][f"{output}_top3"][0] == expected


def test_each_picture_has_a_row_and_each_that_is_none_its_reason(
    album, capsys, run_program
):
    bad = str(album / "bad.png")
    reason = "expected a PNG, JPEG, GIF or BMP image, found another kind of file"
    files = [*(str(album / f"{i}.PNG") for i in range(6)), bad]

    def predict(*words):
        with pytest.raises(InputError, match=f"^{bad}: {reason}$"):
            command(["predict", "--number", "1", *words])
        return capsys.readouterr().out

    rows = json.loads(predict(str(album), "--json"))
    assert [row.get("digit") for row in rows] == [7, 2, 1, 0, 4, 1, None]
    assert rows[-1] == {"file": bad, "error": reason}
    assert [row["file"] for row in rows] == files
    _, *lines = predict(str(album)).splitlines()
    assert [line.split()[0] for line in lines] == files
    assert lines[-1].rstrip().endswith(reason)
    rows = json.loads(predict(str(album / "**" / "[0b]*.[pP]*"), "--json"))
    assert [row["file"] for row in rows] == [files[0], bad]
    answer = f"error: {bad}: {reason} (and 1 more of 8 pictures)\n"
    assert run_program(command, "predict", album, "nowhere.png") == (2, answer)


@pytest.mark.parametrize(
    "words, answer",
    [
        ("predit", "; did you mean predict?; mnistsum --help"),
        ("export base --to stablehl", "; did you mean stablehlo?; mnistsum export "),
        ("export --to stablehlo --outptu", "did you mean --output?; mnistsum export "),
        ("predict x.png --number 12", ", 9); mnistsum predict --help"),
        (
            "draw --port 99999",
            "--port 99999: expected a port from 1 to 65535, or 0 for",
        ),
        ("predict nowhere.png", "nowhere.png: no such file"),
        (
            "predict .",
            ".: expected pictures (.png, .jpg, .jpeg, .gif, .bmp) in this fol",
        ),
        ("predict x.png --config nowhere.py", "nowhere.py: no such file"),
        (
            "evaluate bass",
            "bass: no such model; expected base, best, a run's folder or",
        ),
        ("draw --model bass", "bass: no such model"),
        ("export bass --to stablehlo", "bass: no such model"),
        ("evaluate base --model best", "argument --model: not allowed with argument "),
    ],
)
def test_a_mistake_is_answered_in_one_line_with_status_2(
    run_program, tmp_path, monkeypatch, words, answer
):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(command, *words.split())
    assert status == 2
    assert stderr.count("\n") == 1
    assert stderr.startswith("error: ")
    assert answer in stderr


@pytest.mark.slow
def test_evaluate_gives_the_scores_and_warns_of_changes(tmp_path, capsys, monkeypatch):
    """Of the data, and of scores that were recorded."""
    monkeypatch.chdir(tmp_path)
    config = override(load_pretrained("base").config, TINY)
    write_set(tmp_path / "images")
    splits = load(config.data)
    digests = {name: digest(split) for name, split in splits._asdict().items()}
    network = load_pretrained("base")._replace(config=config, data=digests)
    save_weights(tmp_path / "weights.safetensors", network)
    of_weights = "evaluate weights.safetensors --split validation --json"
    command(of_weights.split())
    evaluation = evaluate(config.data, network.model, splits.validation)
    expected = score(evaluation, splits.validation.labels)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(expected))
    of_folder = "evaluate . --split validation"
    write_json(tmp_path / "summary.json", {"validation": expected})
    command(of_folder.split())
    other = {"validation": expected | {"sum_accuracy": 0.5}}
    write_json(tmp_path / "summary.json", other)
    answer = r"^. recorded another score of the same images: digit .*%, sum 50.00%$"
    with pytest.warns(UserWarning, match=answer):
        command(of_folder.split())
    labels = tmp_path / "images" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:8] + bytes([3]) * 64)
    answer = r"^the test images are not those that weights.safetensors recorded$"
    with pytest.warns(UserWarning, match=answer):
        command(["evaluate", "weights.safetensors"])
    assert "64 images, ten numbers each" in capsys.readouterr().out


def test_other_errors_show_a_traceback(run_program):
    with pytest.raises(ZeroDivisionError):
        run_program(lambda _: 1 / 0)


def test_a_warning_is_shown_once_in_one_line(run_program):
    def warn(_):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for text in "aba":
                warnings.warn(text, stacklevel=1)
        return 0

    assert run_program(warn) == (0, "warning: a\nwarning: b\n")
