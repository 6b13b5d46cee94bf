"""A user's files: the names that they define, and the record of the code that ran."""

import textwrap
import zipfile
from py_compile import compile as compile_file

import pytest

from mnistsum import own
from mnistsum.config import ModelConfig
from mnistsum.errors import InputError
from mnistsum.models.adders import ADDERS
from mnistsum.optimizer import SCHEDULES

pytestmark = pytest.mark.usefixtures("new_process")


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return write


def test_names_of_each_kind_are_added_and_restored(write):
    file = write(
        "own.py",
        """
        from mnistsum.models.adders import Shift as Moved
        ADDERS = {"moved": Moved}
        SCHEDULES = {"flat": lambda config, steps: config.learning_rate}
        """,
    )
    with own.added_names(ADDERS={}, SCHEDULES={}):
        module = own.load_file(file)
        assert ADDERS["moved"] is module.Moved
        assert own.own_names() == ["moved", "flat"]
    assert own.own_names() == []
    assert "flat" not in SCHEDULES


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('CLASSIFIERS = {"new": dict}\nADDERS = {"shift": dict}', "ADDERS defines shift, which is defined already"),
        ('ADDERS = {"new": dict}\nOPTIMIZERS = [dict]', "expected OPTIMIZERS to be a dict .*, found "),
        ('OBJECTIVES = {"new": "weighted"}', "expected OBJECTIVES to be a dict .*, found "),
    ],
)
def test_a_file_that_is_refused_adds_no_name_and_may_be_mended(write, text, answer):
    file = write("own.py", text)
    with pytest.raises(InputError, match=f"^{file}: {answer}"):
        own.load_file(file)
    assert own.own_names() == []
    own.load_file(write("own.py", 'ADDERS = {"new": dict}'))
    assert own.own_names() == ["new"]


def test_a_name_that_two_files_define_is_refused(write):
    text = "class Mine: pass\nCLASSIFIERS = {'mine': Mine}"
    own.load_file(write("a.py", text))
    with pytest.raises(InputError, match=r"b.py: CLASSIFIERS defines mine, which is defined already"):
        own.load_file(write("b.py", text))
    with pytest.raises(InputError, match="defines mine"), own.added_names(CLASSIFIERS={"mine": dict}):
        pass


def test_what_is_no_python_file_is_refused_and_a_fault_in_one_is_raised_as_it_is(write, tmp_path):
    for name in ("notes.txt", "nowhere.py"):
        with pytest.raises(InputError, match=f"{name}: no such file, or not one whose name ends in .py"):
            own.load_file(tmp_path / name)
    file = write("own.py", "\n1 / 0")
    with pytest.raises(ZeroDivisionError) as error:
        own.load_file(file)
    last = error.traceback[-1]
    assert (str(last.path), last.lineno) == (str(file), 1)  # counted from 0


def test_a_file_saved_anew_is_recorded_as_it_was_run_and_not_run_again(write):
    file = write("own.py", "WIDTH = 8")
    own.load_file(file)
    ran = own.executed_code()
    write("own.py", "WIDTH = 16")
    assert own.executed_code() == ran == {"own.py": own.digest_code(b"WIDTH = 8")}
    with pytest.raises(InputError, match=r"own.py: changed since this process loaded it; start a new process"):
        own.load_file(file)


def test_helpers_are_recorded_as_they_were_run(write):
    write("by_name.py", "WIDTH = 1")
    write("of_a_helper.py", "WIDTH = 2")
    write("package/__init__.py", "import of_a_helper")
    file = write(
        "own.py",
        f"""
        import by_name, package, numpy, wave
        from importlib.util import module_from_spec, spec_from_file_location
        spec = spec_from_file_location("unlisted", "{write("by_path.py", "WIDTH = 3")}")
        def run():
            spec.loader.exec_module(module_from_spec(spec))  # and keep it nowhere
        run()
        """,
    )
    run = own.load_file(file).run
    write("by_name.py", "WIDTH = 4")
    write("by_path.py", "WIDTH = 4")
    with pytest.raises(InputError, match=r"by_path.py: changed"):
        run()
    found = own.executed_code()
    assert found.keys() == {"own.py", "by_name", "package", "of_a_helper", "unlisted"}
    assert found["by_name"] == own.digest_code(b"WIDTH = 1")
    assert found["unlisted"] == own.digest_code(b"WIDTH = 3")


def test_a_module_imported_before_the_first_file_is_recorded_if_a_file_holds_it(write):
    write("earlier.py", "def width(): return 8")
    write("unrelated.py", "")
    __import__("earlier")
    __import__("unrelated")
    own.load_file(write("own.py", "from earlier import width"))
    assert own.executed_code().keys() == {"own.py", "earlier"}


def test_two_helpers_of_one_name_are_two_modules(write, tmp_path):
    text = """
        import sys
        sys.path.insert(0, "{}")
        sys.modules.pop("helper", None)
        import helper
        """
    records = []
    for width in (2, 3):
        for folder, number in (("a", 1), ("b", width)):
            write(f"{folder}{width}/helper.py", f"WIDTH = {number}")
            own.load_file(write(f"{folder}{width}/{folder}.py", text.format(tmp_path / f"{folder}{width}")))
        records.append(own.executed_code()["helper"])
    digests = [own.digest_code(f"WIDTH = {number}".encode()) for number in (1, 2, 3)]
    assert records[0].split() == sorted(digests[:2])
    assert set(records[1].split()) == set(digests)


def test_helpers_without_source_are_recorded_by_their_bytes(write, tmp_path):
    source = write("compiled.py", "WIDTH = 1")
    compile_file(str(source), str(tmp_path / "compiled.pyc"))
    source.unlink()
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("zipped.py", "WIDTH = 2")
    own.load_file(write("own.py", f"import sys\nsys.path.append('{tmp_path}/archive.zip')\nimport compiled, zipped"))
    found = own.executed_code()
    assert found["compiled"] == own.digest_code((tmp_path / "compiled.pyc").read_bytes())
    assert found["zipped"] == own.digest_code(b"WIDTH = 2")


def test_what_a_file_brings_in_is_in_the_record_of_every_network_of_the_process(write):
    config = ModelConfig(classifier="mlp")
    before = own.network_code(config)
    own.load_file(write("patch.py", "from mnistsum.models.layers import Dense\nDense.patched = True"))
    assert own.changes(before, own.network_code(config)) == ["patch.py is new"]


def test_comments_and_docstrings_are_no_change_and_all_else_is():
    code = b'def f():\n    """Return."""\n    return 1  # one\n'
    assert own.digest_code(code) == own.digest_code(b"def f():  return 1")
    assert own.digest_code(code) != own.digest_code(b"def f():  return 2")


def test_a_network_of_ours_is_defined_by_its_classifiers_file_and_what_all_share():
    models = set(own.network_code(ModelConfig(classifier="mlp")))
    assert {"mnistsum/models/layers.py", "mnistsum/models/adders.py", "mnistsum/models/classifiers/mlp.py"} <= models
    assert "mnistsum/models/classifiers/vgg.py" not in models
    with own.added_names(CLASSIFIERS={"mine": type("Mine", (), {})}):  # which may be made of any of ours
        assert "mnistsum/models/classifiers/vgg.py" in own.network_code(ModelConfig(classifier="mine"))
