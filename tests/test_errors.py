"""How programs end: with one line and a status, whatever happens."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from programs import ROOT, finish, start, write_set

from mnistsum.errors import InputError


def raises(error: BaseException):
    """Return a program that ends with an error."""

    def command(arguments):
        raise error

    return command


def test_expected_errors_are_one_line_and_a_status(run_program):
    assert run_program(raises(InputError("x: expected 1, found 2"))) == (2, "error: x: expected 1, found 2\n")
    assert run_program(raises(FloatingPointError("loss not finite"))) == (1, "error: loss not finite\n")
    assert run_program(raises(KeyboardInterrupt())) == (130, "")


def test_an_unexpected_error_is_one_line_that_names_where_its_traceback_lies(run_program):
    status, stderr = run_program(raises(ZeroDivisionError("division\nby zero")))
    assert status == 1
    assert stderr.startswith("error: ZeroDivisionError at test_errors.py:")
    assert stderr.count("\n") == 1
    file = Path(stderr.split("the traceback is in ")[1].rstrip(")\n"))
    assert "ZeroDivisionError: division\nby zero" in file.read_text()
    file.unlink()


def test_no_message_sends_control_characters_to_the_terminal(run_program):
    _, stderr = run_program(raises(InputError("\x1b[31mred\x07.png: no such file \u2028")))
    assert stderr == "error: \\x1b[31mred\\x07.png: no such file \\u2028\n"


def test_a_tilde_is_expanded_after_an_equals_sign_and_nowhere_else(run_program, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    seen = []

    def command(arguments):
        seen.extend(arguments)
        return 0

    assert run_program(command, "--output=~/x", "data.dir=~", "--config=a~/b", "x=~y", "~/kept") == (0, "")
    assert seen == ["--output=/home/ada/x", "data.dir=/home/ada", "--config=a~/b", "x=~y", "~/kept"]


@pytest.mark.parametrize("platform", [pytest.param("bogus", marks=pytest.mark.slow), "rocm"])
def test_a_platform_that_is_not_there_is_named(platform, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "experiments.run", "--config", "smoke", "--output", str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1] == f"error: JAX_PLATFORMS={platform}: JAX finds none of these here; unset it"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}, 0),
        ({"MPLBACKEND": "module://nowhere"}, 0),
        ({"JAX_ENABLE_X64": "1", "TERM": "dumb", "COLUMNS": "1"}, 0),
        ({"JAX_DEFAULT_PRNG_IMPL": "rbg", "HOME": "", "TMPDIR": "/nowhere"}, 0),
        ({"XDG_CACHE_HOME": "/proc/nowhere"}, 0),
        ({"JAX_DEFAULT_PRNG_IMPL": "nope"}, 1),
        ({"JAX_NUM_CPU_DEVICES": "two"}, 1),
    ],
    ids=str,
)
def test_a_run_in_an_odd_environment_ends_well_or_in_one_line(tmp_path, environment, status):
    command = [sys.executable, "-m", "experiments.run", "--config", "smoke", "training.epochs=0.1"]
    run = subprocess.run(
        [*command, "--output", str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        timeout=100,
    )
    assert run.returncode == status
    assert b"Traceback" not in run.stderr  # JAX and Matplotlib may warn that they cannot cache anything
    assert status == 0 or run.stderr.count(b"\n") == 1
    assert (tmp_path / "run" / "report.html").exists() == (status == 0)


SETTINGS = {  # environment variables, to values good and bad
    "JAX_PLATFORMS": ["", "cpu", "cuda", "bogus", "cpu,tpu"],
    "JAX_ENABLE_X64": ["1", "maybe"],
    "JAX_DEFAULT_PRNG_IMPL": ["rbg", "nope"],
    "JAX_DEFAULT_MATMUL_PRECISION": ["float32", "nope"],
    "JAX_NUM_CPU_DEVICES": ["2", "two", "-1"],
    "MPLBACKEND": ["module://nowhere", ""],
    "PYTHONIOENCODING": ["ascii", "latin-1"],
    "LC_ALL": ["C", "nowhere"],
    "TERM": ["dumb", ""],
    "COLUMNS": ["1", "0", "wide"],
    "HOME": ["", "/nowhere"],
    "TMPDIR": ["/nowhere"],
    "XDG_CACHE_HOME": ["/proc/nowhere", "\x1b"],
}


@pytest.fixture(scope="module")
def seven(mnist, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("picture") / "seven.png"
    Image.fromarray(mnist.test.images[0, ..., 0]).save(file)
    return file


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=20_000,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # not shrunk, as each example is a process
    suppress_health_check=list(HealthCheck),
)
@example({})
@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SETTINGS.items()}))
def test_any_environment_gives_the_same_answer_or_one_line(seven, environment):
    command = [sys.executable, "-m", "mnistsum", "predict", str(seven), "--number", "7", "--json"]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, timeout=100)
    assert b"Traceback" not in run.stderr
    if run.returncode == 0:
        (row,) = json.loads(run.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8")))
        assert (row["digit"], row["sum"]) == (7, 14)
    else:
        assert environment
        assert run.returncode in (1, 2)
        assert run.stderr.decode(errors="replace").splitlines()[-1].startswith("error: ")


@pytest.mark.slow
def test_a_run_in_a_folder_whose_name_is_not_valid_unicode_ends_well(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\x1b[31m"
    command = [sys.executable, "-m", "experiments.run", "--config", "smoke", "training.epochs=0.1", "--output", folder]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=100)
    assert (run.returncode, run.stderr) == (0, b"")
    assert b"\x1b" not in run.stdout
    assert Path(os.fsdecode(folder), "report.html").exists()


@pytest.mark.slow
def test_a_run_whose_reader_leaves_saves_and_stops(tmp_path):
    data = write_set(tmp_path, train=576, test=64)
    custom = ("data.name=custom", f"data.dir={data}", "data.validation=64", "training.batch_size=64")
    own = tmp_path / "mine.py"
    own.write_text("from experiments.configs.smoke import config\n")
    run = start("--config", own, *custom, "training.epochs=100000", "--output", tmp_path / "run")
    while not run.stdout.readline().startswith("epoch"):
        assert run.poll() is None, run.stderr.read()
    run.stdout.close()
    stderr = run.stderr.read()
    assert run.wait(100) == 128 + signal.SIGHUP
    assert f"go on with: python -m experiments.run --resume {tmp_path / 'run'} --config {own}" in stderr
    assert "Traceback" not in stderr
    assert any((tmp_path / "run" / "checkpoints").iterdir())
    _, stderr = finish(start("--resume", tmp_path / "run"), status=2)
    assert "run: its config came from a .py file of yours; give that, too: --config FILE.py (mine.py)" in stderr


@pytest.mark.parametrize("output", ["full", "closed"])
def test_output_buffered_until_exit_is_written_or_its_loss_is_reported_in_one_line(output):
    held_back = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    if output == "full":
        place = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, place = os.pipe()
        os.close(reader)
    line = [sys.executable, "-m", "mnistsum", "--version"]
    run = subprocess.run(line, cwd=ROOT, stdout=place, stderr=subprocess.PIPE, env=held_back, text=True)
    os.close(place)
    stderr = "error: standard output: No space left on device\n" if output == "full" else ""
    assert (run.returncode, run.stderr) == ({"full": 1, "closed": 141}[output], stderr)


def test_an_error_is_one_line_even_if_its_traceback_cannot_be_written(run_program, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    status, stderr = run_program(raises(ZeroDivisionError("by zero")))
    assert status == 1
    assert stderr.endswith("by zero (the traceback could not be written: No such file or directory)\n")
    assert stderr.count("\n") == 1


def test_a_file_name_with_a_line_break_is_printed_in_one_line(run_program):
    assert (
        run_program(raises(InputError("a\nerror: b.png: no such file")))[1] == "error: a\\nerror: b.png: no such file\n"
    )
