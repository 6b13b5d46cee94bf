"""The architecture: which module imports which, and that no import points back."""

import ast
import re
import subprocess
import sys

from programs import ROOT

import mnistsum

# Each package or module may import only those in its own line or in a line above it.
LIBRARY = (
    ("errors", "registry", "types", "json_files", "field_checks", "config", "files"),
    ("idx", "picture", "statistics", "calibration", "models", "devices"),
    ("data", "objective", "optimizer"),
    ("train", "evaluation"),
    ("seeds", "weights", "checkpoint", "predict", "export", "testing"),
    ("app", "__main__", "__init__"),
)
ROOMS = ("run_folder", "environment", "report", "training", "comparison")


def imports() -> dict[str, set[str]]:
    """Map each module to the project's modules that it imports anywhere."""
    files = [file for name in ("mnistsum", "experiments") for file in (ROOT / name).rglob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    found = {}
    for name, file in names.items():
        targets = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, f"{file}: a relative import"
                # For `from a import b`, the module a.b if there is one, or else a.
                targets |= {
                    both if (both := f"{node.module}.{alias.name}") in names else node.module for alias in node.names
                }
        found[name] = targets & names.keys() - {name}
    return found


def test_the_site_lists_every_public_name():
    page = (ROOT / "docs" / "api" / "mnistsum.md").read_text()
    assert [name for name in mnistsum.__all__ if f"[`{name}`]" not in page] == []


def test_no_module_imports_itself_by_way_of_others():
    graph, done = imports(), set()

    def visit(name, above):
        assert name not in above, f"a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*above, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_the_library_imports_no_program_and_flax_is_imported_by_models_alone():
    for name, targets in imports().items():
        if name.startswith("mnistsum"):
            assert not {target for target in targets if target.startswith("experiments")}, name
    for file in (ROOT / "mnistsum").rglob("*.py"):
        if "models" not in file.relative_to(ROOT).parts:
            assert "flax" not in file.read_text().replace("safetensors.flax", "").replace('"flax"', ""), file


def test_modules_of_the_library_import_only_from_their_own_layer_and_lower_ones():
    level = {name: i for i, names in enumerate(LIBRARY) for name in names}
    for name, targets in imports().items():
        if not name.startswith("mnistsum."):
            continue
        for target in targets:
            here, there = (dotted.split(".")[1] if "." in dotted else "__init__" for dotted in (name, target))
            assert here == there or there == "__init__" or level[there] <= level[here], f"{name} imports {target}"


def test_packages_of_experiments_import_no_program_and_only_the_packages_listed_before_them():
    doors = {file.stem for file in (ROOT / "experiments").glob("*.py")} - {*ROOMS, "cli", "__init__"}
    for name, targets in imports().items():
        room = name.split(".")[1] if name.startswith("experiments.") else ""
        for target in targets:
            part = target.split(".")[1] if target.startswith("experiments.") else ""
            if room in ROOMS:
                assert part not in doors, f"{name} imports the program {target}"
                assert part not in ROOMS or ROOMS.index(part) <= ROOMS.index(room), f"{name} imports {target}"


def test_links_between_pages_lead_to_files_of_the_repository():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\((?!https:)([^)#]+)", page.read_text())]
    assert len(links) > 50
    assert not [(page, link) for page, link in links if not (page.parent / link).exists()]


def test_importing_a_program_starts_no_backend():
    """Otherwise, the XLA flags of `set_up_compiler` would come too late, and bits would change."""
    code = """
import experiments.comparison.pipeline, experiments.comparison.ranking, experiments.training.single
import mnistsum.app.draw, mnistsum.app.evaluate, mnistsum.app.export, mnistsum.app.predict, mnistsum.testing
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_editors_see_what_the_package_exports():
    stub = ast.parse((ROOT / "mnistsum" / "__init__.pyi").read_text())
    seen = {alias.asname: node.module for node in stub.body for alias in node.names}
    assert seen == {name: f"mnistsum.{module}" for name, module in mnistsum._EXPORTS.items()}
