"""Regularizers of the target: label smoothing, a virtual teacher, and agreement within classes.

They are used as the recipes of :mod:`gradatim.recipes.noisy_labels` are, and stand beside
:mod:`gradatim.recipes.self_distillation`, which smooths by what the model itself predicted.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.examples import Examples
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.recipes.input_mixing import InputMixing, mix_targets
from gradatim.recipes.noisy_labels import Batch, Logits, model_of_x
from gradatim.targets.labels import mix_labels
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State


class LabelSmoothing:
    r"""Cross-entropy with labels that leave a little to every class.

    .. math:: L_i = H\bigl( (1 - \epsilon) \, \mathrm{onehot}(y_i) + \epsilon / C,\; p_i \bigr)

    Args:
        smoothing: epsilon, in [0, 1]; 0 is plain cross-entropy.
        mixing: how inputs are mixed; None leaves them alone.
        label: name of the column of labels, integers.
        logits: how logits come from a model and a batch.

    Raises:
        InputError: smoothing outside [0, 1].

    Source: Szegedy et al. 2016, arXiv 1512.00567, section 7.
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        *,
        mixing: InputMixing | None = None,
        label: str = "label",
        logits: Logits = model_of_x,
    ) -> None:
        check_range("smoothing", smoothing, 0, 1)
        self.smoothing, self.mixing = smoothing, mixing
        self.label, self.logits = label, logits
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """Cross-entropy with smoothed labels."""
        mixed = None
        if self.mixing is not None:
            batch, mixed = self.mixing.apply(batch, state.generator)
        logits = self.logits(model, batch)
        even = torch.full_like(logits, 1 / logits.shape[1])
        target = mix_targets(mix_labels(batch[self.label], even, self.smoothing), mixed)
        return Loss.of(soft_target_cross_entropy(logits, target, reduction="none"))


class TeacherFree:
    r"""Distillation from a virtual teacher that is right with a fixed probability.

    .. math:: L_i = (1 - s) \, H(\mathrm{onehot}(y_i), p_i) + s \, \tau^2 \, H(u_i^\tau, p_i^\tau)

    where u gives a probability to the label and shares the rest among the other classes, and
    :math:`\tau` softens both sides. The squared temperature keeps gradients of one size (it is
    that of distillation; the paper tunes a factor instead).

    Args:
        share: s, in [0, 1].
        confidence: what the teacher gives the label, in (0, 1).
        temperature: tau, above 0.
        label: name of the column of labels, integers.
        logits: how logits come from a model and a batch.

    Raises:
        InputError: a number outside its range.

    Source: Yuan et al. 2020, arXiv 1909.11723, section 4.2.
    """

    def __init__(
        self,
        share: float = 0.5,
        *,
        confidence: float = 0.9,
        temperature: float = 4.0,
        label: str = "label",
        logits: Logits = model_of_x,
    ) -> None:
        check_range("share", share, 0, 1)
        check_range("confidence", confidence, 0, 1, open_low=True, open_high=True)
        check_range("temperature", temperature, 0, open_low=True)
        self.share, self.confidence, self.temperature = share, confidence, temperature
        self.label, self.logits = label, logits
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def teacher(self, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        """The softened probabilities of the virtual teacher, shape [B, C].

        Args:
            labels: given classes, integers, shape [B].
            num_classes: C, at least 2.
        """
        own = functional.one_hot(labels, num_classes).bool()
        rest = (1 - self.confidence) / (num_classes - 1)
        even = torch.full(own.shape, rest, device=labels.device)
        sure = even.masked_fill(own, self.confidence)
        return (sure.log() / self.temperature).softmax(dim=1)

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """Cross-entropy with the label and with the virtual teacher."""
        logits, labels = self.logits(model, batch), batch[self.label]
        plain = functional.cross_entropy(logits, labels, reduction="none")
        taught = soft_target_cross_entropy(
            logits,
            self.teacher(labels, logits.shape[1]),
            temperature=self.temperature,
            reduction="none",
        )
        return Loss.of((1 - self.share) * plain + self.share * self.temperature**2 * taught)


class ClassWise:
    r"""Predict alike for different examples of one class.

    .. math:: L_i = H(\mathrm{onehot}(y_i), p_i) + \lambda \, \tau^2 \, H(p_j^\tau, p_i^\tau)

    with j another draw from the class of i, whose prediction has no gradient. It takes a second
    pass through the model, without gradient.

    Args:
        examples: the examples that are trained on; j is drawn from them.
        labels: their classes, integers, shape [n].
        strength: lambda.
        temperature: tau, above 0.
        label: name of the column of labels, integers.
        logits: how logits come from a model and a batch.

    Raises:
        InputError: a number outside its range, no example, or labels of another length.

    Source: Yun et al. 2020, arXiv 2003.13964, equations 2 and 3.
    """

    def __init__(
        self,
        examples: Examples,
        labels: torch.Tensor,
        *,
        strength: float = 1.0,
        temperature: float = 4.0,
        label: str = "label",
        logits: Logits = model_of_x,
    ) -> None:
        check_range("strength", strength, 0)
        check_range("temperature", temperature, 0, open_low=True)
        if not check_same_length(examples=examples, labels=labels):
            raise InputError("examples: expected at least one, got none")
        self.examples, self.strength, self.temperature = examples, strength, temperature
        self.label, self.logits = label, logits
        self.order = labels.argsort()
        self.sizes = labels.bincount()
        self.starts = self.sizes.cumsum(0) - self.sizes
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def partners(self, labels: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """For each label the position of a random example of that class, shape [B]."""
        classes = labels.cpu()
        place = torch.rand(len(classes), generator=generator) * self.sizes[classes]
        found: torch.Tensor = self.order[self.starts[classes] + place.long()]
        return found

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """Cross-entropy, and agreement with a second example of each class."""
        logits, labels = self.logits(model, batch), batch[self.label]
        other = self.examples[self.partners(labels, state.generator).tolist()]
        with torch.no_grad():
            partner = (self.logits(model, other) / self.temperature).softmax(dim=1)
        plain = functional.cross_entropy(logits, labels, reduction="none")
        alike = soft_target_cross_entropy(
            logits, partner, temperature=self.temperature, reduction="none"
        )
        return Loss.of(plain + self.strength * self.temperature**2 * alike)
