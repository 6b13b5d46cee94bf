"""The command line: overrides, help, and answers to mistakes, as a user sees them in a shell."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from programs import ROOT

from experiments import cli, compare, configs, reproduce, search, tabulate
from experiments.comparison.options import Compare, parse
from experiments.run import Run, command
from mnistsum import registry
from mnistsum.app import errors, main
from mnistsum.config import Config
from mnistsum.errors import InputError


def shell(*arguments, cwd=ROOT, timeout=100) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "experiments.run", *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=timeout)


def test_bare_overrides_are_typed_and_start_from_the_named_config():
    options = cli.parse(
        Run, ["--config", "reference", "optimizer.learning_rate=3e-4", "model.widths=1,2,3", "seed=5", "--dry-run"]
    )
    settings = options.settings
    assert (settings.name, settings.seed, settings.data.scaling) == ("reference", 5, "unit")
    assert settings.optimizer.learning_rate == 3e-4
    assert settings.model.widths == (1, 2, 3)
    assert options.dry_run
    assert cli.parse(Run, ["--config=smoke", "data.dir=/some/where"]).settings.data.dir == "/some/where"


def test_a_boolean_override_reaches_run_and_compare():
    override = "model.adder_gradient=False"
    assert not cli.parse(Run, [override]).settings.model.adder_gradient
    assert not cli.load_variant(f"base+{override}").model.adder_gradient


def test_every_config_loads_under_its_own_name_and_says_its_claim_result_and_cost():
    for name in cli.config_names():
        assert cli.load_config(name).name == name
        docstring = sys.modules[f"experiments.configs.{name}"].__doc__ or ""
        assert all(word in docstring for word in ("Claim:", "Result:", "Command:", "Cost:")), name


def test_a_config_file_of_the_users_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\nimport dataclasses\nfrom mnistsum.config import Config\n"
        "@dataclasses.dataclass\nclass Own:\n    size: int\n"  # the decorator looks up its module
        "config = Config(name='mine', seed=4)\n"
    )
    assert cli.parse(Run, ["--config", str(path)]).settings == Config(name="mine", seed=4)
    with path.open("a") as file:
        file.write("# what was compiled of it would be used again\n")
    with pytest.raises(InputError, match=r"mine.py: changed since this process loaded it"):
        cli.load_config(str(path))
    other = tmp_path / "other.py"
    other.write_text("config = 3\n")
    with pytest.raises(InputError, match="expected a variable `config`"):
        cli.load_config(str(other))


OWN = """
import optax
from mnistsum import Config, ModelConfig
from mnistsum.config import ObjectiveConfig, OptimizerConfig
from mnistsum.models.adders import Shift
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.objective import weighted

CLASSIFIERS = {"%(name)s": MLP}
ADDERS = {"moved": Shift}
OPTIMIZERS = {"signs": lambda config, rate: optax.sign_sgd(rate)}
OBJECTIVES = {"mine": weighted}
config = Config(
    name="own",
    model=ModelConfig(classifier="%(name)s", adder="moved"),
    optimizer=OptimizerConfig(name="signs"),
    objective=ObjectiveConfig(name="mine"),
)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that writes a file with a classifier of a given name; registrations are undone afterwards."""
    for known in registry.OWN.values():
        monkeypatch.setattr(known, "_added", {})
    monkeypatch.setattr(registry, "_files", {})

    def write(file, text=OWN, **names):
        (tmp_path / file).write_text(text % names)
        return str(tmp_path / file)

    return write


def test_a_file_may_define_networks_optimizers_and_objectives_and_choose_them_in_its_config(own):
    settings = cli.parse(Run, ["--config", own("own.py", name="own"), "optimizer.learning_rate=0.1"]).settings
    assert (settings.model.classifier, settings.optimizer.name, settings.objective.name) == ("own", "signs", "mine")
    assert cli.override(settings, ["optimizer.name=adamw"]).optimizer.name == "adamw"
    with pytest.raises(InputError, match=r"optimizer.name: expected one of sgd, adamw, muon, signs, found sign"):
        cli.override(settings, ["optimizer.name=sign"])


def test_a_config_among_ours_may_define_a_network_as_well(own, tmp_path, monkeypatch):
    own("among_ours.py", name="own")
    monkeypatch.setattr(cli, "CONFIGS", tmp_path)
    monkeypatch.setattr(configs, "__path__", [str(tmp_path)])
    try:
        assert cli.load_config("among_ours").model.classifier == "own"
        assert registry.CLASSIFIERS.file_of("own") == tmp_path / "among_ours.py"
    finally:
        sys.modules.pop("experiments.configs.among_ours", None)


def test_the_file_that_defines_a_name_is_found_from_another_folder(own, tmp_path, monkeypatch):
    file = Path(own("own.py", name="own"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    registry.load_file(file.name)
    monkeypatch.chdir("elsewhere")
    assert registry.CLASSIFIERS.file_of("own").samefile(file)


def test_a_name_that_a_config_does_not_define_is_refused_once_its_file_has_run(own):
    file = own("own.py", OWN.replace('name="signs"', 'name="adam"'), name="own")
    with pytest.raises(InputError, match=r"optimizer.name: .* found adam; did you mean adamw"):
        cli.load_config(file)


def test_a_built_in_name_is_never_redefined(own):
    with pytest.raises(InputError, match=r"own.py: defines model.classifier compact, which mnistsum defines already"):
        cli.load_config(own("own.py", name="compact"))
    assert registry.CLASSIFIERS["compact"].__name__ == "Compact"


def test_a_refused_file_adds_no_name(own):
    with pytest.raises(InputError, match=r"own.py: defines model.adder shift, which mnistsum defines already"):
        cli.load_config(own("own.py", OWN.replace('"moved"', '"shift"'), name="own"))
    assert "own" not in registry.CLASSIFIERS
    assert cli.load_config(own("own.py", name="own")).model.classifier == "own"  # once it is mended
    with pytest.raises(InputError, match=r"list.py: expected CLASSIFIERS to be a dict .*, found \[.*MLP.*\]"):
        cli.load_config(own("list.py", OWN.replace('{"%(name)s": MLP}', "[MLP]"), name="own"))
    with pytest.raises(InputError, match=r"text.py: expected CLASSIFIERS to be a dict .*, found {'own': 'MLP'}"):
        cli.load_config(own("text.py", OWN.replace('": MLP}', '": "MLP"}'), name="own"))


@pytest.mark.parametrize("order", [1, -1])
def test_a_config_may_use_what_the_file_of_another_defines(own, order):
    user = own("user.py", "from mnistsum import Config, ModelConfig\nconfig = Config('user', model=ModelConfig('own'))")
    names = [own("own.py", name="own"), "base+model.classifier=own", user][::order]
    _, compared = parse(names)
    assert [config.name for config in compared] == ["own", "base-classifier-own", "user"][::order]
    assert {config.model.classifier for config in compared} == {"own"}


def test_a_file_that_is_named_without_its_ending_is_hinted_at(own):
    file = own("mixer.py", name="mixer")
    with pytest.raises(InputError, match=r"no such config; did you mean .*mixer\.py\?"):
        cli.load_config(file.removesuffix(".py"))


def test_a_name_that_two_files_define_is_refused(own):
    text = OWN.replace("MLP\n", "MLP\n\nclass Mine(MLP): pass\n\n", 1).replace(": MLP}", ": Mine}")
    cli.load_config(own("a.py", text, name="mine"))
    with pytest.raises(InputError, match=r"b.py: defines model.classifier mine, which .*a.py defines already"):
        cli.load_config(own("b.py", text, name="mine"))


PROGRAMS = {  # and their descriptions
    "run": (command, [], Run),
    "compare": (compare.command, [], Compare),
    "search": (search.command, [], search.Search),
    "tabulate": (tabulate.command, [], tabulate.Tabulate),
    "reproduce": (reproduce.command, [], reproduce.Reproduce),
    "mnistsum": (main.command, [], main),
} | {f"mnistsum {name}": (main.command, [name], options) for name, options in main.COMMANDS.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_fits_eighty_columns_and_breaks_no_word(run_program, capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    program, arguments, described = PROGRAMS[name]
    with pytest.raises(SystemExit) as exit_:
        errors.run(program, [*arguments, "--help"])
    page = capsys.readouterr().out
    assert exit_.value.code == 0
    assert max(map(len, page.splitlines())) <= 80
    assert described is main or set((described.__doc__ or "").split()) <= set(page.split())
    for ugly in ("{None}", "[[", "...]", "dry_run", "--no-dry-run", "(default: )"):
        assert ugly not in page


def test_help_and_mistakes_are_answered_before_jax_loads():
    code = """
import contextlib, sys
from experiments import compare, reproduce, run, search, tabulate
from mnistsum.app import main
for program in (run, compare, search, tabulate, reproduce, main):
    for word in ("--help", "--hlep"):
        with contextlib.suppress(SystemExit, Exception):
            program.command([word])
loaded = {"jax", "matplotlib", "scipy"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=100)


def test_help_is_no_error_without_a_standard_output():
    for program in ("mnistsum", "experiments.run"):
        line = ["sh", "-c", 'exec "$0" -m "$1" --help >&-', sys.executable, program]
        run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100)
        assert (run.returncode, run.stderr) == (0, "")


def test_help_lists_every_field_with_type_default_and_meaning():
    run = shell("--help")
    assert run.returncode == 0
    for text in (
        "optimizer.learning_rate FLOAT",
        "{constant,one_cycle,cosine}",
        "the schedule's peak (default: 0.02)",
        "model.widths INT,...",
        "--dry-run",
    ):
        assert text in run.stdout, text
    for name in cli.config_names():
        assert name in run.stdout


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--config", "bas"], "did you mean base?"),
        (["--config", "nowhere.py"], "no such file"),
        (["optimizer.lerning_rate=3e-4"], "did you mean optimizer.learning_rate?"),
        (["optimizer.lr=0.1"], "did you mean optimizer.learning_rate?"),
        (["--optimizer.lr=0.1"], "did you mean optimizer.learning_rate=VALUE?"),
        (["training.epochs"], "did you mean training.epochs=VALUE?"),
        (["--epochs", "3"], "did you mean training.epochs=VALUE?"),
        (["--sed", "3"], "--sed: not understood; did you mean --seed?"),
        (["base"], "base: not understood; did you mean --config base?"),
        (["--version"], "did you mean python -m mnistsum --version?"),
        (["optimizer.name=mun"], "muon"),
        (["model.adder=\n"], r"model.adder: expected a value of one line, found '\n'"),
        (["training.epochs=many"], "error: training.epochs: expected a number, found 'many'; --help"),
        (["training.batch_size=1.5"], "error: training.batch_size: expected an integer, found '1.5'; --help"),
        (["training.keep=worst"], "invalid choice 'worst' for argument 'training.keep'"),
        (["--config"], "error: Missing value for argument '--config'"),
        (["training.batch_size=0"], "training.batch_size: expected at least 1, found 0"),
        (["--resume", "nowhere"], "config.json: no such file"),
        (["--resume", "nowhere", "seed=3"], "takes no other argument"),
        (["--resume", "nowhere", "training.patience=0"], "takes no other argument"),  # which is the default
        (["--resume", "nowhere", "--training.batch-size", "128"], "takes no other argument"),  # and so is this
        (["--processes", "2"], "expected only with --distributed"),
        (["data.validation=0", "training.keep=best"], "expected validation images to judge each epoch by"),
    ],
)
def test_a_mistake_is_answered_in_words_with_status_2_and_nothing_written(
    run_program, tmp_path, monkeypatch, arguments, answer
):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(command, *arguments)
    assert status == 2
    assert answer in stderr
    assert stderr.startswith("error: ") and stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "arguments", "answer"),
    [
        ("compare", ["base", "nope"], "compare: nope: no such config; one of base, "),
        ("compare", ["base", "bsae"], "compare: bsae: no such config; did you mean base?"),
        ("compare", [], "found none; such as python -m experiments.compare base lenet5"),
        ("tabulate", [], "found none; such as runs/*"),
        ("tabulate", ["README.md", "experiments"], "expected folders of finished runs, found none among 2 paths"),
        (
            "mnistsum",
            ["export"],
            "error: Missing from mnistsum export: MODEL, --to {safetensors,stablehlo,onnx}; --help",
        ),
        (
            "mnistsum",
            ["export", "base"],
            "error: Missing from mnistsum export: --to {safetensors,stablehlo,onnx}; --help",
        ),
        ("search", ["training.epochs=2"], "error: Missing from python -m experiments.search: --output PATH; --help"),
        ("mnistsum", ["predit"], "did you mean predict?"),
        ("mnistsum", ["predict", "x.png", "--numbr", "3"], "did you mean --number?"),
        (
            "mnistsum",
            ["predict", "x.png", "--number", "x"],
            "error: --number: expected an integer, found 'x'; --help",
        ),
    ],
)
def test_invalid_arguments_of_other_programs_exit_with_status_2(run_program, program, arguments, answer):
    status, stderr = run_program(PROGRAMS[program][0], *arguments)
    assert status == 2
    assert answer in stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--config", "bas"], "did you mean base?"),
        pytest.param(
            ["--distributed", "--coordinator", "here", "--processes", "2", "--process", "0"],
            "--coordinator here: expected HOST:PORT",
            marks=pytest.mark.slow,
        ),
        pytest.param(["data.dir=nowhere"], "found no folder nowhere", marks=pytest.mark.slow),
        pytest.param(
            ["--config", "mlp", "--init", "base"],
            "expected model.classifier to be 'mlp', found 'compact'",
            marks=pytest.mark.slow,
        ),
        (["training.batch_size=60000"], "training.batch_size: expected at most the 55000 training images"),
    ],
)
def test_invalid_arguments_found_after_jax_has_loaded_exit_with_status_2(tmp_path, arguments, answer):
    run = shell(*arguments, cwd=tmp_path)
    assert run.returncode == 2, run.stderr
    assert answer in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["precious", "checkpoints/precious", "checkpoints/8.safetensors"])
def test_a_folder_in_use_is_not_written_over(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        command(["--config", "smoke", "--output", str(tmp_path)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


@pytest.mark.parametrize(
    ("text", "name", "changes"),
    [
        ("base", "base", []),
        ("base+model.adder=shift", "base-adder-shift", ["model.adder=shift"]),
        ("mlp+optimizer.momentum=0.5+seed=3", "mlp-momentum-0.5-seed-3", ["optimizer.momentum=0.5", "seed=3"]),
        ("base+model.widths=8,16,32", "base-widths-8_16_32", ["model.widths=8,16,32"]),
        ("base+model.dtype=float32", "base-model.dtype-float32", ["model.dtype=float32"]),  # the optimizer has one
        ("base+optimizer.learning_rate=1e+0", "base-learning_rate-1e_0", ["optimizer.learning_rate=1"]),
    ],
)
def test_a_variant_is_the_config_so_changed_and_named_by_its_changes(text, name, changes):
    named = dataclasses.replace(cli.load_config(text.split("+")[0]), name=name)
    assert cli.load_variant(text) == cli.override(named, changes)


def test_empty_widths_stand_for_the_classifiers_defaults():
    for widths in ("", "none"):  # as --help shows it
        assert cli.load_variant(f"base+model.classifier=mlp+model.widths={widths}").model.widths == ()


@pytest.mark.slow
def test_the_command_finds_what_a_file_of_ones_own_imports(tmp_path, mnist):
    (tmp_path / "helper.py").write_text("WIDE = 512\n")
    (tmp_path / "mine.py").write_text("import helper\n")
    Image.fromarray(mnist.test.images[0, ..., 0]).save(tmp_path / "seven.png")
    script = Path(sys.executable).with_name("mnistsum")
    line = [script, "predict", "seven.png", "--number", "1", "--config", "mine.py", "--json"]
    run = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True)
    assert json.loads(run.stdout)[0]["sum"] == 8


def test_an_error_in_an_installed_package_is_reported_in_one_line(tmp_path):
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "broken.py").write_text("def command(arguments):\n    raise ZeroDivisionError('by 0')\n")
    script = "import broken; from mnistsum.app import errors; errors.run(broken.command, [])"
    # All frames of this project are in a folder of that name, too.
    (installed / "mnistsum").symlink_to(ROOT / "mnistsum")
    environment = os.environ | {"PYTHONPATH": str(installed)}
    line = [sys.executable, "-c", script]
    run = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert run.stderr.startswith("error: ZeroDivisionError at ")
    assert len(run.stderr.splitlines()) == 1


def test_a_file_that_is_no_python_is_refused_by_name(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"notes.txt: expected a Python file, whose name ends in .py"):
        registry.load_file(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("def f(:", r"own.py, line 1: invalid syntax"),
        (
            "from mnistsum import OptimizerConfig\nOptimizerConfig(learning_rate=-1.0)",
            r"own.py: optimizer.learning_rate: expected above 0, found -1.0",
        ),
    ],
)
def test_a_mistake_in_a_users_file_is_reported_with_its_path(tmp_path, text, answer):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(InputError, match=rf"--config {tmp_path}/{answer}"):
        cli.load_config(str(tmp_path / "own.py"))


def test_what_a_variant_sets_itself_is_not_set_for_all():
    answer = r"^training.epochs=1: expected a field that base\+training.epochs=16 does not set itself"
    with pytest.raises(InputError, match=answer):
        cli.load_variant("base+training.epochs=16", ["training.epochs=1"])


def test_what_is_set_for_all_helps_a_variant_that_needs_it():
    assert cli.load_variant("reference+training.keep=best", ["data.validation=5000"]).training.keep == "best"
