"""mnistsum: networks that read a digit and add a number to it, and their comparison.

Modules load on first use (SPEC 1), so that a program can parse its command line before
JAX is imported; `__init__.pyi` lists the names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
