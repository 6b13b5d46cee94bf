"""The architecture: which module imports which, and that no import points back."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter

import pytest
from programs import ROOT, module_name

import mnistsum

# A package or module of the library imports only those in its own line or in a line
# above it.
LIBRARY = (
    (
        "errors",
        "file_io",
        "types",
        "config",
        "checks",
        "datasets",
        "picture",
        "statistics",
    ),
    ("data", "devices", "models", "objective", "optimizer"),
    ("registry", "programs", "train", "evaluation"),
    ("seeds", "storage", "testing"),
    ("predict", "export"),
    ("app", "__main__", "__init__"),
)


@cache
def imports():
    """Map each module to the project's modules that it imports anywhere."""
    files = [*ROOT.glob("mnistsum/**/*.py"), *ROOT.glob("experiments/**/*.py")]
    names = {module_name(file): file for file in files}
    found = {}
    for name, file in names.items():
        targets = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                # For `from a import b`, the module a.b if there is one, or else a.
                inner = {
                    f"{node.module}.{alias.name}" for alias in node.names
                } & names.keys()
                targets |= inner or {node.module}
        found[name] = targets & names.keys() - {name}
    return found


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter(imports()).prepare()  # CycleError names the circle


def part(module, depth=2):
    """Return the package that a module is in, or itself."""
    return ".".join(module.split(".")[:depth])


def test_modules_import_only_from_their_own_layer_and_lower_ones():
    level = {}
    for i, names in enumerate(LIBRARY):
        level |= {f"mnistsum.{name}": i for name in names}
    for name, targets in imports().items():
        if name.startswith("mnistsum."):
            for target in targets - {"mnistsum"}:
                assert level[part(target)] <= level[part(name)], (name, target)


def test_packages_of_programs_import_only_those_to_their_right():
    order = [f"experiments.{name}" for name in ("comparison", "report", "training")]
    for name, targets in imports().items():
        if part(name) in order:
            to_its_left = {*order[: order.index(part(name))]}
            assert not to_its_left & {*map(part, targets)}, name


def test_studies_do_not_import_each_other():
    studies = "experiments.studies."
    for name, targets in imports().items():
        if name.startswith(studies):
            others = {part(each, 3) for each in targets if each.startswith(studies)}
            assert others <= {part(name, 3), f"{studies}runs"}, name


@pytest.mark.slow
def test_importing_the_library_and_a_program_starts_no_backend():
    """Otherwise, the XLA flags of `set_up_compiler` would come too late."""
    modules = [
        name
        for name in imports()
        if name.startswith("mnistsum.") and not name.endswith("__main__")
    ]
    code = f"""
import {", ".join([*modules, "experiments.single"])}
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_the_site_lists_every_public_name():
    page = (ROOT / "docs" / "api" / "mnistsum.md").read_text()
    assert [name for name in mnistsum.__all__ if f"[`{name}`]" not in page] == []


def test_links_between_pages_lead_to_files_of_the_repository():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    followed = 0
    for page in pages:
        for link in re.findall(r"\]\((?!https:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), (page, link)
            followed += 1
    assert followed > 50


def test_the_sites_menu_has_at_most_twelve_pages_above_the_api():
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert menu.partition("- API:")[0].count(".md") <= 12
