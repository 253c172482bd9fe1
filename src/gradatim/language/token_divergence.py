"""How far a model has moved from another, token by token, in chunks of logits."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32
from gradatim.language.causal_lm import CausalLM, DecodingState, without_wrapper
from gradatim.language.transformers_lm import TransformersLM


def kl_divergence(logits: torch.Tensor, reference_logits: torch.Tensor) -> torch.Tensor:
    r"""Divergence of predictions from a reference, :math:`\sum_v q_v (\log q_v - \log p_v)`.

    Args:
        logits: of p, shape [..., V].
        reference_logits: of q, the same shape; no gradient flows into them.

    Returns:
        Shape [...], in float32 for half precision.

    Raises:
        InputError: the shapes differ.

    >>> kl_divergence(torch.zeros(2), torch.tensor([0.7, 0.3]).log())
    tensor(0.0823)
    """
    check_same_shape("reference_logits", reference_logits, "logits", logits)
    log_p = at_least_float32(logits).log_softmax(dim=-1)
    log_q = at_least_float32(reference_logits.detach()).log_softmax(dim=-1)
    return nn.functional.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=-1)


def token_kl_divergences(
    model: CausalLM,
    reference: CausalLM,
    ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    only: torch.Tensor | None = None,
    chunk_tokens: int = 1024,
) -> torch.Tensor:
    r"""Divergence of the prediction of each token from that of a reference model.

    .. math:: d_t = \mathrm{KL}(q(\cdot \mid x_{<t}) \Vert p(\cdot \mid x_{<t}))

    Both output layers are applied to at most ``chunk_tokens`` tokens at once, in the forward pass
    and again in the backward pass.

    Args:
        model: p, the language model.
        reference: q, another with the same vocabulary; no gradient flows into it. For the model
            as it was before see :func:`frozen_copy` and :class:`WithoutAdapters`.
        ids: tokens, padded on either side, shape [B, T].
        mask: True where there is a token, shape [B, T].
        only: compute where this is True and give 0 elsewhere, shape [B, T]; None is everywhere.
        chunk_tokens: tokens whose logits are held at once.

    Returns:
        Shape [B, T], aligned with ``ids``, in float32 (float64 for such models); 0 for padding
        and for the first token of a row, which nothing in the row predicts.

    Raises:
        InputError: shapes that differ, unequal vocabularies, or ``chunk_tokens`` below 1.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> token_kl_divergences(model, frozen_copy(model), ids, ids > 0).tolist()
    [[0.0, 0.0, 0.0]]
    """
    check_shape("ids", ids, "B", "T")
    check_same_shape("mask", mask, "ids", ids)
    check_range("chunk_tokens", chunk_tokens, 1)
    predicted = mask.bool()[:, 1:] & mask.bool()[:, :-1]
    if only is not None:
        check_same_shape("only", only, "ids", ids)
        predicted = predicted & only.bool()[:, 1:]
    with torch.no_grad():
        before = reference(ids, mask)[:, :-1][predicted]
    hidden = model(ids, mask)[:, :-1][predicted]
    bare = without_wrapper(model)
    parts = [
        _chunk(bare, reference, some, others)
        for some, others in zip(
            torch.split(hidden, chunk_tokens), torch.split(before, chunk_tokens), strict=True
        )
    ]
    values = torch.cat(parts)
    place = nn.functional.pad(predicted, (1, 0))
    return values.new_zeros(ids.shape).masked_scatter(place, values)


def frozen_copy(model: CausalLM) -> CausalLM:
    """A copy of a model that stays as the model is now: in evaluation mode, without gradients.

    Args:
        model: the model; a copy of its weights is made.

    Returns:
        The copy.
    """
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def model_before(model: CausalLM) -> CausalLM:
    """A model as it is now, to compare it with what becomes of it.

    Args:
        model: the model. One whose adapters change nothing yet, as new ones of
            :func:`gradatim.language.adapters.lora`, shares its weights with what is returned.

    Returns:
        :class:`WithoutAdapters` or :func:`frozen_copy`.
    """
    if not isinstance(model, TransformersLM) or not hasattr(model.model, "disable_adapter"):
        return frozen_copy(model)
    bare = WithoutAdapters(model)
    ids = torch.tensor([[0, 1]], device=model.device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    with ExitStack() as stack:
        _evaluate_within(stack, model)
        here, there = (one.logits(one(ids, mask)) for one in (model, bare))
    return bare if torch.equal(here, there) else frozen_copy(model)


class WithoutAdapters(CausalLM):
    """A model as it is without its adapters, sharing all its weights.

    As a reference it costs no memory. It is the model before training only if the adapters began
    with no effect, as those of :func:`gradatim.language.adapters.lora` do.

    Args:
        model: a model around one of PEFT; its mode and adapters are as before after every call.

    Raises:
        InputError: the model has no adapters.
    """

    def __init__(self, model: TransformersLM) -> None:
        super().__init__()
        if not hasattr(model.model, "disable_adapter"):
            raise InputError("model: expected one with adapters, got one without")
        self._shared = (model,)  # not a submodule: its weights belong to the model itself
        self.vocabulary_size, self.hidden_size = model.vocabulary_size, model.hidden_size
        self.context_length = model.context_length

    @torch.no_grad()
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states; see :class:`~gradatim.language.causal_lm.CausalLM`."""
        with self._bare() as model:
            hidden: torch.Tensor = model(ids, mask)
        return hidden

    @torch.no_grad()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The output layer; see :class:`~gradatim.language.causal_lm.CausalLM`."""
        with self._bare() as model:
            return model.logits(hidden)

    def begin(
        self, ids: torch.Tensor, mask: torch.Tensor, copies: int, longest: int
    ) -> tuple[torch.Tensor, DecodingState]:
        """Decoding goes on after the call and cannot be had: switch the adapters off yourself."""
        raise InputError("model: a model without its adapters reads, but does not decode")

    @property
    def device(self) -> torch.device:
        """Where ids must be."""
        return self._shared[0].device

    @contextmanager
    def _bare(self) -> Iterator[TransformersLM]:
        """The model without adapters, in evaluation mode."""
        model = self._shared[0]
        trainable = [weight for weight in model.parameters() if weight.requires_grad]
        with ExitStack() as stack:
            _evaluate_within(stack, model)
            for weight in trainable:  # PEFT takes it away, and gives it back to all adapters
                stack.callback(weight.requires_grad_, True)
            others = [weight for weight in model.parameters() if not weight.requires_grad]
            for weight in others:
                stack.callback(weight.requires_grad_, False)
            adapted: Any = model.model
            stack.enter_context(adapted.disable_adapter())
            yield model


def _evaluate_within(stack: ExitStack, model: nn.Module) -> None:
    """Put all modules into evaluation mode until the stack is closed."""
    for module in model.modules():
        if module.training:
            stack.callback(setattr, module, "training", True)
            module.training = False


def _chunk(
    model: CausalLM, reference: CausalLM, hidden: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    """Divergences from what predicts the tokens, of shapes [N, H] and [N, H'] to [N]."""
    if not torch.is_grad_enabled():
        return _divergences(model, reference, hidden, before)
    values: torch.Tensor = checkpoint(
        _divergences, model, reference, hidden, before, use_reentrant=False
    )
    return values


def _divergences(
    model: CausalLM, reference: CausalLM, hidden: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    with torch.no_grad():
        expected = reference.logits(before)
    logits = model.logits(hidden)
    if logits.shape != expected.shape:
        raise InputError(
            f"reference: expected the model's vocabulary of {logits.shape[-1]} tokens, "
            f"got one of {expected.shape[-1]}"
        )
    return kl_divergence(logits, expected)
