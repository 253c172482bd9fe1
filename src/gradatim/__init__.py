"""Easy-to-hard learning: measure how difficult each example is, and put that to use.

The folders of the package, and the workflows such as ``gradatim.rerank``, are attributes that are
imported when first used, so that ``import gradatim`` stays light:

>>> import gradatim
>>> gradatim.core.errors.InputError.__name__
'InputError'
"""

import importlib
import importlib.util
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradatim.studies.data.tasks import load_task as load_task
    from gradatim.workflows.easy_to_hard import evaluate_easy_to_hard as evaluate_easy_to_hard
    from gradatim.workflows.mine import mine as mine
    from gradatim.workflows.profile import profile as profile
    from gradatim.workflows.rerank import rerank as rerank
    from gradatim.workflows.score import score as score
    from gradatim.workflows.select import select as select
    from gradatim.workflows.task_difficulty import task_difficulty as task_difficulty
    from gradatim.workflows.tuning_data import tuning_data as tuning_data
    from gradatim.workflows.unlearn import unlearn as unlearn
    from gradatim.workflows.unlearn_classifier import unlearn_classifier as unlearn_classifier

__version__ = "0.1.0"

WORKFLOWS = {
    "evaluate_easy_to_hard": "gradatim.workflows.easy_to_hard",
    "load_task": "gradatim.studies.data.tasks",
    "mine": "gradatim.workflows.mine",
    "profile": "gradatim.workflows.profile",
    "rerank": "gradatim.workflows.rerank",
    "score": "gradatim.workflows.score",
    "select": "gradatim.workflows.select",
    "task_difficulty": "gradatim.workflows.task_difficulty",
    "tuning_data": "gradatim.workflows.tuning_data",
    "unlearn": "gradatim.workflows.unlearn",
    "unlearn_classifier": "gradatim.workflows.unlearn_classifier",
}
"""The functions that are attributes of the package, and the modules they stand in."""


def __getattr__(name: str) -> Any:
    """Import a folder of the package, or a workflow, when it is first asked for."""
    if name in WORKFLOWS:
        return getattr(importlib.import_module(WORKFLOWS[name]), name)
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    folders = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted({*globals(), *folders, *WORKFLOWS})
