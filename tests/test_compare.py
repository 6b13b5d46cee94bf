"""Comparisons, as a user runs them, on data so small that networks train in milliseconds."""

import json
import shutil
from pathlib import Path

import pytest
from programs import ROOT, TINY, compare, write_set

from experiments import compare as program
from experiments.comparison.measures import recompute
from experiments.training.folder import read_finished
from mnistsum.app.console import console
from mnistsum.file_io import read_json
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.registry import added_names
from mnistsum.statistics import detectable

WIDE = """
from mnistsum.config import Config, ModelConfig
from mnistsum.models.classifiers.mlp import MLP

CLASSIFIERS = {"perceptron": MLP}
config = Config(name="wide", model=ModelConfig(classifier="perceptron", widths=(64,), dtype="auto"))
"""
CONFIGS = ("smoke", "wide.py")
TRAINED = ("training.epochs=2", "training.batch_size=64", "optimizer.name=sgd", *TINY)
OPTIONS = ("--output", "out", "--workers", 0, "--seeds", 2, *TRAINED)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two configs compared in this process: folder and output."""
    folder = tmp_path_factory.mktemp("compare")
    write_set(folder / "images", train=576, test=64)
    (folder / "wide.py").write_text(WIDE)
    with (
        pytest.MonkeyPatch.context() as patch,
        console.capture() as captured,
        added_names(CLASSIFIERS={}),
    ):
        patch.chdir(folder)
        assert program.command([*CONFIGS, *map(str, OPTIONS)]) == 0
    return folder, captured.get()


def read_comparison(output: Path) -> dict:
    (path,) = output.glob("*/comparison.json")
    # on NaN and Infinity
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_all_forms_show_the_same_figures(compared):
    folder, output = compared
    smoke, wide = read_comparison(folder / "out")["rows"]
    runs = [
        read_finished(path)
        for path in sorted((folder / "out" / "runs").glob("smoke-????????????-*"))
    ]
    assert smoke["digit_accuracy"]["values"] == [
        run.summary["test"]["digit_accuracy"] for run in runs
    ]
    (page,) = (folder / "out").glob("*/comparison.html")
    cell = f"{100 * wide['digit_accuracy']['mean']:.2f} ± {100 * wide['digit_accuracy']['sd']:.2f}"
    for text in (output, page.read_text(), page.with_suffix(".md").read_text()):
        assert cell in text
        assert f"{wide['multiply_adds']:,}" in text
        assert "seeds one by one" in text
        assert "=auto" not in text  # but the type that it stands for here
    assert page.read_text().count('<svg role="img"') >= 8
    assert "classifier=perceptron (mlp)" in page.read_text()
    # a name may break at its dots
    assert "classifier.<wbr>hidden.<wbr>0" in page.read_text()


@pytest.mark.parametrize(
    "file", [None, *sorted(ROOT.glob("experiments/*/**/outcomes.npz"))]
)
def test_every_interval_and_verdict_can_be_recomputed_from_the_outcomes(compared, file):
    file = file or next((compared[0] / "out").glob("*/outcomes.npz"))
    rows = read_json(file.with_name("comparison.json"))["rows"]
    assert recompute(file.parent) == [row["against_first"] for row in rows[1:]]


def test_the_newest_report_is_easy_to_find(compared):
    (page,) = (compared[0] / "out").glob("*/comparison.html")
    assert (compared[0] / "out" / "latest.html").read_bytes() == page.read_bytes()


VERSION = """
from mnistsum import Config, ModelConfig
from mnistsum.models.classifiers.mlp import MLP

class Mine(MLP):
    def __call__(self, image):
        return super().__call__(image * 1)

CLASSIFIERS = {"mine": Mine}
config = Config(name="mine", model=ModelConfig(classifier="mine", widths=(8,)))
"""


@pytest.mark.slow
def test_two_versions_of_a_file_are_compared_and_an_edit_leaves_the_first_report(
    compared, tmp_path
):
    shutil.copytree(compared[0] / "images", tmp_path / "images")
    for i in (1, 2):
        (tmp_path / f"v{i}.py").write_text(VERSION.replace("image * 1", f"image * {i}"))
    compare("v1.py", "v2.py", *OPTIONS, cwd=tmp_path)
    (first,) = (tmp_path / "out").glob("*/comparison.json")
    one, two = json.loads(first.read_text())["rows"]
    assert (one["config"], two["config"]) == ("mine", "mine-v2")
    assert one["curve"] != two["curve"]
    page = first.with_name("comparison.html").read_bytes()
    (tmp_path / "v2.py").write_text(VERSION.replace("image * 1", "image * 3"))
    output = compare("v1.py", "v2.py", *OPTIONS, cwd=tmp_path)
    assert "mine: reusing 2 finished runs" in output and "(v2.py was edited)" in output
    assert first.with_name("comparison.html").read_bytes() == page
    (second,) = {*(tmp_path / "out").glob("*/comparison.html")} - {
        first.with_name("comparison.html")
    }
    assert (
        (tmp_path / "out" / "latest.html").read_bytes() == second.read_bytes() != page
    )
    # In the other order, each file's runs are known again, as far as their configs'
    # names are the same.
    (tmp_path / "v2.py").write_text(
        VERSION.replace("image * 1", "image * 3").replace(
            'name="mine"', 'name="mine-v2"'
        )
    )
    output = compare("v2.py", "v1.py", *OPTIONS, cwd=tmp_path)
    assert output.count("(reused)") == 4


def test_finished_runs_are_compared_without_training(
    compared, own_code, tmp_path, monkeypatch
):
    monkeypatch.chdir(compared[0])
    # wide is the first
    runs = sorted(map(str, Path("out/runs").iterdir()), reverse=True)
    with console.capture():
        assert program.command([*runs, "wide.py", "--output", str(tmp_path)]) == 0
    again, first = (
        read_comparison(folder)["rows"][1]["against_first"]
        for folder in (tmp_path, Path("out"))
    )
    for output in ("digit", "sum"):
        assert again[output]["mean"] == pytest.approx(-first[output]["mean"])


@pytest.mark.slow
def test_a_dry_run_says_what_is_missing_and_what_it_costs_and_writes_nothing(
    compared, monkeypatch
):
    folder, _ = compared
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    with added_names(CLASSIFIERS={"perceptron": MLP}), console.capture() as captured:
        assert (
            program.command([*CONFIGS, *map(str, OPTIONS), "--seeds", "3", "--dry-run"])
            == 0
        )
    output = captured.get()
    assert (
        f"a true difference of {100 * detectable(3, 2, images=64):.2f} points"
        in output.replace("\n", " ")
    )
    rows = [line.split()[:3] for line in output.splitlines()]
    assert rows[-5:-3] == [[name, "3", "2"] for name in ("smoke", "wide")]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_tuned_configs_train_at_the_rates_that_did_best(compared, tmp_path):
    shutil.copytree(compared[0] / "images", tmp_path / "images")
    output = compare(
        "smoke", "smoke+model.adder=shift", "--tune", *OPTIONS, cwd=tmp_path
    )
    assert "Learning rates tried, % of validation images" in output
    for name, tuned in read_comparison(tmp_path / "out")["tuned"].items():
        scores = [trial["digit"] + trial["sum"] for trial in tuned["trials"]]
        (best,) = (trial for trial in tuned["trials"] if trial["taken"])
        assert best["digit"] + best["sum"] == max(scores)
        runs = list((tmp_path / "out" / "runs").glob(f"{name}-????????????-?"))
        assert len(runs) == 2
        assert {read_finished(run).config.optimizer.learning_rate for run in runs} == {
            best["learning_rate"]
        }


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_a_desktop_and_a_phone_with_the_verdicts_in_sight(
    compared, width
):
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="the extra `browser` is not installed"
    )
    (page,) = (compared[0] / "out").glob("*/comparison.html")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    with webdriver.Chrome(
        options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")
    ) as browser:
        metrics = {
            "width": width,
            "height": 900,
            "deviceScaleFactor": 1,
            "mobile": width < 500,
        }
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(page.as_uri())
        assert (
            browser.execute_script("return document.documentElement.scrollWidth")
            <= width
        )
        # Every cell of the first table, and whether its words are whole.
        rights = browser.execute_script(
            "return [...document.querySelectorAll('h2 + .wide')[0].querySelectorAll('tr > *')]"
            ".map(cell => [cell.getBoundingClientRect().right, cell.scrollWidth - cell.clientWidth])"
        )
        assert len(rights) == 4 * (1 + 2)
        assert all(right <= width and hidden <= 0 for right, hidden in rights)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["runs/a-*", "runs/b-*"],
            "runs/a-*/summary.json: no such file; expected the folder of a finished run",
        ),
        (["base"], "expected two configs or more, found base"),
        (
            ["base", "mlp", "--search", "--dry-run"],
            "compare: expected one of --dry-run, --search\n",
        ),
        (
            ["runs/a", "runs/b", "--search", "--dry-run", "--submit=slurm"],
            "finished runs: nothing is trained; leave out --dry-run, --search, --submit\n",
        ),
        (
            ["runs/a", "--tabulate", "x", "--tune", "--seeds=10", "seed=3"],
            "--tabulate: nothing is trained; leave out --seeds, --tune, seed=3\n",
        ),
        (["smoke", "nofile.py"], "error: nofile.py: no such file\n"),
        (["base", "base"], "expected configs of different names, found base, base"),
        (
            ["base", "reference"],
            "found 5000 in base and 0 in reference; an override such as data.validation=0 applies",
        ),
        (["base", "mlp", "data.validation=0"], "expected validation images"),
        (
            ["base", "mlp", "seed=2"],
            "expected no seed, as each config is trained with the seeds 0, 1",
        ),
    ],
)
def test_a_mistake_is_answered_in_words_with_status_2_and_nothing_written(
    run_program, tmp_path, monkeypatch, arguments, answer
):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(program.command, *arguments)
    assert status == 2
    assert answer in stderr
    assert not list(tmp_path.iterdir())
