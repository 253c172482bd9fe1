"""Two language models as one: the logits of the first, with those of the second taken away."""

import math

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32
from gradatim.language.causal_lm import CausalLM, DecodingState


def relative_top_mask(logits: torch.Tensor, relative_top: float) -> torch.Tensor:
    r"""Which tokens a model holds likely, compared with its likeliest one.

    .. math:: m_v = \Bigl[ \log p_v \ge \min\bigl( \max_u \log p_u + \log \rho,\;
        \log p_{(\lfloor \rho V \rfloor)} \bigr) \Bigr]

    Args:
        logits: of p, shape [..., V].
        relative_top: rho, in [0, 1]; 0 keeps every token.

    Returns:
        Booleans, shape [..., V]; at least the floor(rho V) likeliest tokens, and one, are kept.

    Raises:
        InputError: ``relative_top`` outside [0, 1].

    Source: Ji et al. 2024, arXiv 2406.08607, and the authors' code, in which floor(rho V) = 0
    keeps every token by an index of -1.

    >>> relative_top_mask(torch.tensor([0.6, 0.3, 0.07, 0.03]).log(), 0.2).tolist()
    [True, True, False, False]
    """
    check_range("relative_top", relative_top, 0, 1)
    if relative_top == 0:
        return torch.ones_like(logits, dtype=torch.bool)
    logits = at_least_float32(logits)
    kept = max(1, math.floor(relative_top * logits.shape[-1]))
    least = logits.topk(kept, dim=-1).values[..., -1:]
    highest = logits.amax(dim=-1, keepdim=True)
    # The normalization of the log-probabilities is the same on both sides.
    return logits >= torch.minimum(highest + math.log(relative_top), least)


class LogitDifferenceLM(CausalLM):
    r"""A model from whose logits a share of an assistant's is taken, where the model is undecided.

    .. math:: \ell = \ell_M + w\, m \odot (\ell_A - \bar\ell_A)

    An assistant that predicts every token alike changes nothing; one that remembers a text makes
    that text less likely. Only tokens that the model holds likely are changed, see
    :func:`relative_top_mask`; when responses are sampled, no others are drawn. It costs a forward
    pass of both models.

    Args:
        base: M; both models are kept as they are, and share the device.
        assistant: A, with the same vocabulary.
        weight: w; below 0 takes away.
        relative_top: rho.
        center: take the assistant's mean logit from its logits. Logits have an arbitrary offset,
            which would move the tokens that are changed against those that are not; False is what
            the authors' code does.

    Raises:
        InputError: unequal vocabularies, or ``relative_top`` outside [0, 1].

    Source: Ji et al. 2024, arXiv 2406.08607, equation 3, and the authors' code (weight -0.8 and
    rho 0.01 on TOFU).

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=2)
    >>> nothing = LogitDifferenceLM(model, model, weight=-1.0, relative_top=0.0)
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> logits = nothing.logits(nothing(ids, ids > 0))
    >>> bool((logits.softmax(-1) - 0.1).abs().max() < 1e-6)
    True
    """

    def __init__(
        self,
        base: CausalLM,
        assistant: CausalLM,
        *,
        weight: float = -0.8,
        relative_top: float = 0.01,
        center: bool = True,
    ) -> None:
        super().__init__()
        check_range("weight", weight)
        check_range("relative_top", relative_top, 0, 1)
        if base.vocabulary_size != assistant.vocabulary_size:
            raise InputError(
                f"assistant: expected the base model's vocabulary of {base.vocabulary_size} "
                f"tokens, got one of {assistant.vocabulary_size}"
            )
        precisions = [_precision(one) for one in (base, assistant)]
        if precisions[0] != precisions[1]:
            raise InputError(
                f"assistant: expected the base model's precision {precisions[0]}, "
                f"got {precisions[1]}"
            )
        self.base, self.assistant = base, assistant
        self.weight, self.relative_top, self.center = weight, relative_top, center
        self.training = base.training
        self.vocabulary_size = base.vocabulary_size
        self.hidden_size = base.hidden_size + assistant.hidden_size
        lengths = (base.context_length, assistant.context_length)
        self.context_length = min((one for one in lengths if one is not None), default=None)

    @property
    def device(self) -> torch.device:
        """Where ids must be."""
        return self.base.device

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The hidden states of both models side by side, shape [B, T, H + H']."""
        return self._beside(self.base(ids, mask), self.assistant(ids, mask))

    def behind(
        self, beginning: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """The same behind a common beginning; see :class:`CausalLM`."""
        parts = (one.behind(beginning, ids, mask) for one in (self.base, self.assistant))
        return self._beside(*parts)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The combined logits; tokens that the model holds unlikely keep the model's."""
        width = self.base.hidden_size
        logits = self.base.logits(hidden[..., :width])
        assistants = self.assistant.logits(hidden[..., width:])
        kept = relative_top_mask(logits.detach(), self.relative_top)
        return self._combined(logits, assistants, kept)

    def begin(
        self, ids: torch.Tensor, mask: torch.Tensor, copies: int, longest: int
    ) -> tuple[torch.Tensor, "_BothDecoding"]:
        """Read prompts once with both; see :class:`CausalLM`."""
        first, state = self.base.begin(ids, mask, copies, longest)
        other, assisting = self.assistant.begin(ids, mask, copies, longest)
        return self.decoded(first, other), _BothDecoding(self, state, assisting)

    def decoded(self, logits: torch.Tensor, assistants: torch.Tensor) -> torch.Tensor:
        """The combined logits of tokens that are likely; minus infinity elsewhere."""
        kept = relative_top_mask(logits, self.relative_top)
        return self._combined(logits, assistants, kept).masked_fill(~kept, -torch.inf)

    def _beside(self, hidden: torch.Tensor, assistants: torch.Tensor) -> torch.Tensor:
        return torch.cat([hidden, assistants.to(hidden.device)], dim=-1)

    def _combined(
        self, logits: torch.Tensor, assistants: torch.Tensor, kept: torch.Tensor
    ) -> torch.Tensor:
        logits, taken = at_least_float32(logits), at_least_float32(assistants).to(logits.device)
        if self.center:
            taken = taken - taken.mean(dim=-1, keepdim=True)
        return logits + self.weight * taken * kept


def _precision(model: CausalLM) -> torch.dtype:
    """Of a model's first weights that are floating-point numbers."""
    return next(one.dtype for one in model.parameters() if one.is_floating_point())


class _BothDecoding:
    """Rows that both models decode together."""

    def __init__(
        self, model: LogitDifferenceLM, state: DecodingState, assisting: DecodingState
    ) -> None:
        self.model, self.state, self.assisting = model, state, assisting

    def advance(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token a row; see :class:`gradatim.language.causal_lm.DecodingState`."""
        return self.model.decoded(self.state.advance(tokens), self.assisting.advance(tokens))

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these; see :class:`gradatim.language.causal_lm.DecodingState`."""
        self.state.keep(rows)
        self.assisting.keep(rows)
