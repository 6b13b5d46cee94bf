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
PACKAGE_FOLDERS = {"site-packages", "dist-packages"}  # the latter is Debian's
OURS = ("mnistsum", "experiments")  # hashed even if they are installed
RECORD_SECTIONS = ("data", "sources", "versions", "settings")  # of a record, each a dict
IGNORED_FIELDS = ("seed", "devices")  # of a config; runs that differ only in these are of one group


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
            "xla_flags": environment.xla_flags(),
        }
        | ({"init": init} if init else {}),
    }


def mark(config: Config, record: dict[str, Any]) -> str:
    """Return a short hash of everything that decides a run except its seed."""
    fields = {name: value for name, value in as_dict(config).items() if name not in IGNORED_FIELDS}
    decisive = {section: record[section] for section in RECORD_SECTIONS}
    return hashlib.sha256(json.dumps([fields, decisive], sort_keys=True).encode()).hexdigest()[:12]


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe how two records differ; `then` may also be a `run.json`, which holds one."""
    lines = []
    for section in RECORD_SECTIONS:
        old, new = then.get(section, {}), now[section]
        for name in sorted(old.keys() | new.keys()):
            # A run also names its Python version, which decides nothing.
            if old.get(name) == new.get(name) or (section == "versions" and name not in environment.PACKAGES):
                continue
            if section == "data":
                lines.append(f"the {name} split has changed")
            elif section == "sources":
                kind = "has changed" if name in old and name in new else "is new" if name in new else "is gone"
                lines.append(f"{name} {kind}")
            else:
                lines.append(f"{name} was {old.get(name)}, is {new.get(name)}")
    return lines


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
    files = [*ROOTS, *([own] if own else []), *(known.file_of(name) for known, name in config.names())]
    digests: dict[Path, str] = {}
    while files:
        file = files.pop().absolute()
        if file.resolve() not in digests:
            digests[file.resolve()], imported = _read_source(file)
            files += imported
    named: dict[str, str] = {}
    for name, code in sorted((_name(file), code) for file, code in digests.items()):
        named[name] = f"{named[name]} {code}" if name in named else code  # two files may have one name
    return named


@cache
def _read_source(file: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the hash of a file's code, without comments and docstrings, and the files that it imports."""
    tree = ast.parse(file.read_bytes(), str(file))
    return registry.digest_code(tree), tuple(_imported(tree, file))


def _imported(tree: ast.Module, file: Path) -> Iterator[Path]:
    """Yield the source files that a module imports, anywhere in its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            for alias in node.names:
                if node.level:
                    yield from _inner([file.parents[node.level - 1]], [*base, alias.name])
                else:
                    yield from _files_of(".".join([*base, alias.name]))


@cache
def _files_of(name: str) -> tuple[Path, ...]:
    """Return the source files that importing a dotted name runs; none for an installed package."""
    top, *parts = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return ()
    own = [Path(spec.origin)] if spec.origin and spec.has_location else []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if top not in OURS:
        own, folders = ([path for path in paths if not _is_installed(path)] for paths in (own, folders))
    return (*(path for path in own if path.suffix == ".py"), *_inner(folders, parts))


def _inner(folders: list[Path], parts: list[str]) -> Iterator[Path]:
    """Yield the files of `a`, `a.b`, ... in a package's folders; `parts` may end in a name inside a module.

    They are looked up as files, because importlib would run the parent packages, and also where a folder has no
    `__init__.py`.
    """
    for part in parts:
        candidates = [path for folder in folders for path in (folder / part / "__init__.py", folder / f"{part}.py")]
        file = next((path for path in candidates if path.is_file()), None)
        if file is None:
            folders = [folder / part for folder in folders]
            continue
        yield file
        if file.name != "__init__.py":
            return
        folders = [file.parent]


@cache
def _standard_library() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(Path(paths[kind]).resolve() for kind in ("stdlib", "platstdlib"))


def _is_installed(path: Path) -> bool:
    """Return whether a module is one of Python's own or of an installed package, for all users or for this one."""
    file = path.resolve()
    is_package = not PACKAGE_FOLDERS.isdisjoint(file.parts)
    return is_package or any(file.is_relative_to(folder) for folder in _standard_library())


def _name(file: Path) -> str:
    """Return the dotted name of a module in a package, or else the file's own name."""
    parts = [file.stem] if file.name != "__init__.py" else []
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) if len(parts) > 1 or file.name == "__init__.py" else file.name
