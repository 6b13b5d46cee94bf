"""What decides a run besides its config: source code, data, versions and settings, each by name.

A run is resumed or reused only if its record equals the current one; otherwise `differences` says why not.
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

ROOTS = (Path(__file__).with_name("runs.py"), Path(__file__).with_name("loop.py"))  # import all that trains and tests
OURS = ("mnistsum", "experiments")  # hashed even if they are installed
PARTS = ("data", "sources", "versions", "settings")  # of a record, each a dict
IGNORED_FIELDS = ("seed", "devices")  # of a config; runs that differ only in these are of one kind


def make_record(
    config: Config, data: Data, own: Path | None = None, init: str | None = None
) -> dict[str, dict[str, str]]:
    """Return the current record of what decides a run of `config`.

    Args:
        config: the run's config.
        data: the data set, whose content is hashed.
        own: the user's file that the config came from, if any.
        init: the digest of its initial weights; None: the seed draws them.
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
    """Return a short hash of everything that decides a run except its seed."""
    fields = {name: value for name, value in as_dict(config).items() if name not in IGNORED_FIELDS}
    decisive = {part: record[part] for part in PARTS}
    return hashlib.sha256(json.dumps([fields, decisive], sort_keys=True).encode()).hexdigest()[:12]


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe how two records differ; `then` may also be a `run.json`, which holds one."""
    found = []
    for part in PARTS:
        old, new = then.get(part, {}), now[part]
        for name in sorted(old.keys() | new.keys()):
            # A run also names its Python version, which decides nothing.
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
    """Describe which fields of a config have changed."""
    old, new = as_dict(then), as_dict(now)
    return [f"{name} was {old[name]}, is {new[name]}" for name in unequal_fields(then, now)]


def unequal_fields(one: Config, other: Config) -> list[str]:
    """Return the fields in which two configs differ, except IGNORED_FIELDS."""
    left, right = as_dict(one), as_dict(other)
    return [name for name in left if left[name] != right[name] and name not in IGNORED_FIELDS]


def digest(split: Split) -> str:
    """Return the SHA-256 of a split's images and labels."""
    content = hashlib.sha256()
    for array in split:
        content.update(np.asarray(array).tobytes())
    return content.hexdigest()


def _sources(config: Config, own: Path | None) -> dict[str, str]:
    """Return the hashed code of each module that a run of the config imports, by name, without installed packages."""
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
    """Return the hash of a file's code, without comments and docstrings, and the files that it imports."""
    tree = ast.parse(file.read_bytes(), str(file))
    imported = tuple(path for name in _imports(tree, file) for path in _files_of(name))
    return registry.digest_code(tree), imported


def _imports(tree: ast.Module, file: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, anywhere in its code."""
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
    """Return the source files that importing a dotted name runs; none for an installed package."""
    top, *parts = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None or not spec.has_location:
        return ()
    file = Path(spec.origin).resolve()
    if top not in OURS and any(file.is_relative_to(folder) for folder in _installed()):
        return ()
    files = [file]
    for part in parts:  # looked up as files, because importlib would run the parent packages
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
    """Return the folders of Python's standard library and of installed packages."""
    paths = sysconfig.get_paths()
    return tuple(Path(paths[kind]).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def _name(file: Path) -> str:
    """Return the dotted name of a module in a package, or else the file's own name."""
    parts = [file.stem] if file.name != "__init__.py" else []
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) if len(parts) > 1 or file.name == "__init__.py" else file.name
