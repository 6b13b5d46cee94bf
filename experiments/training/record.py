"""What decides a run beside its config: source code, data, versions and settings, each by name.

A run is gone on with, or used again, only where its record is equal to today's; else `differences` says why.
"""

import ast
import hashlib
import importlib.util
import json
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import environment
from mnistsum import registry
from mnistsum.config import Config, as_dict
from mnistsum.types import Data, Split

ROOTS = (Path(__file__).with_name("runs.py"), Path(__file__).with_name("loop.py"))  # import whatever trains and tests
OURS = ("mnistsum", "experiments")  # read also where they are installed
PARTS = ("data", "sources", "versions", "settings")  # of a record, each a dict
IGNORED_FIELDS = ("seed", "devices")  # of a config: runs that differ in these alone are of one kind


def make_record(
    config: Config, data: Data, own: Path | None = None, init: str | None = None
) -> dict[str, dict[str, str]]:
    """Return what decides a run of a config, as it is now.

    Args:
        config: of the run.
        data: whose content is hashed.
        own: the user's file that the config came from, if it did.
        init: the digest of the weights that it begins from; none: they are drawn by its seed.
    """
    return {
        "data": {name: digest(split) for name, split in zip(data._fields, data, strict=True)},
        "sources": _sources(config, own),
        "versions": {name: environment.version(name) for name in environment.PACKAGES},
        "settings": {
            "backend": jax.default_backend(),
            "prng": str(jax.config.values["jax_default_prng_impl"]),
            "threefry_partitionable": str(jax.config.values["jax_threefry_partitionable"]),
            "enable_x64": str(jax.config.values["jax_enable_x64"]),
            "matmul_precision": environment.matmul_precision(),
        }
        | ({"init": init} if init else {}),
    }


def mark(config: Config, record: dict[str, Any]) -> str:
    """Return a short hash of all that decides a run but its seed."""
    fields = {name: value for name, value in as_dict(config).items() if name not in IGNORED_FIELDS}
    decisive = {part: record[part] for part in PARTS}
    return hashlib.sha256(json.dumps([fields, decisive], sort_keys=True).encode()).hexdigest()[:12]


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words what is not as it was, of two records (or of `run.json`, which holds one)."""
    found = []
    for part in PARTS:
        old, new = then.get(part, {}), now[part]
        for name in sorted(old.keys() | new.keys()):
            # Python is among the versions that a run names, and decides nothing.
            if old.get(name) == new.get(name) or (part == "versions" and name not in environment.PACKAGES):
                continue
            if part == "data":
                found.append(f"the {name} split has changed")
            elif part == "sources":
                kind = "has changed" if name in old and name in new else "is new" if name in new else "is gone"
                found.append(f"{name} {kind}")
            else:
                found.append(f"{name} was {old.get(name)}, is {new.get(name)}")
    return found


def changed_fields(then: Config, now: Config) -> list[str]:
    """Return in words which fields of a config are not as they were."""
    old, new = as_dict(then), as_dict(now)
    return [f"{name} was {old[name]}, is {new[name]}" for name in unequal_fields(then, now)]


def unequal_fields(one: Config, other: Config) -> list[str]:
    """Return the fields in which two configs differ, but for those that do not matter."""
    left, right = as_dict(one), as_dict(other)
    return [name for name in left if left[name] != right[name] and name not in IGNORED_FIELDS]


def digest(split: Split) -> str:
    """Return the SHA-256 of a split's images and labels."""
    content = hashlib.sha256()
    for array in split:
        content.update(np.asarray(array).tobytes())
    return content.hexdigest()


def _sources(config: Config, own: Path | None) -> dict[str, str]:
    """Return the code of every module that a run of the config imports and that is no installed package, by name."""
    files = [*ROOTS, *([own] if own else [])]
    for known, name in (
        (registry.CLASSIFIERS, config.model.classifier),
        (registry.ADDERS, config.model.adder),
        (registry.OPTIMIZERS, config.optimizer.name),
        (registry.OBJECTIVES, config.objective.name),
    ):
        files.append(known.file_of(name))
    found: dict[Path, str] = {}
    while files:
        file = files.pop().resolve()
        if file not in found:
            found[file], imported = _read_source(file)
            files += imported
    return dict(sorted((_name(file), code) for file, code in found.items()))


@cache
def _read_source(file: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the hash of a file's code, and the files that it imports. Comments and docstrings are no code."""
    tree = ast.parse(file.read_bytes(), str(file))
    imported = tuple(path for name in _imports(tree, file) for path in _files_of(name))
    return registry.digest_code(tree), imported


def _imports(tree: ast.Module, file: Path) -> Iterator[str]:
    """Return the dotted names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = _name(file).split(".")
            above = len(parts) - node.level + (file.name == "__init__.py")
            base = ".".join([*(parts[:above] if node.level else []), *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def _files_of(name: str) -> tuple[Path, ...]:
    """Return the source files that importing a dotted name runs, if they are of no installed package."""
    top, *parts = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None or not spec.has_location:
        return ()
    file = Path(spec.origin).resolve()
    if top not in OURS and any(file.is_relative_to(folder) for folder in _installed()):
        return ()
    files = [file]
    for part in parts:  # looked for as files, as finding them by import would run them
        if files[-1].name != "__init__.py":
            break
        folder = files[-1].parent
        inner = [path for path in (folder / part / "__init__.py", folder / f"{part}.py") if path.is_file()]
        if not inner:
            break
        files.append(inner[0])
    return tuple(path for path in files if path.suffix == ".py")


@cache
def _installed() -> tuple[Path, ...]:
    """Where Python's own modules and installed packages lie."""
    paths = sysconfig.get_paths()
    return tuple(Path(paths[kind]).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def _name(file: Path) -> str:
    """Return a module's dotted name, of a file that lies in a package; else the file's own name."""
    parts = [file.stem] if file.name != "__init__.py" else []
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) if len(parts) > 1 or file.name == "__init__.py" else file.name
