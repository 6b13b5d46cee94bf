"""A user's file: the names that it defines, and loading it again."""

import multiprocessing
import textwrap
from concurrent.futures import ProcessPoolExecutor

import jax
import jax.numpy as jnp
import pytest

from mnistsum import registry
from mnistsum.config import OptimizerConfig
from mnistsum.errors import InputError
from mnistsum.models.adders import ADDERS
from mnistsum.optimizer import SCHEDULES

pytestmark = pytest.mark.usefixtures("own_code")


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return write


def test_names_of_each_kind_are_added_and_removed_after_the_block(write):
    text = """
        from mnistsum.models.adders import Shift as Moved
        ADDERS = {"moved": Moved}
        SCHEDULES = {"flat": lambda config, steps: config.learning_rate}
        """
    with registry.added_names():
        module = registry.load_file(write("own.py", text))
        assert ADDERS["moved"] is module.Moved
        assert registry.own_names() == ["moved", "flat"]
        assert "own.py" in registry.loaded_files()
    assert "flat" not in SCHEDULES
    assert registry.own_names() == []
    assert "own.py" not in registry.loaded_files()


@pytest.mark.parametrize(
    "text, answer",
    [
        (
            'CLASSIFIERS = {"new": dict}\nADDERS = {"shift": dict}',
            "ADDERS defines shift, which is defined already",
        ),
        (
            'ADDERS = {"new": dict}\nOPTIMIZERS = [dict]',
            "expected OPTIMIZERS to be a dict .*, found ",
        ),
        (
            'OBJECTIVES = {"new": "weighted"}',
            "expected OBJECTIVES to be a dict .*, found ",
        ),
    ],
)
def test_a_file_that_is_refused_adds_no_name_and_may_be_mended(write, text, answer):
    file = write("own.py", text)
    with pytest.raises(InputError, match=f"^{file}: {answer}"):
        registry.load_file(file)
    assert registry.own_names() == []
    registry.load_file(write("own.py", 'ADDERS = {"new": dict}'))
    assert registry.own_names() == ["new"]


def test_a_name_that_another_file_defines_is_refused(write):
    text = "class Mine: pass\nCLASSIFIERS = {'mine': Mine}"
    registry.load_file(write("a.py", text))
    with pytest.raises(InputError, match=r"/b.py: CLASSIFIERS defines mine, which"):
        registry.load_file(write("b.py", text))
    registry.load_file(write("a.py", text + "\n# edited"))


def test_a_folder_of_ones_own_hides_no_module_of_pythons(write):
    write("random.py", "raise RuntimeError")
    write("helper_beside.py", "")
    registry.load_file(write("own.py", "import helper_beside"))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(abs, -1).result(timeout=60) == 1


def test_a_name_registered_again_is_replaced_in_compiled_code():
    rate = jax.jit(
        lambda config: SCHEDULES[config.schedule](config, 1), static_argnums=0
    )
    for value in (1.0, 2.0):
        registry.register(
            SCHEDULES={"mine": lambda config, steps, value=value: jnp.float32(value)}
        )
        assert rate(OptimizerConfig(schedule="mine")) == value
    with pytest.raises(
        InputError, match="SCHEDULES defines constant, which is defined already"
    ):
        registry.register(SCHEDULES={"mine": dict, "constant": dict})
    assert rate(OptimizerConfig(schedule="mine")) == 2
    with pytest.raises(InputError, match=r"SCHEDULE: .*; did you mean SCHEDULES\?"):
        registry.register(SCHEDULE={"other": dict})


def test_what_is_no_python_file_is_refused_and_faults_are_raised(write, tmp_path):
    for name, answer in (
        ("nowhere.py", "no such file"),
        ("notes.txt", "expected a file whose name ends in .py"),
    ):
        with pytest.raises(InputError, match=f"/{name}: {answer}$"):
            registry.load_file(tmp_path / name)
    file = write("own.py", "\n1 / 0")
    with pytest.raises(ZeroDivisionError) as error:
        registry.load_file(file)
    last = error.traceback[-1]
    assert str(last.path) == str(file)
    assert last.lineno == 1  # counted from 0
    shown = registry.users_traceback(error.value)
    assert (
        shown
        and shown.count("File ") == 1
        and shown.endswith("ZeroDivisionError: division by zero\n")
    )


def test_a_config_that_cannot_be_right_is_refused_with_its_line(write):
    text = "from mnistsum import ModelConfig\n\nmodel = ModelConfig(classifer='mlp')"
    with pytest.raises(
        InputError,
        match=r"/own.py, line 3: model.classifer: unknown field; did you mean",
    ):
        registry.load_file(write("own.py", text))


def test_a_file_is_run_again_only_if_it_or_a_helper_has_changed(write):
    write("helper_of_own.py", "WIDTH = 1")
    text = """
        import helper_of_own
        WIDTH = helper_of_own.WIDTH
        SCHEDULES = {'mine': lambda config, steps: WIDTH}
        """
    file = write("own.py", text)
    first = registry.load_file(file)
    assert registry.load_file(file) is first
    write("helper_of_own.py", "WIDTH = 10")
    second = registry.load_file(file)
    assert first.WIDTH == 1
    assert second.WIDTH == 10
    assert SCHEDULES["mine"](None, 0) == 10
    write("own.py", "WIDTH = 2")
    assert registry.load_file(file).WIDTH == 2
    assert "mine" not in SCHEDULES


def test_two_helpers_of_one_name_are_refused(write):
    for folder in ("a", "b"):
        write(f"{folder}/same_name.py", f"WIDTH = {folder!r}")
    registry.load_file(write("a/own.py", "import same_name"))
    with pytest.raises(
        InputError,
        match=r"b/same_name.py: Python has loaded another module of this name, .*/a/",
    ):
        registry.load_file(write("b/own.py", "import same_name"))
