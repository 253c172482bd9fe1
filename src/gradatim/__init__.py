"""Easy-to-hard learning: measure how difficult each example is, and put that to use.

The folders of the package are attributes that are imported when first used, so that
``import gradatim`` stays light:

>>> import gradatim
>>> gradatim.core.errors.InputError.__name__
'InputError'
"""

import importlib
import importlib.util
import pkgutil
from types import ModuleType

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Import a folder of the package when it is first asked for."""
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(module.name for module in pkgutil.iter_modules(__path__))})
