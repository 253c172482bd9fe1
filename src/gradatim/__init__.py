"""Easy-to-hard learning: measure how difficult each example is, and put that to use.

The floors of the package are found as attributes and imported when first used, so that
``import gradatim`` stays light:

>>> import gradatim
>>> gradatim.core.errors.InputError.__name__
'InputError'
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_FLOORS = ("core", "studies", "training")

__all__ = ["__version__", *_FLOORS]


def __getattr__(name: str) -> ModuleType:
    """Import a floor of the package when it is first asked for."""
    if name in _FLOORS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FLOORS})
