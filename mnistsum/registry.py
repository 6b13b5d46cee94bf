"""The names that a config may use, and users' files, which may define more."""

import contextlib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax

from mnistsum.errors import InputError, did_you_mean
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
NAME_FIELDS = {  # of a config, which hold these names
    "CLASSIFIERS": "model.classifier",
    "ADDERS": "model.adder",
    "OPTIMIZERS": "optimizer.name",
    "OBJECTIVES": "objective.name",
    "SCHEDULES": "optimizer.schedule",
}
SHIPPED = {kind: frozenset(known) for kind, known in KINDS.items()}


class LoadedFile(NamedTuple):
    """A user's file that was run."""

    module: ModuleType
    helpers: tuple[str, ...]  # names of the modules beside it that it imported
    sources: dict[Path, bytes]  # of the file and its helpers, as they were run


loaded: dict[Path, LoadedFile] = {}  # by path, in the order in which they were loaded
_paths: set[str] = set()  # of all files that were run, also of those with a fault


def load_file(path: str | Path) -> ModuleType:
    """Run a user's Python file, add the names that it defines, and return it.

    As with `python file.py`, it can import the modules in its folder. Loading it again
    runs it again if it, or a module beside it that it was the first to import, has
    changed; JAX then forgets what it has compiled.

    Raises:
        InputError: if the file does not exist, or defines a name that is taken. An
            InputError within the file gets its line; any other error is raised as it
            is.

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
    if file.suffix != ".py":
        raise InputError(f"{path}: expected a file whose name ends in .py")
    if not file.is_file():
        raise InputError(f"{path}: no such file")
    sources = loaded[file].sources if file in loaded else {}
    if any(
        not each.is_file() or each.read_bytes() != source
        for each, source in sources.items()
    ):
        _forget(file)
    if file not in loaded:
        loaded[file] = _run(file)
    return loaded[file].module


def register(**kinds: Mapping[str, Any]) -> None:
    """Add names that a notebook's cell defines.

    Running the cell again replaces them, and JAX forgets what it compiled.

    Args:
        kinds: what a user's file may define: CLASSIFIERS, ADDERS, OPTIMIZERS,
            OBJECTIVES and SCHEDULES.

    Raises:
        InputError: if a name is one of mnistsum's own.

    Examples:
        >>> import mnistsum
        >>> flat = lambda config, steps: config.learning_rate
        >>> mnistsum.register(SCHEDULES={"flat": flat})
        >>> mnistsum.OptimizerConfig(schedule="flat").schedule
        'flat'
    """
    before = own_names()
    _add(kinds, "register", replace=True)
    if not set(before).isdisjoint(chain.from_iterable(kinds.values())):
        jax.clear_caches()


def loaded_files() -> dict[str, str]:
    """Return a digest of each user's file that was run, and of its helpers."""
    digests = {}
    for each in loaded.values():
        for path, source in each.sources.items():
            digests[path.name] = hashlib.sha256(source).hexdigest()[:16]
    return dict(sorted(digests.items()))


def own_names() -> list[str]:
    """Return the names that users' files have added."""
    names = []
    for kind, known in KINDS.items():
        names += [name for name in known if name not in SHIPPED[kind]]
    return names


def users_traceback(error: BaseException) -> str | None:
    """Return an exception's traceback from the first line of a user's file on.

    It is None if the exception passed through none.
    """
    part = error.__traceback__
    while part is not None and part.tb_frame.f_code.co_filename not in _paths:
        part = part.tb_next
    if part is None:
        return None
    return "".join(traceback.format_exception(type(error), error, part, chain=False))


@contextlib.contextmanager
def added_names(**kinds: Mapping[str, Any]) -> Iterator[None]:
    """Register names for the duration of a `with` block, as a test does.

    Files that are loaded inside the `with` block are forgotten after it.

    Examples:
        >>> from mnistsum.registry import added_names, own_names
        >>> flat = lambda config, steps: config.learning_rate
        >>> with added_names(SCHEDULES={"flat": flat}):
        ...     own_names()
        ['flat']
    """
    before, names = set(loaded), {kind: dict(known) for kind, known in KINDS.items()}
    _add(kinds, "added_names")
    try:
        yield
    finally:
        for file in loaded.keys() - before:
            _forget(file)
        for kind, known in KINDS.items():
            known.clear()
            known.update(names[kind])


def _run(file: Path) -> LoadedFile:
    _check_helpers(file.parent)
    source, before = file.read_bytes(), set(sys.modules)
    # unlike any other module's
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:6]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a .py suffix always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and others look up a class's module there
    if str(file.parent) not in sys.path:
        # last, so that a file such as random.py hides no module of Python's
        sys.path.append(str(file.parent))
    _paths.add(str(file))
    try:
        # Not its loader, which may run bytecode of an older source.
        with _located(file):
            exec(compile(source, file, "exec", dont_inherit=True), vars(module))
        _add({kind: vars(module).get(kind, {}) for kind in KINDS}, str(file))
    except BaseException:
        del sys.modules[name]
        raise
    helpers = {
        each: path
        for each in sys.modules.keys() - before
        if (path := _source_of(each, file.parent))
    }
    sources = {path: path.read_bytes() for path in helpers.values()}
    _paths.update(map(str, sources))
    return LoadedFile(module, tuple(helpers), {file: source, **sources})


@contextlib.contextmanager
def _located(file: Path) -> Iterator[None]:
    """Name the file and its line in an InputError."""
    try:
        yield
    except InputError as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = [frame.lineno for frame in frames if frame.filename == str(file)][-1]
        raise InputError(f"{file}, line {line}: {error}") from None


def _forget(file: Path) -> None:
    """Remove what a file has brought in: names, modules and compiled programs."""
    module, helpers, _ = loaded.pop(file)
    for kind, known in KINDS.items():
        for name, meaning in vars(module).get(kind, {}).items():
            if known.get(name) is meaning:
                del known[name]
    for name in (module.__name__, *helpers):
        sys.modules.pop(name, None)
    jax.clear_caches()


def _check_helpers(folder: Path) -> None:
    """Raise InputError if a module here has the name of another file's helper."""
    for helper in chain.from_iterable(each.helpers for each in loaded.values()):
        other, ours = Path(str(sys.modules[helper].__file__)), folder / f"{helper}.py"
        if ours.is_file() and ours != other:
            raise InputError(
                f"{ours}: Python has loaded another module of this name, {other}; "
                "rename one of them"
            )


def _source_of(name: str, folder: Path) -> Path | None:
    """Return the file of an imported module if it is a user's, in this folder."""
    path = Path(str(getattr(sys.modules[name], "__file__", None)))
    is_project = name.split(".")[0] in ("mnistsum", "experiments")
    is_users = (
        path.suffix == ".py"
        and path.is_relative_to(folder)
        and "site-packages" not in path.parts
    )
    return path if is_users and not is_project else None


def _add(
    defined: Mapping[str, Mapping[str, Any]], source: str, replace: bool = False
) -> None:
    """Add names to KINDS: all of them or none.

    Only a user's own names may be replaced.
    """
    for kind, names in defined.items():
        if kind not in KINDS:
            raise InputError(
                f"{source}: {kind}: expected one of {', '.join(KINDS)}"
                f"{did_you_mean(kind, KINDS)}"
            )
        if not isinstance(names, Mapping) or not all(map(callable, names.values())):
            raise InputError(
                f"{source}: expected {kind} to be a dict from name to class or "
                f"function, found {names!r}"
            )
        for name, meaning in names.items():
            is_defined = KINDS[kind].get(name, meaning) is not meaning
            may_replace = replace and name not in SHIPPED[kind]
            if is_defined and not may_replace:
                raise InputError(
                    f"{source}: {kind} defines {name}, which is defined already; "
                    "choose another name"
                )
    for kind, names in defined.items():
        KINDS[kind].update(names)
