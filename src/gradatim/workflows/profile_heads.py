"""Which kind of model a profile trains: a probe on features, or a head of a language model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.workflows.profile_inputs import ProfileTable

if TYPE_CHECKING:
    from gradatim.language.loading import LanguageModel

HEADS = ("probe", "lora", "in-context")
NOISE_RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SHOTS = 10
ENCODER = "minilm"
_FEWER_RATES = (0.0, 0.2, 0.4, 0.6)
_MOST_TRAINED = {"probe": 400, "lora": 160, "in-context": 400}
_MOST_TESTED = {"probe": 1000, "lora": 100, "in-context": 100}

GivenModel: TypeAlias = "str | Path | LanguageModel | None"


@dataclass(frozen=True)
class HeadSettings:
    """What is trained, and how much of it.

    Attributes:
        name: "probe", "lora" or "in-context".
        model: the language model, or what it is to be loaded from; None for the probe.
        shots: exemplars that a prompt shows, for "in-context".
        most_trained: rows that a model of the matrix is trained on at most; for "lora" every model.
        most_tested: rows of a stratum that are tested in one draw at most.
        rates: shares of wrong labels that are tried.
    """

    name: str = "probe"
    model: GivenModel = None
    shots: int = SHOTS
    most_trained: int = _MOST_TRAINED["probe"]
    most_tested: int = _MOST_TESTED["probe"]
    rates: tuple[float, ...] = NOISE_RATES

    @property
    def is_language(self) -> bool:
        """Whether a language model reads the text itself."""
        return self.name != "probe"

    @property
    def model_name(self) -> str:
        """What the language model is called."""
        return str(getattr(self.model, "name", self.model))


def choose_head(
    head: str,
    model: GivenModel,
    shots: int,
    most_trained: int | None,
    most_tested: int | None,
    given: Mapping[str, Any],
) -> HeadSettings:
    """Check what was asked for and fill in what was not.

    Args:
        head: its name.
        model: the language model, or where it is.
        shots: exemplars that a prompt shows.
        most_trained: see :class:`HeadSettings`; None takes what is usual for the head.
        most_tested: likewise.
        given: name -> value of what only a probe can use: encoder, estimator, features, pred_probs.

    Raises:
        InputError: an unknown head, a number out of range, or arguments that do not go together.
    """
    check_choice("head", head, HEADS)
    check_range("shots", shots, 0)
    for name, value in (("most_trained", most_trained), ("most_tested", most_tested)):
        if value is not None:
            check_range(name, value, 2)
    if head == "probe" and model is not None:
        raise InputError(
            "model: expected none with head='probe', which reads no text by a language model; "
            "head='lora' or 'in-context' does"
        )
    if head != "probe":
        if model is None:
            raise InputError(
                f"model: expected a language model with head={head!r} (a directory, a .gguf file, "
                "or a known name such as 'smollm2'), got none"
            )
        for name, value in given.items():
            if value is not None and not (name == "encoder" and value == ENCODER):
                raise InputError(
                    f"{name}: expected none with head={head!r}, whose language model reads the "
                    "text itself"
                )
    if head != "in-context" and shots != SHOTS:
        raise InputError(f"shots: expected none with head={head!r}, which is shown no exemplars")
    return HeadSettings(
        head,
        model,
        shots,
        most_trained or _MOST_TRAINED[head],
        most_tested or _MOST_TESTED[head],
        NOISE_RATES if head == "probe" else _FEWER_RATES,
    )


def check_text(table: ProfileTable, settings: HeadSettings) -> None:
    """Check that there is something for a language model to read.

    Raises:
        InputError: no text column.
    """
    if settings.is_language and table.texts() is None:
        raise InputError(
            f"head: {settings.name!r} needs a text column among the inputs, and there is none"
        )


def load_model(settings: HeadSettings) -> "LanguageModel":
    """The language model, loaded if it is not yet.

    Raises:
        InputError: nothing of that name, or no causal language model.
        MissingPackageError: transformers, or the package of the model, is not installed.
    """
    from gradatim.language.loading import LanguageModel, load_language_model

    assert settings.model is not None
    if isinstance(settings.model, LanguageModel):
        return settings.model
    return load_language_model(settings.model)
