"""mnistsum: networks that read a digit and add a number to it, and their comparison.

Modules load on first use, so that a program can parse its command line before JAX is imported. Editors and type
checkers read `__init__.pyi` instead, which imports the same names.
"""

import importlib

_EXPORTS = {
    "Config": "config",
    "DataConfig": "config",
    "AugmentConfig": "config",
    "ModelConfig": "config",
    "ObjectiveConfig": "config",
    "OptimizerConfig": "config",
    "TrainingConfig": "config",
    "InputError": "errors",
    "load": "data",
    "build": "models",
    "evaluate": "evaluation",
    "score": "evaluation",
    "load_file": "registry",
    "load_run": "checkpoint",
    "load_pretrained": "predict",
    "read_picture": "picture",
    "inspect_picture": "picture",
}
__all__ = list(_EXPORTS)  # pyright: ignore[reportUnsupportedDunderAll] - `__getattr__` finds them


def __getattr__(name: str):
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"mnistsum.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'mnistsum' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
