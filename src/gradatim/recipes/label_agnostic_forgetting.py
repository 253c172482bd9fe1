"""Label-agnostic forgetting: make a classifier forget examples without reading a label.

For a model that is made of an extractor and a head::

    unlearner = LabelAgnosticUnlearner(extractor, head).fit(x_forget, x_remain)
    logits = unlearner.model_(x)

and for a whole model whose last module has a name, such as ``fc``::

    extractor, head = split_classifier(model, "fc")
    unlearner = LabelAgnosticUnlearner(extractor, head).fit(x_forget, x_remain)
    model = join_classifier(unlearner.extractor_, unlearner.head_, "fc")

Inputs are tensors, a torch ``Dataset`` (whose labels are not read), a ``datasets.Dataset``, or
anything else with a column of inputs.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import nn
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.examples import Examples, TensorExamples, collate
from gradatim.core.seeds import derive_seed
from gradatim.difficulty.familiarity import vae_reconstruction_score
from gradatim.networks.representation_vae import RepresentationVAE
from gradatim.objectives.representation_forgetting import (
    alignment_contrast,
    extractor_unlearning_loss,
    vae_loss,
)
from gradatim.recipes.unlearning_pairs import (
    EvaluationMode,
    JoinedExamples,
    PairedBatches,
    unlearning_examples,
)
from gradatim.training.callbacks import Callback
from gradatim.training.fit import FitResult, fit
from gradatim.training.step import Loss, State

Batch = Mapping[str, Any]
_ROWS_AT_ONCE = 512


def split_classifier(model: nn.Module, head: str) -> tuple[nn.Module, nn.Module]:
    """Split a classifier into copies of its extractor and of its last module.

    Args:
        model: from inputs to logits.
        head: name of the module that makes logits of representations, as in ``named_modules``.

    Returns:
        The model with nothing in the head's place, and the head.

    Raises:
        InputError: there is no module of this name.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> extractor, head = split_classifier(model, "2")
    >>> x = torch.ones(1, 4)
    >>> torch.equal(head(extractor(x)), model(x))
    True
    """
    known = [name for name, _ in model.named_modules() if name]
    if head not in known:
        raise InputError(f"head: expected one of {', '.join(known)}, got {head!r}")
    extractor = copy.deepcopy(model)
    last = extractor.get_submodule(head)
    extractor.set_submodule(head, nn.Identity())
    return extractor, last


def join_classifier(extractor: nn.Module, head: nn.Module, name: str) -> nn.Module:
    """Put a head back into the place that :func:`split_classifier` took it from.

    Args:
        extractor: the first that it returned, or a trained copy.
        head: the second, or a trained copy.
        name: the head's name.

    Returns:
        A copy: a whole model of the class that was split.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> whole = join_classifier(*split_classifier(model, "2"), "2")
    >>> x = torch.ones(1, 4)
    >>> torch.equal(whole(x), model(x))
    True
    """
    whole = copy.deepcopy(extractor)
    whole.set_submodule(name, copy.deepcopy(head))
    return whole


class LabelAgnosticUnlearner:
    r"""Forget examples by making their representations unfamiliar, without reading a label.

    Two small autoencoders are trained on the original extractor's representations, h on all data
    and :math:`h_f` on what is to be forgotten. Then, on every batch of as many remaining as
    forgotten examples, two losses take a step each, with an optimizer of their own,

    .. math:: N(e, h(e)) - N(u, h_f(u)), \qquad d_i - \log \sum_j \exp(d'_j / \tau)

    (:func:`~gradatim.objectives.representation_forgetting.extractor_unlearning_loss` and
    :func:`~gradatim.objectives.representation_forgetting.alignment_contrast`). The head is left
    alone. Training is in evaluation mode: batch normalization keeps its statistics.

    The default learning rates are the paper's, for networks of 28 x 28 images; small networks and
    few updates need larger ones. Too small, and nothing is forgotten; too large, and accuracy on
    what remains falls.

    Args:
        extractor: from inputs to representations [B, D]; further dimensions are flattened for
            the losses, not for the head.
        head: from representations to logits [B, C].
        tau: temperature of the forgotten examples' distances.
        lr_ue: learning rate of the first loss (extractor unlearning), of Adam.
        lr_ra: learning rate of the second loss (representation alignment), of Adam.
        epochs: passes over the smaller of the two sets.
        batch_size: examples of one kind in a batch.
        latent: latent dimensions of the autoencoders.
        hidden: widths of their encoder.
        vae_epochs: passes of their training.
        vae_lr: its learning rate, of Adam.
        vae_data: whether h learns from "all" examples, as in the paper, where few are forgotten,
            or from the "remaining" alone.
        standardize: bring each dimension of the representations to mean 0 and deviation 1 for
            the autoencoders; else they see them as they are.
        out_activation: of the autoencoders; "sigmoid" with ``standardize=False`` is the authors'
            code, for representations between 0 and 1.
        x: name of the column of inputs.
        in_place: train the modules themselves; else copies, and they stay as they are.
        checkpoint: folder for the checkpoints of a run that can be taken up again; None for none.
        seed: what batches, the autoencoders and their noise depend on.

    Attributes:
        model_: extractor and head that have forgotten, in evaluation mode.
        extractor_: its first part.
        head_: its second part.
        result_: what came of :func:`~gradatim.training.fit.fit`, with both losses' history.

    Raises:
        InputError: a number outside its range.

    Source: Shen et al. 2024, arXiv 2404.00506, section 3, with the losses, layers and order of
    updates of the authors' code. There the autoencoders draw noise in unlearning too; here they
    do not.

    >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> extractor, head = nn.Linear(4, 4), nn.Linear(4, 2)
    >>> unlearner = LabelAgnosticUnlearner(extractor, head, epochs=3, lr_ue=0.01, lr_ra=0.01)
    >>> before = extractor.weight.clone()
    >>> unlearner = unlearner.fit(x[:16], x[16:])
    >>> unlearner.model_(x).shape, torch.equal(extractor.weight, before)
    (torch.Size([64, 2]), True)
    """

    def __init__(
        self,
        extractor: nn.Module,
        head: nn.Module,
        *,
        tau: float = 20.0,
        lr_ue: float = 5e-5,
        lr_ra: float = 1e-4,
        epochs: int = 20,
        batch_size: int = 32,
        latent: int = 8,
        hidden: tuple[int, ...] = (128, 32),
        vae_epochs: int = 10,
        vae_lr: float = 1e-3,
        vae_data: Literal["all", "remaining"] = "all",
        standardize: bool = True,
        out_activation: str | None = None,
        x: str = "x",
        in_place: bool = False,
        checkpoint: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        for name, value in {"tau": tau, "lr_ue": lr_ue, "lr_ra": lr_ra, "vae_lr": vae_lr}.items():
            check_range(name, value, 0, open_low=True)
        check_range("epochs", epochs, 1)
        check_range("batch_size", batch_size, 1)
        check_range("vae_epochs", vae_epochs, 1)
        check_choice("vae_data", vae_data, ("all", "remaining"))
        self.extractor, self.head = extractor, head
        self.tau, self.lr_ue, self.lr_ra, self.epochs = tau, lr_ue, lr_ra, epochs
        self.batch_size, self.latent, self.hidden = batch_size, latent, hidden
        self.vae_epochs, self.vae_lr, self.vae_data = vae_epochs, vae_lr, vae_data
        self.standardize, self.out_activation = standardize, out_activation
        self.x, self.in_place, self.seed = x, in_place, seed
        self.checkpoint = None if checkpoint is None else Path(checkpoint)

    def fit(self, x_forget: Any, x_remain: Any) -> Self:
        """Forget.

        Args:
            x_forget: inputs to forget.
            x_remain: inputs to remember.

        Returns:
            Itself, with the attributes that end in an underscore.

        Raises:
            InputError: no inputs, or no such column.
        """
        forget = self._inputs("x_forget", x_forget)
        remain = self._inputs("x_remain", x_remain)
        self.num_forgotten = len(forget)
        parts = nn.Sequential(self.extractor, self.head)
        self.model_ = (parts if self.in_place else copy.deepcopy(parts)).eval()
        self.extractor_, self.head_ = self.model_[0], self.model_[1]
        self.teacher_ = copy.deepcopy(self.extractor_).requires_grad_(False)
        self._model_representations(forget, remain)
        optimizers = {
            "unlearning": torch.optim.Adam(self.extractor_.parameters(), self.lr_ue),
            "alignment": torch.optim.Adam(self.extractor_.parameters(), self.lr_ra),
        }
        batches = PairedBatches(
            len(forget), len(remain), self.batch_size, repeats=2, seed=self.seed
        )
        self.result_: FitResult = fit(
            self.extractor_, JoinedExamples(forget, remain, (self.x,)), self.step,
            optimizer=optimizers, batches=batches, epochs=self.epochs,
            callbacks=(EvaluationMode(), _Follow(self)), **self._options("unlearning"),
        )  # fmt: skip
        return self

    def step(self, model: nn.Module, batch: Batch, state: State) -> Loss:
        """Extractor unlearning in every first update on a batch, alignment in every second."""
        representations = _flat(model(batch[self.x]))
        forgotten = state.index < self.num_forgotten
        if state.step % 2 == 0:
            kept, lost = (self._normal(representations[w]) for w in (~forgotten, forgotten))
            values = extractor_unlearning_loss(
                kept, self.remaining_vae_(kept)[0], lost, self.forgotten_vae_(lost)[0],
                reduction="none",
            )  # fmt: skip
            return Loss.of(values, optimizers=("unlearning",), extractor_unlearning=values)
        before = _flat(self.teacher_(batch[self.x]))
        values = alignment_contrast(
            representations[~forgotten], before[~forgotten],
            representations[forgotten], before[forgotten],
            tau=self.tau, reduction="none",
        )  # fmt: skip
        return Loss.of(values, optimizers=("alignment",), representation_alignment=values)

    def repair(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int = 1,
        lr: float = 1e-4,
        parts: Literal["head", "all"] = "head",
    ) -> Self:
        """Train on a few labelled examples of what remains, by cross-entropy.

        Args:
            x: inputs; or, without ``y``, examples with a column of labels, ``label``.
            y: labels, integers, shape [n].
            epochs: passes over them.
            lr: learning rate of Adam.
            parts: train the "head" alone, as in the authors' code, or "all".

        Raises:
            InputError: called before :meth:`fit`, no examples, or no labels.
        """
        self._check_fitted()
        check_range("epochs", epochs, 1)
        check_range("lr", lr, 0, open_low=True)
        check_choice("parts", parts, ("head", "all"))
        examples = unlearning_examples("x", x if y is None else (x, y), x=self.x)
        trained = self.head_ if parts == "head" else self.model_
        fit(
            self.model_, examples, self._repair_step,
            optimizer=torch.optim.Adam(trained.parameters(), lr),
            epochs=epochs, batch_size=self.batch_size, callbacks=(EvaluationMode(),),
            **self._options("repair"),
        )  # fmt: skip
        return self

    def familiarity_difficulty(self, inputs: Any, *, original: bool = False) -> torch.Tensor:
        """How unfamiliar inputs look after forgetting: h's squared error, shape [n].

        Args:
            inputs: as for :meth:`fit`.
            original: as the original extractor shows them, instead of the one that has forgotten.

        Raises:
            InputError: called before :meth:`fit`, or no inputs.
        """
        self._check_fitted()
        extractor = self.teacher_ if original else self.extractor_
        found = self._represent(extractor, self._inputs("inputs", inputs))
        device = next(self.remaining_vae_.parameters()).device
        normal = self._normal(found.to(device))
        return vae_reconstruction_score(self.remaining_vae_, normal)

    def _repair_step(self, model: nn.Module, batch: Batch, state: State) -> Loss:
        logits = model(batch[self.x])
        return Loss.of(functional.cross_entropy(logits, batch["label"], reduction="none"))

    def _check_fitted(self) -> None:
        if not hasattr(self, "result_"):
            raise InputError("LabelAgnosticUnlearner: expected a call of fit before this one")

    def _inputs(self, name: str, source: Any) -> Examples:
        return unlearning_examples(name, source, x=self.x, labelled=False)

    def _model_representations(self, forget: Examples, remain: Examples) -> None:
        """Train both autoencoders on the original model's representations."""
        lost, kept = (self._represent(self.teacher_, part) for part in (forget, remain))
        both = torch.cat([lost, kept])
        self.center_, self.scale_ = torch.zeros(()), torch.ones(())
        if self.standardize:
            deviation = both.std(dim=0, correction=0)
            self.center_ = both.mean(dim=0)
            self.scale_ = deviation.where(deviation > 1e-6 * deviation.max(), 1.0)
        data = both if self.vae_data == "all" else kept
        self.remaining_vae_ = self._autoencoder("remaining", self._normal(data))
        self.forgotten_vae_ = self._autoencoder("forgotten", self._normal(lost))

    def _autoencoder(self, name: str, representations: torch.Tensor) -> RepresentationVAE:
        """An autoencoder of representations, trained and frozen."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "autoencoder", name))
            vae = RepresentationVAE(
                representations.shape[1], self.latent, self.hidden, self.out_activation
            )
        fit(
            vae, TensorExamples(e=representations), _vae_step,
            optimizer=torch.optim.Adam(vae.parameters(), self.vae_lr),
            epochs=self.vae_epochs, batch_size=self.batch_size, **self._options(name),
        )  # fmt: skip
        return vae.eval().requires_grad_(False)

    @torch.no_grad()
    def _represent(self, extractor: nn.Module, examples: Examples) -> torch.Tensor:
        """Representations of all examples, flattened, on the processor, shape [n, D]."""
        device = next((one.device for one in extractor.parameters()), torch.device("cpu"))
        parts = []
        for start in range(0, len(examples), _ROWS_AT_ONCE):
            rows = list(range(start, min(start + _ROWS_AT_ONCE, len(examples))))
            inputs = collate(examples[rows])[self.x]
            parts.append(_flat(extractor(inputs.to(device))).float().cpu())
        return torch.cat(parts)

    def _normal(self, representations: torch.Tensor) -> torch.Tensor:
        """Representations as the autoencoders see them."""
        center, scale = (v.to(representations.device) for v in (self.center_, self.scale_))
        return (representations - center) / scale

    def _options(self, phase: str) -> dict[str, Any]:
        """Options of every call of ``fit``."""
        folder = None if self.checkpoint is None else self.checkpoint / phase
        return {"checkpoint": folder, "seed": derive_seed(self.seed, phase), "progress_bar": False}


class _Follow(Callback):
    """Brings the frozen networks to the device that is trained on."""

    def __init__(self, unlearner: LabelAgnosticUnlearner) -> None:
        self.unlearner = unlearner

    def fit_start(self, state: State) -> None:
        frozen = self.unlearner
        for module in (frozen.teacher_, frozen.remaining_vae_, frozen.forgotten_vae_):
            module.to(state.device)
        frozen.center_, frozen.scale_ = (
            value.to(state.device) for value in (frozen.center_, frozen.scale_)
        )


def _vae_step(model: nn.Module, batch: Batch, state: State) -> Loss:
    rebuilt, mean, log_variance = model(batch["e"])
    return Loss.of(vae_loss(batch["e"], rebuilt, mean, log_variance, reduction="none"))


def _flat(representations: torch.Tensor) -> torch.Tensor:
    return representations.flatten(1)
