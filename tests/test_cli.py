"""The programs' command lines: configs by name, overrides, and mistakes."""

import dataclasses
import re
import subprocess
import sys
from unittest.mock import Mock

import pytest
from programs import ROOT

from experiments import cli, compare, run, single
from mnistsum.config import FIELDS, Config, override
from mnistsum.errors import InputError
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.objective import OBJECTIVES
from mnistsum.optimizer import OPTIMIZERS, SCHEDULES


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # settings of the whole process
    monkeypatch.setattr("mnistsum.programs.set_up_compiler", lambda: None)
    return tmp_path


@pytest.mark.parametrize("name", cli.config_names())
def test_a_config_has_its_name_claim_result_and_cost(name):
    assert cli.load_config(name).name == name
    docstring = sys.modules[f"experiments.configs.{name}"].__doc__
    for word in ("Claim:", "Result:", "Command:", "Cost:"):
        assert word in docstring


@pytest.mark.parametrize(
    "text, name, changes",
    [
        ("base", "base", ""),
        (
            "mlp+optimizer.momentum=0.5+seed=3",
            "mlp-momentum-0.5-seed-3",
            "optimizer.momentum=0.5 seed=3",
        ),
        ("base+model.widths=8,16,32", "base-widths-8_16_32", "model.widths=8,16,32"),
        (
            "base+model.classifier=vgg",
            "base-classifier-vgg",
            "model.classifier=vgg model.widths=",
        ),
        # the optimizer has one
        ("base+model.dtype=auto", "base-model.dtype-auto", "model.dtype=auto"),
        (
            "base+optimizer.learning_rate=1e+0",
            "base-learning_rate-1e_0",
            "optimizer.learning_rate=1",
        ),
    ],
)
def test_a_variant_is_changed_and_named_by_its_changes(text, name, changes):
    named = dataclasses.replace(cli.load_config(text.split("+")[0]), name=name)
    assert cli.load_config(text) == override(named, changes.split())


def test_a_variants_own_change_wins():
    for text, seed in (("base+seed=3", 3), ("base", 5)):
        assert cli.load_config(text, ["seed=5"]).seed == seed


def test_a_config_of_ones_own_has_a_name_of_its_own(own_code, tmp_path):
    file = tmp_path / "mine.py"
    for made, found in (("Config(name='base')", "base"), ("Config()", "unnamed")):
        file.write_text(f"from mnistsum import Config\nconfig = {made}\n")
        with pytest.raises(InputError, match=f"with a name of its own, found {found}$"):
            cli.load_config(str(file))
        assert cli.load_config(str(file), ["name=mine"]).name == "mine"
    with pytest.raises(InputError, match="a name of its own, found base"):
        cli.load_config("smoke", ["name=base"])


@pytest.mark.parametrize(
    "words, name, said",
    [
        pytest.param(
            "",
            "base",
            f"trains base, as no config is given\n{run.SMALL}\n",
            marks=pytest.mark.slow,
        ),
        ("seed=3 --config=smoke+model.adder=shift", "smoke-adder-shift", ""),
    ],
)
def test_run_trains_the_config_that_it_is_given_or_base(
    in_empty_folder, monkeypatch, capsys, words, name, said
):
    start = Mock(return_value=0)
    monkeypatch.setattr(single, "start", start)
    assert run.command(words.split()) == 0
    job, folder, *_ = start.call_args.args
    assert job.config.name == name
    assert folder.match(f"runs/{name}-{job.config.seed}-*")
    assert capsys.readouterr().out == said


MISTAKES = [
    ("--config bas", "did you mean base?"),
    ("base --config smoke", "--config smoke: expected one config, found base, too"),
    (
        "base --seed 3",
        "--seed: no such option; set the field by seed=3, without dashes",
    ),
    ("--epochs=2", "set the field by training.epochs=2, without dashes"),
    ("base training.epochs = 2", "expected training.epochs=2, without spaces"),
    ("base training.epochs =2", "expected training.epochs=2, without spaces"),
    ("--outptu x", "did you mean --output?"),
    ("--log tensorbord", "did you mean tensorboard?"),
    ("model.dtyp=auto", "model.dtyp: unknown field; did you mean model.dtype?"),
    ("--config vgg", "it is a classifier: base+model.classifier=vgg"),
    ("--resume nowhere", "config.json: no such file"),
    ("--resume nowhere seed=3", "takes no other argument"),
    ("smoke --output .", "--output .: holds a run; name another folder, or --resume ."),
    # What only JAX, the data or the networks can tell.
    ("training.batch_size=60000", "expected at most the 55000 training images"),
    ("model.classifier=lenet", "found lenet; did you mean lenet5?"),
    ("--init nowhere", "nowhere: no such model"),
]


@pytest.mark.parametrize("words, answer", MISTAKES)
def test_a_mistake_is_answered_in_a_line_and_writes_nothing(
    in_empty_folder, run_program, words, answer
):
    (in_empty_folder / "config.json").write_text("of a finished run")
    status, errors = run_program(run.command, *words.split())
    assert status == 2
    assert errors.count("\n") == 1
    assert errors.startswith("error: ") and answer in errors
    (file,) = in_empty_folder.iterdir()
    assert file.read_text() == "of a finished run"


@pytest.mark.parametrize(
    "program, words, config",
    [
        (run, "--help", "base"),
        (run, "--help --config tiny", "tiny"),
        (compare, "base+model.adder=shift -h", "base+model.adder=shift"),
    ],
)
def test_help_lists_the_fields_of_the_named_config(
    capsys, monkeypatch, program, words, config
):
    """As one types them."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        program.command(words.split())
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    listed = shown.partition(f"values of {config}:\n")[2]
    fields = re.findall(r"^  (\S+)", listed, re.MULTILINE)
    assert override(Config(), fields) == cli.load_config(config)
    assert len(fields) == len(FIELDS)


def test_help_knows_the_names_that_the_library_defines():
    shown = cli.describe_fields("base").splitlines()
    for known, field in (
        (CLASSIFIERS, "model.classifier=compact"),
        (ADDERS, "model.adder=concat"),
        (OBJECTIVES, "objective.name=weighted"),
        (OPTIMIZERS, "optimizer.name=muon"),
        (SCHEDULES, "optimizer.schedule=one_cycle"),
    ):
        assert f"  {field}  {', '.join(known)}, or your own" in shown


def test_mistakes_are_answered_before_jax_loads():
    code = """
import contextlib, sys
from experiments import compare, reproduce, run
for program in (run, compare, reproduce):
    for word in ("--hlep", "--config=bas", "--config=vgg"):
        with contextlib.suppress(SystemExit, Exception):
            program.command([word])
loaded = {"jax", "matplotlib", "scipy"} & set(sys.modules)
assert not loaded, loaded
"""
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
