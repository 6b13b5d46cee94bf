"""Comparisons, as a user runs them, on so little data that training is quick."""

import json
import shutil
from pathlib import Path

import pytest
from programs import ROOT, TINY, compare, finish, start, wait_for_line, write_set

from experiments import compare as program
from experiments.comparison.measures import recompute
from mnistsum.app.console import console
from mnistsum.config import read_config
from mnistsum.file_io import read_json
from mnistsum.registry import added_names
from mnistsum.statistics import detectable

WIDE = """
from mnistsum.config import Config, ModelConfig
from mnistsum.models.classifiers.mlp import MLP

CLASSIFIERS = {"perceptron": MLP}
model = ModelConfig(classifier="perceptron", widths=(64,), dtype="auto")
config = Config(name="wide", model=model)
"""
CONFIGS = ("smoke", "wide.py")
TRAINED = ("training.epochs=2", "training.batch_size=64", "optimizer.name=sgd", *TINY)
OPTIONS = ("--output", "out", "--workers", 0, "--seeds", 2, *TRAINED)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two configs compared in this process: folder and output."""
    folder = tmp_path_factory.mktemp("compare")
    write_set(folder / "images")
    (folder / "wide.py").write_text(WIDE)
    with pytest.MonkeyPatch.context() as patch, console.capture() as captured:
        patch.chdir(folder)
        with added_names():
            assert program.command([*CONFIGS, *map(str, OPTIONS)]) == 0
    return folder, captured.get()


def read_comparison(output):
    (path,) = output.glob("*/comparison.json")
    # on NaN and Infinity
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_all_forms_show_the_same_figures(compared):
    folder = compared[0] / "out"
    output = compared[1]
    smoke, wide = read_comparison(folder)["rows"]
    files = sorted(folder.glob("runs/smoke-????????????-*/summary.json"))
    accuracies = [read_json(file)["test"]["digit_accuracy"] for file in files]
    assert smoke["digit_accuracy"]["values"] == accuracies
    (page,) = folder.glob("*/comparison.html")
    mean, sd = (100 * wide["digit_accuracy"][name] for name in ("mean", "sd"))
    for text in (output, page.read_text(), page.with_suffix(".md").read_text()):
        assert f"{mean:.2f} ± {sd:.2f}" in text
        assert f"{wide['multiply_adds']:,}" in text
        assert "seeds one by one" in text
        assert "=auto" not in text  # but the type that it stands for here
    assert page.read_text().count('<svg role="img"') >= 8
    assert "classifier=perceptron (mlp)" in page.read_text()
    # a name may break at its dots
    assert "classifier.<wbr>hidden.<wbr>0" in page.read_text()
    assert page.read_bytes() == (folder / "latest.html").read_bytes()
    points = (
        f"a true difference of {100 * detectable(2, images=64, outputs=2):.2f} points"
    )
    assert points in output.replace("\n", " ")


@pytest.mark.parametrize(
    "file", [None, *sorted(ROOT.glob("experiments/*/**/outcomes.npz"))]
)
def test_intervals_and_verdicts_follow_from_the_outcomes(compared, file):
    file = file or next((compared[0] / "out").glob("*/outcomes.npz"))
    rows = read_json(file.with_name("comparison.json"))["rows"]
    assert recompute(file.parent) == [row["against_first"] for row in rows[1:]]


VERSION = """
from mnistsum import Config, ModelConfig
from mnistsum.models.classifiers.mlp import MLP

class Mine(MLP):
    def __call__(self, image):
        return super().__call__(image * 1)

CLASSIFIERS = {"NAME": Mine}
config = Config(name="NAME", model=ModelConfig(classifier="NAME", widths=(8,)))
"""


@pytest.mark.slow
def test_versions_of_a_file_are_compared_and_an_edit_trains_one(compared, tmp_path):
    """An edit counts for the next command only, whose report is beside the first."""
    shutil.copytree(compared[0] / "images", tmp_path / "images")
    command = ("v1.py", "v2.py", *OPTIONS, "--workers", 2)
    second = VERSION.replace("NAME", "second")
    (tmp_path / "v1.py").write_text(VERSION.replace("NAME", "first"))
    (tmp_path / "v2.py").write_text(second.replace("image * 1", "image * 2"))
    running = start(*command, program="compare", cwd=tmp_path)
    wait_for_line(running, ("first, seed", "second, seed"))
    (tmp_path / "v2.py").write_text(second.replace("image * 1", "image * 3"))
    finish(running)
    (report,) = (tmp_path / "out").glob("*/comparison.html")
    one, two = read_comparison(tmp_path / "out")["rows"]
    assert one["curve"] != two["curve"]
    page = report.read_bytes()
    output = compare(*command, cwd=tmp_path)
    assert "first: reusing 2 finished runs\n" in output
    reason = "its program of training and evaluation has changed (v2.py was edited)"
    assert f"second: training 2 runs, because {reason}\n" in output
    assert report.read_bytes() == page
    (newest,) = {*(tmp_path / "out").glob("*/comparison.html")} - {report}
    latest = (tmp_path / "out" / "latest.html").read_bytes()
    assert latest == newest.read_bytes() != page
    output = compare("v2.py", "v1.py", *OPTIONS, cwd=tmp_path)
    assert output.count("(reused)") == 4


def test_finished_runs_are_compared_without_training(
    compared, own_code, tmp_path, monkeypatch
):
    monkeypatch.chdir(compared[0])
    # wide is the first
    runs = sorted(map(str, Path("out/runs").iterdir()), reverse=True)
    assert program.command([*runs, "wide.py", "--output", str(tmp_path)]) == 0
    again, first = (
        read_comparison(folder)["rows"][1]["against_first"]
        for folder in (tmp_path, Path("out"))
    )
    for output in ("digit", "sum"):
        assert again[output]["mean"] == pytest.approx(-first[output]["mean"])


@pytest.mark.slow
def test_tuned_configs_train_at_the_rates_that_did_best(compared, tmp_path):
    shutil.copytree(compared[0] / "images", tmp_path / "images")
    configs = ("smoke", "smoke+model.adder=shift", "--tune")
    output = compare(*configs, *OPTIONS, cwd=tmp_path)
    assert "Learning rates tried, % of validation images" in output
    for name, tuned in read_comparison(tmp_path / "out")["tuned"].items():
        scores = [trial["digit"] + trial["sum"] for trial in tuned["trials"]]
        (best,) = (trial for trial in tuned["trials"] if trial["taken"])
        assert best["digit"] + best["sum"] == max(scores)
        runs = list((tmp_path / "out" / "runs").glob(f"{name}-????????????-?"))
        assert len(runs) == 2
        rates = {read_config(run).optimizer.learning_rate for run in runs}
        assert rates == {best["learning_rate"]}


@pytest.mark.slow
def test_the_page_fits_a_desktop_and_a_phone(compared, browser):
    """With the verdicts in sight."""
    (page,) = (compared[0] / "out").glob("*/comparison.html")
    browser.get(page.as_uri())
    width = browser.execute_script("return window.innerWidth")
    whole = "return document.documentElement.scrollWidth"
    assert browser.execute_script(whole) <= width
    # Every cell of the first table, and whether its words are whole.
    rights = browser.execute_script("""
        const table = document.querySelectorAll('h2 + .wide')[0]
        return [...table.querySelectorAll('tr > *')].map(cell => [
            cell.getBoundingClientRect().right, cell.scrollWidth - cell.clientWidth
        ])
    """)
    assert len(rights) == 4 * (1 + 2)
    assert all(right <= width and hidden <= 0 for right, hidden in rights)


@pytest.mark.parametrize(
    "words, answer",
    [
        (
            "runs/a-* runs/b-*",
            "runs/a-*/summary.json: no such file; expected the folder of a finish",
        ),
        ("base", "expected two configs or more, found base"),
        ("base mlp --search --submit=slurm", "expected one of --search, --submit\n"),
        (
            "runs/a runs/b --search --submit=slurm",
            "nothing is trained; leave out --search, --submit\n",
        ),
        (
            "runs/a --tabulate x --tune --seeds=10 seed=3",
            "nothing is trained; leave out --seeds, --tune, seed=3\n",
        ),
        ("smoke nofile.py", "error: nofile.py: no such file\n"),
        ("base base", "expected configs of different names, found base, base"),
        (
            "base reference",
            "5000 in base and 0 in reference; an override such as data.validation=",
        ),
        ("base mlp data.validation=0", "expected validation images"),
        (
            "base mlp seed=2",
            "expected no seed, as each config is trained with the seed",
        ),
        ("--search base base+seed=3", "expected no seed, as"),
        ("--search base --seeds 0", "--seeds: expected 1 to 1,000"),
        ("base mlp --workers=-1", "--workers: expected 0 or more, found -1"),
    ],
)
def test_a_mistake_is_answered_in_words_and_writes_nothing(
    run_program, tmp_path, monkeypatch, words, answer
):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(program.command, *words.split())
    assert status == 2
    assert answer in stderr
    assert not list(tmp_path.iterdir())
