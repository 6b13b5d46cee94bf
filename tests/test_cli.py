"""The programs' command lines: configs by name, variants, overrides, and answers to mistakes."""

import dataclasses
import re
import subprocess
import sys

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


def test_every_config_loads_under_its_own_name_and_says_its_claim_result_and_cost():
    for name in cli.config_names():
        assert cli.load_config(name).name == name
        docstring = sys.modules[f"experiments.configs.{name}"].__doc__ or ""
        assert all(
            word in docstring for word in ("Claim:", "Result:", "Command:", "Cost:")
        ), name


@pytest.mark.parametrize(
    ("text", "name", "changes"),
    [
        ("base", "base", []),
        ("base+model.adder=shift", "base-adder-shift", ["model.adder=shift"]),
        (
            "mlp+optimizer.momentum=0.5+seed=3",
            "mlp-momentum-0.5-seed-3",
            ["optimizer.momentum=0.5", "seed=3"],
        ),
        ("base+model.widths=8,16,32", "base-widths-8_16_32", ["model.widths=8,16,32"]),
        (
            "base+model.classifier=vgg",
            "base-classifier-vgg",
            ["model.classifier=vgg", "model.widths="],
        ),
        # the optimizer has one
        (
            "base+model.dtype=float32",
            "base-model.dtype-float32",
            ["model.dtype=float32"],
        ),
        (
            "base+optimizer.learning_rate=1e+0",
            "base-learning_rate-1e_0",
            ["optimizer.learning_rate=1"],
        ),
    ],
)
def test_a_variant_is_the_config_so_changed_and_named_by_its_changes(
    text, name, changes
):
    named = dataclasses.replace(cli.load_config(text.split("+")[0]), name=name)
    assert cli.load_config(text) == override(named, changes)
    # its own change wins
    assert cli.load_config(text, ["seed=5", *changes]).seed == (
        3 if "seed=3" in changes else 5
    )


def test_a_config_of_ones_own_gives_a_name_and_takes_none_of_a_shipped_config(
    own_code, tmp_path
):
    for name, text in (("base", "Config(name='base')"), ("unnamed", "Config()")):
        file = tmp_path / f"{name}.py"
        file.write_text(f"from mnistsum import Config\nconfig = {text}\n")
        with pytest.raises(
            InputError,
            match=rf"expected Config\(name=...\) with a name of its own, found {name}$",
        ):
            cli.load_config(str(file))
        assert cli.load_config(str(file), ["name=mine"]).name == "mine"
    with pytest.raises(InputError, match="a name of its own, found base"):
        cli.load_config("smoke", ["name=base"])


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [
        pytest.param(
            [],
            "base",
            f"trains base, as no config is given\n{run.SMALL}\n",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["base+model.adder=shift"], "base-adder-shift", "", marks=pytest.mark.slow
        ),
        (["seed=3", "--config=smoke"], "smoke", ""),
    ],
)
def test_run_trains_base_or_the_config_or_variant_that_it_is_given(
    in_empty_folder, monkeypatch, capsys, options, name, said
):
    trained = []
    monkeypatch.setattr(
        single,
        "start",
        lambda job, folder, *_: trained.append((job.config, folder)) or 0,
    )
    assert run.command(options) == 0
    ((config, folder),) = trained
    assert config.name == name
    assert folder.parts[0] == "runs" and folder.name.startswith(
        f"{name}-{config.seed}-"
    )
    assert capsys.readouterr().out == said


MISTAKES = [
    (["--config", "bas"], "did you mean base?"),
    (
        ["base", "--config", "smoke"],
        "--config smoke: expected one config, found base, too",
    ),
    (
        ["base", "--seed", "3"],
        "--seed: no such option; set the field by seed=3, without dashes",
    ),
    (
        ["--epochs=2"],
        "--epochs: no such option; set the field by training.epochs=2, without dashes",
    ),
    (
        ["base", "training.epochs", "=", "2"],
        "training.epochs = 2: expected training.epochs=2, without spaces",
    ),
    (
        ["base", "training.epochs", "=2"],
        "training.epochs =2: expected training.epochs=2, without spaces",
    ),
    (["--outptu", "x"], "did you mean --output?"),
    (["--log", "tensorbord"], "did you mean tensorboard?"),
    (["model.dtyp=auto"], "model.dtyp: unknown field; did you mean model.dtype?"),
    (["--config", "vgg"], "it is a classifier: base+model.classifier=vgg"),
    (["--resume", "nowhere"], "config.json: no such file"),
    (["--resume", "nowhere", "seed=3"], "takes no other argument"),
    (
        ["smoke", "--output", "."],
        "--output .: holds a run; name another folder, or --resume .",
    ),
    # What only JAX, the data or the networks can tell.
    (
        ["training.batch_size=60000"],
        "training.batch_size: expected at most the 55000 training images",
    ),
    (["model.classifier=lenet"], "found lenet; did you mean lenet5?"),
    (["--init", "nowhere"], "nowhere: no such model"),
]


@pytest.mark.parametrize(("options", "answer"), MISTAKES, ids=str)
def test_a_mistake_is_answered_in_a_line_with_status_2_and_nothing_written(
    in_empty_folder, run_program, options, answer
):
    (in_empty_folder / "config.json").write_text("of a finished run")
    status, errors = run_program(run.command, *options)
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: ") and answer in errors
    assert [file.read_text() for file in in_empty_folder.iterdir()] == [
        "of a finished run"
    ]


@pytest.mark.parametrize(
    ("program", "words", "config"),
    [
        (run, ["--help"], "base"),
        (run, ["--help", "--config", "tiny"], "tiny"),
        (compare, ["base+model.adder=shift", "-h"], "base+model.adder=shift"),
        (compare, ["base", "--help"], "base"),
    ],
)
def test_help_lists_the_fields_of_the_named_config_as_one_types_them(
    capsys, monkeypatch, program, words, config
):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        program.command(words)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    _, heading, listed = shown.partition(f"values of {config}:\n")
    assert heading
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
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=100,
    )
