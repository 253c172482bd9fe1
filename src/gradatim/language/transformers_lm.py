"""Causal language models of the transformers library, as they are or wrapped by PEFT."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gradatim.core.checks import check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM

Tail = Callable[[torch.Tensor], torch.Tensor]

_CACHE_ARGUMENTS = ("cache", "past_key_values")  # transformers renamed it in 5.x
_WORTH_SHARING = 256
"""Tokens that must be saved for reading a common beginning apart."""

_LENGTH_NAMES = ("max_position_embeddings", "max_seq_len", "n_positions", "n_ctx")


class TransformersLM(CausalLM):
    """A decoder-only model of transformers behind the interface of this library.

    Hidden states are those that the model's own output layer reads. Position ids are counted from
    the mask, so that padding on either side changes nothing. What some models do to logits
    (scaling, soft-capping) is found when the object is made, and checked against the model's own
    logits of two tokens.

    A model that is spread over several devices (``device_map="auto"``) works: hidden states come
    back on the device of the ids.

    Args:
        model: any ``...ForCausalLM``, or a ``PeftModel`` around one (adapters that change layers,
            such as LoRA, not those that add virtual tokens). Its mode, training or evaluation, is
            the user's affair.

    Raises:
        InputError: not a causal language model with an output layer, or one whose logits cannot
            be computed from its last hidden states in a known way.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32)
    >>> model = TransformersLM(LlamaForCausalLM(config))
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> model.logits(model(ids, torch.ones_like(ids, dtype=torch.bool))).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        _check_kind(self.inner)
        taken = inspect.signature(type(self.body).forward).parameters
        self._takes_positions = "position_ids" in taken
        self._cache_argument = next((name for name in _CACHE_ARGUMENTS if name in taken), None)
        self._plain_cache = True  # until one is seen that is not
        self._tail: Tail = _unchanged
        self.hidden_size, self.vocabulary_size = self._probe()
        self.context_length = _context_length(self.inner.config)

    @property
    def inner(self) -> Any:
        """The model of transformers, without the wrapper of PEFT if there is one."""
        unwrap = getattr(self.model, "get_base_model", None)
        return self.model if unwrap is None else unwrap()

    @property
    def body(self) -> Any:
        """The part of the model whose last hidden states its output layer reads."""
        decoder = self.inner.get_decoder()
        return self.inner.base_model if decoder is self.inner else decoder

    @property
    def device(self) -> torch.device:
        """Where ids must be: the device of the input embeddings."""
        embeddings = self.inner.get_input_embeddings()
        hook = getattr(embeddings, "_hf_hook", None)  # of a model spread over devices
        place = getattr(hook, "execution_device", None)
        weight: torch.Tensor = next(embeddings.parameters())
        return weight.device if place is None else torch.device(place)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The hidden states that logits are read from; see :class:`CausalLM`."""
        check_shape("ids", ids, "B", "T")
        check_same_shape("mask", mask, "ids", ids)
        options = self._options(mask, _positions(mask))
        if self._cache_argument:
            options["use_cache"] = False
        hidden: torch.Tensor = self.body(input_ids=ids, **options).last_hidden_state
        return hidden.to(ids.device)

    @torch.no_grad()
    def behind(
        self, beginning: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Read the beginning once, then the rows behind it, without gradients; see base class."""
        pays = len(beginning) * (len(ids) - 1) >= _WORTH_SHARING and ids.shape[1]
        cache = self._read_once(beginning, len(ids)) if pays else None
        if cache is None:
            return super().behind(beginning, ids, mask)
        whole = torch.cat([mask.new_ones(len(ids), len(beginning)), mask], dim=1)
        options = self._options(whole, _positions(whole)[:, len(beginning) :])
        options[str(self._cache_argument)] = cache
        hidden: torch.Tensor = self.body(input_ids=ids, use_cache=True, **options).last_hidden_state
        return hidden.to(ids.device)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The output layer, with the scaling or capping that the model has."""
        logits: torch.Tensor = self._tail(self.inner.get_output_embeddings()(hidden))
        return logits.to(hidden.device)

    def linear_output(self) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """The output layer's weight and bias, if nothing else happens to logits; see base class.

        Adapters on the output layer, hooks (as those of a model spread over devices) and weights
        that are quantized or in shards are something else.
        """
        head = self.inner.get_output_embeddings()
        hooked = head._forward_hooks or head._forward_pre_hooks or hasattr(head, "_hf_hook")
        if type(head) is not nn.Linear or hooked or self._tail is not _unchanged:
            return None
        return (head.weight, head.bias) if type(head.weight) is nn.Parameter else None

    @torch.no_grad()
    def begin(
        self, ids: torch.Tensor, mask: torch.Tensor, copies: int, longest: int
    ) -> tuple[torch.Tensor, "TransformersDecoding"]:
        """Read each prompt once and repeat what was kept of it; see :class:`CausalLM`.

        What many prompts begin with, such as worked examples, is read once for all of them.
        """
        check_shape("ids", ids, "P", "T")
        check_same_shape("mask", mask, "ids", ids)
        if self._cache_argument is None:
            raise InputError(f"model: {type(self.inner).__name__} cannot decode with a cache")
        shared, cache = self._read_beginning(ids, mask)
        if shared:
            mask = _behind_beginning(mask, shared)
        positions = _positions(mask)
        hidden, cache = self._read(ids[:, shared:], mask, positions[:, shared:], cache)
        logits = self.logits(hidden)
        whole = torch.cat([mask, mask.new_ones(len(ids), longest)], dim=1)
        state = TransformersDecoding(self, cache, whole, positions[:, -1:], ids.shape[1])
        rows = torch.arange(len(ids), device=ids.device).repeat_interleave(copies)
        if copies != 1:
            state.keep(rows)
        return logits[rows], state

    def _read_beginning(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[int, Any]:
        """Read what all prompts begin with once for all of them, where that pays.

        Their own parts are then padded on the left as well, behind what they share: attention does
        not mind, but sliding windows and recurrent states would.

        Returns:
            How many tokens were read, and the cache with a row a prompt; 0 and None if none were.
        """
        shared = _common_beginning(ids, mask) if self._takes_positions else 0
        if shared * (len(ids) - 1) < _WORTH_SHARING:
            return 0, None
        cache = self._read_once(ids[0, mask[0]][:shared], len(ids))
        return (0, None) if cache is None else (shared, cache)

    def _read_once(self, beginning: torch.Tensor, rows: int) -> Any:
        """Read tokens, shape [S], once, and keep what was read of them for so many rows.

        Returns:
            The cache; None for models in which a beginning cannot be read apart.
        """
        if self._cache_argument is None or not self._takes_positions or not self._plain_cache:
            return None
        everything = torch.ones_like(beginning[None], dtype=torch.bool)
        _, cache = self._read(beginning[None], everything, _positions(everything), None)
        layers = getattr(cache, "layers", ())
        self._plain_cache = bool(layers) and all(
            type(layer).__name__ == "DynamicLayer" for layer in layers
        )
        if not self._plain_cache:
            return None
        cache.reorder_cache(torch.zeros(rows, dtype=torch.long, device=beginning.device))
        return cache

    def _read(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> tuple[torch.Tensor, Any]:
        """Read tokens behind those in the cache.

        Args:
            ids: the new tokens, shape [R, T'].
            mask: what there is in the cache and in the new tokens, shape [R, T].
            positions: of the new tokens, shape [R, T'].
            cache: what was read before; None if nothing was.

        Returns:
            The hidden states of the last token, shape [R, H], and the cache with all tokens.
        """
        name = str(self._cache_argument)
        options = self._options(mask, positions)
        if cache is not None:
            options[name] = cache
        output = self.body(input_ids=ids, use_cache=True, **options)
        return output.last_hidden_state[:, -1].to(ids.device), getattr(output, name)

    def _options(self, mask: torch.Tensor, positions: torch.Tensor) -> dict[str, Any]:
        options: dict[str, Any] = {"attention_mask": mask.long()}
        if self._takes_positions:
            options["position_ids"] = positions
        return options

    @torch.no_grad()
    def _probe(self) -> tuple[int, int]:
        """Find what the model does to logits; returns the sizes H and V."""
        ids = torch.tensor([[0, 1]], device=self.device)
        mask = torch.ones_like(ids, dtype=torch.bool)
        with _evaluating(self.model):
            expected = self.inner(input_ids=ids, attention_mask=mask.long()).logits
            hidden = self(ids, mask)
            raw = self.inner.get_output_embeddings()(hidden)
            for tail in _tails(self.inner):
                if _agree(tail(raw), expected):
                    self._tail = tail
                    return hidden.shape[-1], raw.shape[-1]
        raise InputError(
            f"model: the logits of {type(self.inner).__name__} are not those of its output layer "
            "on its last hidden states, in no way that is known here"
        )


class TransformersDecoding:
    """Rows that are decoded together: a cache of transformers, and who sees what.

    Attributes:
        read: how many columns the cache holds.
    """

    def __init__(
        self,
        model: TransformersLM,
        cache: Any,
        mask: torch.Tensor,
        positions: torch.Tensor,
        read: int,
    ) -> None:
        self._model, self._cache = model, cache
        self._mask, self._positions = mask, positions
        self.read = read

    @torch.no_grad()
    def advance(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token a row, shape [R], and predict the next: logits, shape [R, V]."""
        check_shape("tokens", tokens, len(self._mask))
        if self.read == self._mask.shape[1]:
            raise InputError("longest: more tokens are read than begin() was told")
        self.read += 1
        self._positions = self._positions + 1
        mask = self._mask[:, : self.read]
        hidden, self._cache = self._model._read(tokens[:, None], mask, self._positions, self._cache)
        return self._model.logits(hidden)

    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows, shape [R'], in their order; a row may be named several times."""
        self._mask, self._positions = self._mask[rows], self._positions[rows]
        select = getattr(self._cache, "reorder_cache", None)
        if select is None:
            raise InputError(
                f"model: its cache {type(self._cache).__name__} cannot select rows, "
                "so that rows cannot be copied or dropped"
            )
        select(rows)


def _check_kind(inner: Any) -> None:
    name = type(inner).__name__
    if not hasattr(inner, "get_output_embeddings") or not hasattr(inner, "config"):
        raise InputError(f"model: expected a causal language model of transformers, got {name}")
    if getattr(inner.config, "is_encoder_decoder", False):
        raise InputError(f"model: expected a decoder-only model, got the encoder-decoder {name}")
    if inner.get_output_embeddings() is None:
        raise InputError(f"model: {name} has no output layer over a vocabulary")


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Positions counted from each row's first token; padding before it gets 0."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def _common_beginning(ids: torch.Tensor, mask: torch.Tensor) -> int:
    """With how many tokens all prompts begin, padded on the left; each keeps one of its own."""
    lengths = mask.sum(dim=1)
    most = int(lengths.min()) - 1
    if most < 1:
        return 0
    starts = (ids.shape[1] - lengths)[:, None]
    tokens = ids.gather(1, starts + torch.arange(most, device=ids.device))
    return int((tokens == tokens[:1]).all(dim=0).long().cumprod(dim=0).sum())


def _behind_beginning(mask: torch.Tensor, shared: int) -> torch.Tensor:
    """The mask where what all share comes first, then padding, then what each has for itself."""
    places = torch.arange(mask.shape[1], device=mask.device)
    own = places >= mask.shape[1] - (mask.sum(dim=1)[:, None] - shared)
    return own | (places < shared)


def _context_length(config: Any) -> int | None:
    text = config.get_text_config()
    found = [getattr(text, name, None) for name in _LENGTH_NAMES]
    return next((int(length) for length in found if isinstance(length, int) and length > 0), None)


def _tails(inner: Any) -> Iterator[Tail]:
    """What models are known to do to logits, as far as this one has the setting for it."""
    text = inner.config.get_text_config()
    cap = getattr(text, "final_logit_softcapping", None)
    if cap:
        yield lambda logits: (logits / cap).tanh() * cap
    for name in ("logits_scaling", "logit_scale", "lm_head_multiplier", "output_multiplier"):
        scale = getattr(text, name, None)
        if isinstance(scale, int | float) and scale != 0:
            yield functools.partial(torch.mul, other=scale)
            yield functools.partial(torch.div, other=scale)
    yield _unchanged


def _unchanged(logits: torch.Tensor) -> torch.Tensor:
    return logits


def _agree(ours: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether logits are equal up to rounding in the precision of the model."""
    if ours.shape != expected.shape:
        return False
    expected = expected.to(ours.device)
    rounding = 16 * max(torch.finfo(ours.dtype).eps, torch.finfo(expected.dtype).eps)
    size = float(expected.float().abs().max())
    return bool(float((ours.float() - expected.float()).abs().max()) <= rounding * size)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put all modules into evaluation mode, and each back into the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
