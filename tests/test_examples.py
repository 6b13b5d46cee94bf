"""The examples in docstrings, the prose and `examples/` give what they show."""

import doctest
import importlib
import json
import re

import pytest
from programs import ROOT, blocks, first, module_name

import mnistsum
from experiments.training.record import prepare
from mnistsum.config import Config
from mnistsum.registry import added_names, load_file

MODULES = sorted(  # that have an example
    module_name(file)
    for file in (ROOT / "mnistsum").rglob("*.py")
    if ">>>" in file.read_text()
)
# Blocks of the prose that define a config; those that use what an earlier command has
# made are not run.
BLOCKS = []
for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
    found = [block for block in blocks(page, "python") if "\nconfig = " in block]
    BLOCKS += [pytest.param(block, id=page.name) for block in found]


def assert_gives_what_it_shows(tests):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told = []
    for test in tests:
        with added_names():
            runner.run(test, out=told.append)
    assert runner.tries
    assert not runner.failures, "".join(told)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_give_what_they_show(name):
    """Given the module, a finder would miss functions that jaxtyping has wrapped."""
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder()
    tests = []
    for value in vars(module).values():
        if getattr(value, "__module__", None) == name and callable(value):
            tests += finder.find(value, value.__name__, module=False, globs={})
    assert_gives_what_it_shows(tests)


def test_each_public_name_has_an_example():
    for name in set(mnistsum.__all__) - {"InputError"}:
        assert ">>>" in (getattr(mnistsum, name).__doc__ or ""), name


def test_the_guide_to_verdicts_gives_what_it_shows(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs/guides/verdicts.md").read_text().replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, {}, "verdicts.md", None, 0)
    assert_gives_what_it_shows([test])


def test_the_notebook_is_small_and_was_run_from_top_to_bottom():
    text = (ROOT / "examples/tutorial.ipynb").read_text()
    counts = [
        cell["execution_count"]
        for cell in json.loads(text)["cells"]
        if cell["cell_type"] == "code"
    ]
    assert counts == list(range(1, len(counts) + 1))
    assert len(text) < 200_000
    assert not re.search("/(home|root|tmp|work|Users)/", text)


@pytest.mark.slow
def test_the_minimal_example_learns_from_a_few_images(monkeypatch, capsys, mnist):
    monkeypatch.syspath_prepend(ROOT / "examples")
    minimal = importlib.import_module("minimal")
    monkeypatch.setattr(mnistsum, "load", lambda _: first(mnist, 2000))
    minimal.main()
    output = capsys.readouterr().out
    assert output.startswith("training for 3 epochs, after compiling")
    digit, total = map(float, re.findall(r"(\d+\.\d+)%", output))
    assert digit > 60
    assert total > 10


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_a_config_of_the_prose_can_be_trained(own_code, mnist, tmp_path, block):
    (tmp_path / "mine.py").write_text(block)
    config = load_file(tmp_path / "mine.py").config
    assert isinstance(config, Config)
    prepare(config, "a test", mnist)
