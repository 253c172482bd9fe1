"""Make a classifier forget examples, with their labels or without, and measure what came of it."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError
from gradatim.core.examples import Examples, collate
from gradatim.core.files import atomic_path
from gradatim.core.io.tables import write_table
from gradatim.metrics.membership_attack import membership_attack
from gradatim.metrics.unlearning_gap import unlearning_gap
from gradatim.recipes.classifier_unlearning import NegativeGradient, Scrub
from gradatim.recipes.label_agnostic_forgetting import (
    LabelAgnosticUnlearner,
    join_classifier,
    split_classifier,
)
from gradatim.recipes.unlearning_pairs import unlearning_examples
from gradatim.workflows.pages import Rows, html_notes, html_page, html_table
from gradatim.workflows.saving import Reportable, check_files
from gradatim.workflows.unlearn_report import number

if TYPE_CHECKING:
    import pandas as pd

CLASSIFIER_METHODS = ("laf", "negative-gradient", "scrub")
WEIGHTS_FILE, FIGURES_FILE, PAGE_FILE = "model.safetensors", "figures.csv", "report.html"
_ROWS_AT_ONCE, _ATTACKED = 512, 2_000
_FORGOTTEN, _REMAINING, _TEST = "accuracy on what is forgotten", "accuracy on what remains", "test"
_ATTACK = "success of a membership attack"


@dataclass(frozen=True)
class ClassifierUnlearning(Reportable):
    """What unlearning of a classifier gives.

    Attributes:
        model: a copy that has forgotten, of the class of the model that was given.
        method: how.
        figures: a row a figure, in percent: before, after, and of the retrained model.
        gap: mean distance of the figures from the retrained model's, in points, before and after;
            empty without one.
        notes: what a reader should know.
        seconds: how long all took.
    """

    model: nn.Module
    method: str
    figures: "pd.DataFrame"
    gap: Mapping[str, float]
    notes: tuple[str, ...]
    seconds: float

    def sentence(self) -> str:
        """What was done, in one sentence."""
        if self.gap:
            return (
                f"{self.method}: the figures are {self.gap['after']:.1f} points from those of the "
                f"retrained model, where they were {self.gap['before']:.1f}"
            )
        first = self.figures.iloc[0]
        told, before, after = first["figure"], first["before"], first["after"]
        return f"{self.method}: {told} went from {before:.1f}% to {after:.1f}%"

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the weights (safetensors), the figures and the page.

        Raises:
            InputError: a file stands there and may not be replaced.
            StorageError: it cannot be written.
        """
        from safetensors.torch import save_model

        names = (WEIGHTS_FILE, FIGURES_FILE, PAGE_FILE)
        target = check_files(folder, names, overwrite=overwrite)
        with atomic_path(target / WEIGHTS_FILE, overwrite=overwrite) as path:
            save_model(self.model, str(path))
        write_table(self.figures, target / FIGURES_FILE, overwrite=overwrite)
        self.report(target / PAGE_FILE, overwrite=overwrite)
        return target

    def _page(self) -> str:
        more = f"<p class='quiet'>All took {self.seconds:.1f} seconds.</p>"
        return html_page("Unlearning", f"<h1>Unlearning</h1>{self._overview()}{more}")

    def _inputs(self) -> tuple[str, ...]:
        return ()

    def _overview(self) -> str:
        table = html_table(*figure_rows(self.figures))
        return f"<p>{escape(self.sentence())}.</p>{table}{html_notes(self.notes)}"


def figure_rows(figures: "pd.DataFrame") -> Rows:
    """Heads, rows and the numeric columns of the figures, ready to be set."""
    sides = [one for one in ("before", "after", "retrained") if figures[one].notna().any()]
    rows: list[tuple[str, ...]] = [
        (str(row["figure"]), *(number(float(row[one])) for one in sides))
        for row in figures.to_dict("records")
    ]
    return ("Figure, %", *(one.capitalize() for one in sides)), rows, set(range(1, 1 + len(sides)))


def unlearn_classifier(
    model: nn.Module,
    forget: Any,
    remain: Any,
    *,
    method: str = "laf",
    head: str | None = None,
    test: Any = None,
    retrained: nn.Module | None = None,
    repair: Any = None,
    x: str = "x",
    label: str = "label",
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> ClassifierUnlearning:
    """Make a PyTorch classifier forget examples, and measure it before and after.

    Args:
        model: from inputs to logits [B, C]; it stays as it is.
        forget: examples to forget: a tensor of inputs, a pair (inputs, labels), a torch
            ``Dataset``, or a table with columns ``x`` and ``label``.
        remain: examples to remember, in the same forms.
        method: "laf" (label-agnostic forgetting, which reads no label), "negative-gradient" or
            "scrub", which need the labels of both.
        head: name of the last module, for "laf"; None takes the last linear layer.
        test: examples that were never trained on; for the accuracy on them, and to see by their
            outputs whether an attacker can tell what was trained on.
        retrained: a model trained on what remains alone, to compare with.
        repair: for "laf": a few examples of what remains with labels, to train the head on.
        x: name of the column of inputs.
        label: name of the column of labels.
        checkpoint: folder for the checkpoints of a run that can be taken up again.
        seed: what batches and draws depend on.
        options: those of the method's class, such as ``epochs``, ``batch_size`` and learning
            rates: :class:`~gradatim.recipes.label_agnostic_forgetting.LabelAgnosticUnlearner`,
            :class:`~gradatim.recipes.classifier_unlearning.NegativeGradient`,
            :class:`~gradatim.recipes.classifier_unlearning.Scrub`.

    Returns:
        The model that has forgotten, and the figures; accuracies where there are labels.

    Raises:
        InputError: an unknown method or module, no examples, missing labels, or nothing that could
            be measured.

    Source: Shen et al. 2024, arXiv 2404.00506.

    >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> result = unlearn_classifier(model, (x[:16], y[:16]), (x[16:], y[16:]), epochs=2)
    >>> result.figures["figure"].tolist()
    ['accuracy on what is forgotten', 'accuracy on what remains']
    """
    import pandas as pd

    check_choice("method", method, CLASSIFIER_METHODS)
    if repair is not None and method != "laf":
        raise InputError(f"repair: expected method 'laf', got {method!r}")
    started, names = time.monotonic(), {"x": x, "label": label}
    given = {_FORGOTTEN: ("forget", forget), _REMAINING: ("remain", remain)}
    if test is not None:
        given[_TEST] = ("test", test)
    sets = {told: _examples(name, source, x, label) for told, (name, source) in given.items()}
    if test is None and not any(labelled for _, labelled in sets.values()):
        raise InputError(f"test: expected examples to measure on, or labels in {label!r}, got none")
    before = _measured(model, sets, names, seed)
    options = {**options, "x": x, "checkpoint": checkpoint, "seed": seed}
    if method == "laf":
        changed = _without_labels(model, forget, remain, head, repair, options)
    else:
        kind: Any = NegativeGradient if method == "negative-gradient" else Scrub
        changed = kind(model, label=label, **options).fit(forget, remain).model_
    after = _measured(changed, sets, names, seed)
    target = {} if retrained is None else _measured(retrained, sets, names, seed)
    figures = pd.DataFrame(
        [{"figure": one, "before": before[one], "after": after[one], "retrained": target.get(one)}
         for one in before]
    ).astype({"before": float, "after": float, "retrained": float})  # fmt: skip
    gap = {
        when: unlearning_gap(found, target)
        for when, found in (("before", before), ("after", after))
        if target
    }
    notes = () if target else ("without a retrained model it is not known how much to forget",)
    return ClassifierUnlearning(changed, method, figures, gap, notes, time.monotonic() - started)


def _without_labels(
    model: nn.Module, forget: Any, remain: Any, head: str | None, repair: Any, options: Any
) -> nn.Module:
    """Label-agnostic forgetting of a whole model."""
    linear = [name for name, one in model.named_modules() if name and isinstance(one, nn.Linear)]
    if head is None and not linear:
        raise InputError("head: the model has no linear layer; name its last module")
    name = linear[-1] if head is None else head
    extractor, last = split_classifier(model, name)
    unlearner = LabelAgnosticUnlearner(extractor, last, **options).fit(forget, remain)
    if repair is not None:
        unlearner.repair(repair)
    return join_classifier(unlearner.extractor_, unlearner.head_, name).eval()


def _examples(name: str, source: Any, x: str, label: str) -> tuple[Examples, bool]:
    """Examples, and whether they have labels."""
    try:
        return unlearning_examples(name, source, x=x, label=label), True
    except InputError:
        return unlearning_examples(name, source, x=x, label=label, labelled=False), False


def _measured(
    model: nn.Module,
    sets: Mapping[str, tuple[Examples, bool]],
    names: Mapping[str, str],
    seed: int,
) -> dict[str, float]:
    """Accuracies, and the success of a membership attack, in percent."""
    found, probabilities = {}, {}
    for told, (examples, labelled) in sets.items():
        probability, label = _outputs(model, examples, names, labelled)
        probabilities[told] = probability
        if label is not None:
            right = (probability.argmax(dim=1) == label).double().mean()
            found["accuracy on test examples" if told == _TEST else told] = 100 * float(right)
    if _TEST in probabilities and len(probabilities[_TEST]) > 1:
        test = probabilities[_TEST]
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
        half = order[: len(test) // 2], order[len(test) // 2 :]
        success = membership_attack(
            probabilities[_REMAINING][:_ATTACKED], test[half[0]][:_ATTACKED],
            probabilities[_FORGOTTEN], test[half[1]], seed=seed,
        )  # fmt: skip
        found[_ATTACK] = 100 * success
    return found


@torch.no_grad()
def _outputs(
    model: nn.Module, examples: Examples, names: Mapping[str, str], labelled: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Class probabilities and labels of all examples, in evaluation mode."""
    training = [one for one in model.modules() if one.training]
    weight = next(model.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    model.eval()
    found, labels = [], []
    try:
        for start in range(0, len(examples), _ROWS_AT_ONCE):
            rows = list(range(start, min(start + _ROWS_AT_ONCE, len(examples))))
            batch = collate(examples[rows])
            found.append(model(batch[names["x"]].to(device)).softmax(dim=1).cpu())
            if labelled:
                labels.append(batch[names["label"]].cpu())
    finally:
        for one in training:
            one.training = True
    return torch.cat(found), torch.cat(labels) if labelled else None
