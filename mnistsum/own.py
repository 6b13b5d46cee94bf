"""A user's Python file: it is run once, the names that it defines are added, and the code that ran is remembered."""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError
from mnistsum.models import adders
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.objective import OBJECTIVES
from mnistsum.optimizer import OPTIMIZERS, SCHEDULES

# What a user's file may define, each a dict from name to class or function.
KINDS: dict[str, dict[str, Any]] = {
    "CLASSIFIERS": CLASSIFIERS,
    "ADDERS": ADDERS,
    "OPTIMIZERS": OPTIMIZERS,
    "OBJECTIVES": OBJECTIVES,
    "SCHEDULES": SCHEDULES,
}
SHIPPED = {kind: frozenset(known) for kind, known in KINDS.items()}
NETWORKS = "mnistsum/models"  # where this project defines networks
INSTALLED = {"site-packages", "dist-packages"}  # the latter is Debian's
STANDARD = tuple(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib"))

_files: dict[Path, tuple[bytes, ModuleType]] = {}  # source and module of each file that was run
_before: set[str] = set()  # names of the modules that were imported before the first of them
_executed: dict[Path, tuple[str, str]] = {}  # name and digest of the code of each module, as it was when first seen
_execute_module = SourceFileLoader.exec_module


def load_file(path: str | Path) -> ModuleType:
    """Run a user's Python file once per process, add the names that it defines, and return it as a module.

    Raises:
        InputError: if the file does not exist, defines a name that is taken, or has changed since it was run, because
            JAX would keep using what it compiled from it. An error within the file is raised as it is.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import mnistsum
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "mine.py"
        ...     _ = file.write_text("WIDTHS = (8, 16)")
        ...     mnistsum.load_file(file).WIDTHS
        (8, 16)
    """
    file = Path(path).resolve()
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"{path}: no such file, or not one whose name ends in .py")
    source = file.read_bytes()
    if file not in _files:
        _files[file] = source, _run(file, source)
    ran, module = _files[file]
    if ran != source:
        raise InputError(f"{path}: changed since this process loaded it; start a new process")
    return module


def _run(file: Path, source: bytes) -> ModuleType:
    if not _before:
        _before.update(sys.modules)
        setattr(SourceFileLoader, "exec_module", _execute_and_record)  # noqa: B010 - a type checker forbids the short form
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:6]}"  # unlike any other module's
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a .py suffix always has a loader"
    module = importlib.util.module_from_spec(spec)
    _executed[file] = file.name, digest_code(source)
    sys.modules[name] = module  # dataclasses and others look up a class's module there
    try:
        # Not its loader, which may run bytecode of an older source.
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))
        _add({kind: vars(module).get(kind, {}) for kind in KINDS}, str(file))
    except BaseException:
        del sys.modules[name]
        raise
    executed_code()
    return module


def _execute_and_record(loader: SourceFileLoader, module: ModuleType) -> None:
    """Execute a module as its loader would, but a user's from its source, never from bytecode, and record that source.

    A network that imports a file by its path whenever it is called may keep the module nowhere.
    """
    if not (_before and _is_users(module)):
        return _execute_module(loader, module)
    file = _file_of(module)
    source = file.read_bytes()
    code = module.__name__, digest_code(source)
    if _executed.get(file, code)[1] != code[1]:
        raise InputError(f"{file}: changed since this process loaded it; start a new process")
    exec(compile(source, file, "exec", dont_inherit=True), vars(module))
    _executed.setdefault(file, code)
    return None


def _add(defined: Mapping[str, Mapping[str, Any]], source: str) -> None:
    """Add names to KINDS: all of them or none."""
    for kind, names in defined.items():
        if not isinstance(names, Mapping) or not all(map(callable, names.values())):
            raise InputError(f"{source}: expected {kind} to be a dict from name to class or function, found {names!r}")
        for name, meaning in names.items():
            if KINDS[kind].get(name, meaning) is not meaning:
                raise InputError(f"{source}: {kind} defines {name}, which is defined already; choose another name")
    for kind, names in defined.items():
        KINDS[kind].update(names)


@contextlib.contextmanager
def added_names(**kinds: Mapping[str, Any]) -> Iterator[None]:
    """Add names for the time of a `with` block, as in a test: `added_names(ADDERS={"mine": Mine})`."""
    before = _contents()
    _add(kinds, "added_names")
    try:
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Forget, for the time of a `with` block, which users' files were run, as a new process has run none."""
    before = _contents()
    _restore([{}, {}, set(), *({name: known[name] for name in SHIPPED[kind]} for kind, known in KINDS.items())])
    try:
        yield
    finally:
        for module in _brought_in():
            sys.modules.pop(module.__name__, None)
        _restore(before)


def _contents() -> list[Any]:
    return [known.copy() for known in (_files, _executed, _before, *KINDS.values())]


def _restore(contents: list[Any]) -> None:
    for known, content in zip((_files, _executed, _before, *KINDS.values()), contents, strict=True):
        known.clear()
        known.update(content)


def own_names() -> list[str]:
    """Return the names that users' files have added."""
    return [name for kind, known in KINDS.items() for name in known if name not in SHIPPED[kind]]


def executed_code() -> dict[str, str]:
    """Return the digest of the code of each module that users' files brought in so far, as it was when first seen.

    A network may import modules only when it is built or called, so this looks again each time it is called.
    """
    for module in _brought_in():
        file = _file_of(module)
        if file not in _executed:
            _executed[file] = module.__name__, digest_code(_content(module))
    code = {}
    for name, digest in sorted(_executed.values()):
        code[name] = f"{code[name]} {digest}" if name in code else digest  # two folders may hold a module of one name
    return code


@functools.cache
def project_code(*folders: str) -> Mapping[str, str]:
    """Return the digest of the code of each source file below these folders of this project, by path."""
    root = Path(__file__).parents[1]
    files = sorted(file for folder in folders for file in (root / folder).rglob("*.py"))
    return {file.relative_to(root).as_posix(): digest_code(file.read_bytes()) for file in files}


def network_code(config: ModelConfig) -> dict[str, str]:
    """Return the digests of the code that may define a network: this project's, and that of users' files.

    It leaves out classifiers and adders of this project that the network does not use.
    """
    classifier, adder = CLASSIFIERS[config.classifier].__module__.replace(".", "/") + ".py", ADDERS[config.adder]
    ours = dict(project_code(NETWORKS))
    if adder.__module__ == adders.__name__:
        others = {ADDERS[name].__name__ for name in SHIPPED["ADDERS"]} - {adder.__name__}
        ours[f"{NETWORKS}/adders.py"] = digest_code(Path(adders.__file__).read_bytes(), {"ADDERS", *others})
    unused = {f"{NETWORKS}/summary.py"}  # which only describes them
    if classifier in ours:
        unused |= {name for name in ours if name.startswith(f"{NETWORKS}/classifiers/") and name != classifier}
    return {name: digest for name, digest in {**ours, **executed_code()}.items() if name not in unused}


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describe what differs between two records of code.

    Examples:
        >>> from mnistsum.own import changes
        >>> changes({"a.py": "1", "b.py": "1"}, {"a.py": "2", "c.py": "1"})
        ['a.py has changed', 'b.py is gone', 'c.py is new']
    """
    return [
        f"{name} {'has changed' if name in then and name in now else 'is gone' if name in then else 'is new'}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def is_users(error: BaseException) -> bool:
    """Return whether an exception passed through code of a user's file, or of a module that it brought in."""
    executed_code()
    paths = set(map(str, _executed))
    return any(frame.filename in paths for frame in traceback.extract_tb(error.__traceback__))


def _brought_in() -> list[ModuleType]:
    """Return users' modules that were imported since their first file began, and those that these hold."""
    loaded = list(sys.modules.items()) if _before else []
    found = [module for name, module in loaded if name not in _before and _is_users(module)]
    for module in found:  # which grows: a module that was imported by its path may be in no list of modules
        for value in list(vars(module).values()):
            held = value if isinstance(value, ModuleType) else sys.modules.get(str(getattr(value, "__module__", "")))
            if held not in found and _is_users(held):
                found.append(held)
    return found


def _is_users(module: Any) -> TypeGuard[ModuleType]:
    """Return whether a module has a file that is neither Python's, nor an installed package's, nor this project's."""
    spec = getattr(module, "__spec__", None)
    if spec is None or not spec.has_location or spec.name.split(".")[0] in ("mnistsum", "experiments"):
        return False
    file = _file_of(module)
    return INSTALLED.isdisjoint(file.parts) and not any(file.is_relative_to(folder) for folder in STANDARD)


def _file_of(module: ModuleType) -> Path:
    return Path(module.__spec__.origin)  # pyright: ignore - it has one, as `_is_users` checks


def _content(module: ModuleType) -> bytes:
    """Return the bytes that a module was imported from, which may be in an archive."""
    file = _file_of(module)
    return file.read_bytes() if file.is_file() else module.__loader__.get_data(str(file))  # pyright: ignore


def digest_code(source: bytes, left_out: Collection[str] = ()) -> str:
    """Return a digest of a module's code without comments and docstrings, or of its bytes if it is not source.

    Args:
        source: the module's bytes.
        left_out: names that the module defines, as a class or with a type, whose definitions do not count.

    Examples:
        >>> from mnistsum.own import digest_code
        >>> digest_code(b"x = 1  # one") == digest_code(b"x  =  1")
        True
        >>> digest_code(b"x = 1; y: int = 2", {"y"}) == digest_code(b"x = 1")
        True
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # bytecode
        return hashlib.sha256(source).hexdigest()[:16]
    tree.body = [node for node in tree.body if _name(node) not in left_out]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


def _name(node: ast.stmt) -> str | None:
    """Return what a statement defines: the name of a class, a function or a variable with a type."""
    target = getattr(node, "target", None)
    return getattr(node, "name", getattr(target, "id", None))
