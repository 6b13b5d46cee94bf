"""The examples in the docstrings: each runs, and gives the output shown."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import mnistsum

LIBRARY = Path(mnistsum.__file__).parent
MODULES = sorted(  # that have an example
    ".".join(file.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")
    for file in LIBRARY.rglob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)


def examples(name: str) -> list[doctest.DocTest]:
    """Return the examples of the functions and classes that a module defines.

    The finder itself would miss functions that jaxtyping has wrapped.
    """
    module = importlib.import_module(f"mnistsum.{name}")
    found = []
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__ and (inspect.isclass(value) or callable(value)):
            found += doctest.DocTestFinder(exclude_empty=True).find(value, value.__name__, module=False, globs={})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_give_what_they_show(name):
    tests = examples(name)
    assert tests
    for test in tests:
        told = []
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
        assert not result.failed, "".join(told)


def test_each_public_name_has_an_example():
    for name in mnistsum.__all__:
        assert ">>>" in (getattr(mnistsum, name).__doc__ or ""), name
