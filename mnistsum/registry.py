"""The names that a config may use, and the class or function that each stands for.

JAX is not imported here: a class or function is imported when its name is first looked up, so that a command line is
checked before JAX loads.
"""

import ast
import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mnistsum.errors import InputError


class Registry(Mapping[str, Any]):
    """A mapping from name to class or function. Names can be added but never redefined."""

    def __init__(self, key: str, import_paths: dict[str, str]):
        """Start with this project's own names.

        Args:
            key: the config's field that holds one of the names, such as `model.classifier`.
            import_paths: name to `module:attribute`.
        """
        self.key = key
        self._import_paths = import_paths
        self._added: dict[str, Any] = {}
        self._sources: dict[str, str] = {}  # the file that added each name

    def __getitem__(self, name: str) -> Any:
        self.check(name)
        if name in self._added:
            return self._added[name]
        module, attribute = self._import_paths[name].split(":")
        return getattr(importlib.import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._import_paths, *self._added))

    def __len__(self) -> int:
        return len(self._import_paths) + len(self._added)

    def __contains__(self, name: object) -> bool:
        return name in self._import_paths or name in self._added

    def check_free(self, named: Mapping[str, Any], source: str) -> None:
        """Check that names can be added.

        Args:
            named: name to class or function.
            source: the path of the file that defines them.

        Raises:
            InputError: if a name already stands for something else.
        """
        for name, meaning in named.items():
            if name in self._import_paths or self._added.get(name, meaning) is not meaning:
                owner = self._sources.get(name, "mnistsum")
                raise InputError(
                    f"{source}: defines {self.key} {name}, which {owner} defines already; choose another name"
                )

    def add(self, named: Mapping[str, Any], source: str) -> None:
        """Add names, which `check_free` has passed."""
        self._added.update(named)
        self._sources.update(dict.fromkeys(named, str(Path(source).absolute())))

    def is_added(self, name: str) -> bool:
        """Return whether a user, not this project, defined a name."""
        return name in self._added

    def file_of(self, name: str) -> Path:
        """Return the source file that defines what a name stands for."""
        if name in self._added:
            return Path(self._sources[name])
        spec = importlib.util.find_spec(self._import_paths[name].partition(":")[0])
        assert spec is not None and spec.origin is not None, "our own modules are files"
        return Path(spec.origin)

    def check(self, name: str) -> None:
        """Check that a name is known.

        Raises:
            InputError: if it is not; it suggests a similar name if there is one.
        """
        if name in self:
            return
        near = difflib.get_close_matches(name, self, 1)
        lead = f"did you mean {near[0]}? If" if near else "if"
        raise InputError(
            f"{self.key}: expected one of {', '.join(self)}, found {name}; {lead} it is your own, give the file that "
            "defines it, too: --config FILE.py; FILE.py among the arguments of compare and tabulate; in Python, "
            "mnistsum.load_file(FILE)"
        )


_CLASSIFIERS = "mnistsum.models.classifiers"
_ADDERS = "mnistsum.models.adders"
_OPTIMIZER = "mnistsum.optimizer"

CLASSIFIERS = Registry(
    "model.classifier",
    {
        "reference": f"{_CLASSIFIERS}.reference:Reference",
        "compact": f"{_CLASSIFIERS}.compact:Compact",
        "tiny": f"{_CLASSIFIERS}.tiny:Tiny",
        "lenet5": f"{_CLASSIFIERS}.lenet5:LeNet5",
        "lenet5_bn": f"{_CLASSIFIERS}.lenet5_bn:LeNet5BN",
        "mlp": f"{_CLASSIFIERS}.mlp:MLP",
        "resnet": f"{_CLASSIFIERS}.resnet:ResNet",
        "vgg": f"{_CLASSIFIERS}.vgg:VGG",
        "vit": f"{_CLASSIFIERS}.vit:ViT",
    },
)
ADDERS = Registry(
    "model.adder",
    {
        "concat": f"{_ADDERS}:Concat",
        "bilinear": f"{_ADDERS}:Bilinear",
        "direct": f"{_ADDERS}:Direct",
        "shift": f"{_ADDERS}:Shift",
    },
)
OPTIMIZERS = Registry(
    "optimizer.name", {"sgd": f"{_OPTIMIZER}:sgd", "adamw": f"{_OPTIMIZER}:adamw", "muon": f"{_OPTIMIZER}:muon"}
)
OBJECTIVES = Registry("objective.name", {"weighted": "mnistsum.objective:weighted"})

# What a user's Python file may define, each a dict from name to class or function.
OWN = {"CLASSIFIERS": CLASSIFIERS, "ADDERS": ADDERS, "OPTIMIZERS": OPTIMIZERS, "OBJECTIVES": OBJECTIVES}

_files: dict[Path, tuple[bytes, ModuleType]] = {}  # source and module of each file that `load_file` loaded
_loading: list[Path] = []  # files being loaded, whose names are not known yet


def is_loading() -> bool:
    """Return whether a user's file is being run, so that names in its config cannot be checked yet."""
    return bool(_loading)


def load_file(path: str | Path) -> ModuleType:
    """Run a user's Python file once per process, add the names that it defines, and return it as a module.

    Raises:
        InputError: if the file does not exist, is not Python, defines a name that is taken, or has changed since it was
            loaded, because JAX would keep using what it compiled from it.

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
    if not file.is_file():
        raise InputError(f"{path}: no such file")
    if file.suffix != ".py":
        raise InputError(f"{path}: expected a Python file, whose name ends in .py")
    source = file.read_bytes()
    if file not in _files:
        name = f"{file.stem}_{len(_loading)}_{len(_files)}"  # unlike any other module's
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None, "a .py suffix always has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and others look up a class's module there
        try:
            with _defer_checks(file), _prefix_errors(path):  # not its loader, which may run bytecode of an older source
                exec(compile(source, file, "exec", dont_inherit=True), vars(module))
            add_names(module, str(path))
        except BaseException:
            del sys.modules[name]
            raise
        _files[file] = source, module
    loaded, module = _files[file]
    if loaded != source:
        raise InputError(f"{path}: changed since this process loaded it; start a new process")
    return module


@contextlib.contextmanager
def _prefix_errors(path: str | Path) -> Iterator[None]:
    """Turn a syntax or input error in a user's file into an InputError that begins with its path."""
    try:
        yield
    except SyntaxError as error:
        raise InputError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def digest_of(file: Path) -> str:
    """Return the digest of a file's code as this process loaded it; if `load_file` did not, as it is now."""
    source, _ = _files.get(file.resolve(), (None, None))
    return digest_code(ast.parse(file.read_bytes() if source is None else source))


def digest_code(tree: ast.Module) -> str:
    """Return the SHA-256 of a module's code, without comments and docstrings. `tree` loses its docstrings.

    Examples:
        >>> import ast
        >>> from mnistsum.registry import digest_code
        >>> digest_code(ast.parse("x = 1  # one")) == digest_code(ast.parse("x  =  1"))
        True
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def load_module(name: str) -> ModuleType:
    """Import a module by its dotted name, and add the names that it defines.

    Raises:
        InputError: if it defines a name that is taken.
    """
    with _defer_checks(Path(name)):
        module = importlib.import_module(name)
    add_names(module, module.__file__ or name)
    return module


def add_names(module: ModuleType, source: str) -> None:
    """Add the names that a module defines as CLASSIFIERS, ADDERS, OPTIMIZERS and OBJECTIVES: all of them or none."""
    defined = []
    for variable, registry in OWN.items():
        named = vars(module).get(variable, {})
        if named is registry:  # the module imported it
            continue
        if not isinstance(named, dict) or not all(isinstance(name, str) and callable(named[name]) for name in named):
            raise InputError(
                f"{source}: expected {variable} to be a dict from name to class or function, found {named!r}"
            )
        registry.check_free(named, source)
        defined.append((registry, named))
    for registry, named in defined:
        registry.add(named, source)


@contextlib.contextmanager
def _defer_checks(file: Path) -> Iterator[None]:
    _loading.append(file)
    try:
        yield
    finally:
        _loading.pop()
