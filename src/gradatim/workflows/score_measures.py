"""The measures of difficulty: what each needs, what it costs, what it says, who computes it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError, nearest_names
from gradatim.difficulty.text_length import solution_steps, word_count
from gradatim.workflows.score_texts import TextRow

Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A measure of difficulty, higher = harder.

    Attributes:
        name: of the measure and of its column.
        group: who computes it: "level", "text", "model", "classes", "dynamics", "attempts",
            "responses" or "games"; those of one group share their cost.
        meaning: where it is high.
        knows: whether the label or answer enters.
        spread: whether there is a column ``name_std`` with its uncertainty.
        auto: whether "auto" takes it where it can be had.
    """

    name: str
    group: str
    meaning: str
    knows: bool = False
    spread: bool = False
    auto: bool = True


_ALL = (
    Measure("level", "level", "people said so"),
    Measure("words", "text", "the prompt has more words"),
    Measure("length", "text", "prompt and completion have more characters", knows=True),
    Measure("steps", "text", "the completion has more lines", knows=True),
    Measure("loss", "model", "the completion's tokens are unlikely (mean, nats)", knows=True),
    Measure("perplexity", "model", "the exponential of the loss", knows=True, auto=False),
    Measure("confidence", "model", "the completion's tokens get little probability", knows=True),
    Measure("margin", "model", "another token is ahead of the completion's", knows=True),
    Measure("entropy", "model", "the model is unsure of the completion's tokens (nats)", True),
    Measure("tokens", "model", "the completion has more tokens", knows=True, auto=False),
    Measure("preference", "model", "the rejected completion is likelier a token", knows=True),
    Measure("fail_rate", "attempts", "more attempts fail", knows=True, spread=True),
    Measure("irt_1pl", "responses", "item response theory: difficulty alone", True, True, False),
    Measure("irt_2pl", "responses", "item response theory: and discrimination", True, True),
    Measure("irt_3pl", "responses", "item response theory: and guessing", True, True, False),
    Measure("irt_4pl", "responses", "item response theory: and carelessness", True, True, False),
    Measure("glicko", "games", "the item wins against the able (Glicko-2)", True, True),
    Measure("elo", "games", "the item wins against the able (Elo)", True),
    Measure("oof_confidence", "classes", "little is left for the label out-of-fold", knows=True),
    Measure("oof_margin", "classes", "another class is ahead of the label out-of-fold", knows=True),
    Measure("oof_entropy", "classes", "out-of-fold probabilities are spread over classes"),
    Measure("disagreement", "classes", "models of random halves predict differently"),
    Measure("ensemble", "classes", "models of several kinds believe less in the label", True, True),
    Measure("mdl", "classes", "the label is predicted late, by models of more rows", knows=True),
    Measure("el2n", "dynamics", "the error vector is long early in training", True, True),
    Measure("forgetting", "dynamics", "it is learned and forgotten more often", True, True),
    Measure("map_confidence", "dynamics", "the label is believed less in training", True, True),
    Measure("variability", "dynamics", "the belief in the label varies more", True, True),
    Measure("correctness", "dynamics", "it is predicted right in fewer epochs", True, True),
    Measure("aum", "dynamics", "another class's logit is further ahead (area)", True, True),
)
MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in _ALL}

ALIASES: Mapping[str, tuple[str, ...]] = {
    "nll": ("loss",),
    "ppl": ("perplexity",),
    "irt": ("irt_2pl",),
    **{f"{number}pl": (f"irt_{number}pl",) for number in range(1, 5)},
    "glicko2": ("glicko",),
    "glicko_2": ("glicko",),
    "cartography": ("map_confidence", "variability", "correctness"),
    "dynamics": tuple(one.name for one in _ALL if one.group == "dynamics"),
    "oof": ("oof_confidence", "oof_margin", "oof_entropy"),
}
_WITHOUT_MODEL = {"confidence": "oof_confidence", "margin": "oof_margin", "entropy": "oof_entropy"}

TEXT_MEASURES: Mapping[str, Callable[[Sequence[TextRow]], Values]] = {
    "words": lambda rows: word_count([row.prompt for row in rows]).astype(np.float64),
    "length": lambda rows: np.array([row.size for row in rows], dtype=np.float64),
    "steps": lambda rows: solution_steps([row.completion for row in rows]).astype(np.float64),
}
"""The measures that are counted in the text itself."""


@dataclass(frozen=True)
class Means:
    """What there is to compute measures from; each a reason why not, or None if it is there.

    Attributes:
        level: a column of levels.
        text: texts.
        model: a language model, and texts.
        preference: pairs of completions.
        attempts: attempts, or what it takes to sample them.
        responses: responses of subjects to items.
        games: games, or responses.
        classes: labels that models can be trained on.
    """

    level: str | None
    text: str | None
    model: str | None
    preference: str | None
    attempts: str | None
    responses: str | None
    games: str | None
    classes: str | None

    def obstacle(self, measure: Measure) -> str | None:
        """Why a measure cannot be had; None if it can."""
        if measure.name == "preference":
            return self.model or self.preference
        group = "classes" if measure.group == "dynamics" else measure.group
        told: str | None = getattr(self, group)
        return told


def chosen_measures(
    measure: str | Sequence[str], means: Means, *, left_out: Collection[str] = ()
) -> list[str]:
    """The measures that were asked for; for "auto" all that can be had at a moderate cost.

    "confidence", "margin" and "entropy" are those of the language model if there is one, else
    out-of-fold ones.

    Args:
        measure: "auto", a name, several, or several in one text with commas.
        means: what there is to compute them from.
        left_out: groups and measures that "auto" does not take here.

    Raises:
        InputError: an unknown measure, or one that cannot be had.
    """
    asked = measure.split(",") if isinstance(measure, str) else list(map(str, measure))
    asked = [name.strip() for name in asked if name.strip()]
    if not asked:
        raise InputError(f"measure: expected auto or some of {', '.join(MEASURES)}, got none")
    found: list[str] = []
    for given in asked:
        name = given.lower().replace("-", "_")
        if name == "auto":
            found += [
                one.name
                for one in _ALL
                if one.auto
                and not {one.group, one.name} & set(left_out)
                and means.obstacle(one) is None
            ]
            continue
        if name in _WITHOUT_MODEL and means.model is not None and means.classes is None:
            name = _WITHOUT_MODEL[name]
        for one in ALIASES.get(name, (name,)):
            if one not in MEASURES:
                near = nearest_names(one, [*MEASURES, *ALIASES])
                raise InputError(
                    f"measure: expected auto or some of {', '.join(MEASURES)}, got {given!r}.{near}"
                )
            if obstacle := means.obstacle(MEASURES[one]):
                raise InputError(f"measure: {given!r} {obstacle}")
            found.append(one)
    if not found:
        raise InputError(
            "measure: nothing can be measured: there is no text, level, label, attempt, response "
            "or game; name columns with input, label and level, or files with attempts, responses "
            "and games"
        )
    return list(dict.fromkeys(found))


def of_groups(names: Sequence[str], *groups: str) -> list[str]:
    """Those of some measures that belong to some groups.

    >>> of_groups(["words", "loss", "el2n"], "model", "dynamics")
    ['loss', 'el2n']
    """
    return [name for name in names if MEASURES[name].group in groups]


def spread_name(name: str) -> str:
    """The column with the uncertainty of a measure."""
    return f"{name}_std"
