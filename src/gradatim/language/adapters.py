"""Low-rank adapters on a language model, and the same model without them afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.lazy import require
from gradatim.core.seeds import derive_seed
from gradatim.language.transformers_lm import TransformersLM


@contextmanager
def lora(
    model: TransformersLM,
    *,
    rank: int = 16,
    alpha: float = 32,
    dropout: float = 0.1,
    targets: str | Sequence[str] | None = None,
    seed: int = 0,
) -> Iterator[TransformersLM]:
    r"""Put new low-rank adapters on a model for as long as the ``with`` block lasts.

    .. math:: W' = W + \frac{\alpha}{r} B A

    B is zero at first, so that nothing changes until it is trained; only A and B can be. Behind the
    block the model is what it was, so that one base model serves many fits.

    Args:
        model: the base model.
        rank: r.
        alpha: the scale.
        dropout: of what enters A, in training mode.
        targets: which layers: "all-linear", or ends of their names, such as ``["q_proj"]``; None
            takes what peft has for the architecture, queries and values for most, or else all.
        seed: what A depends on.

    Yields:
        The model with adapters, in the mode of the base model, whose weights it shares.

    Raises:
        InputError: a number out of range, a model with adapters of its own, or no such layers.
        MissingPackageError: peft is not installed.

    Source: Hu et al. 2021, arXiv 2106.09685; rank, alpha, dropout and layers from Hase et al.
    2024, arXiv 2401.06751, and the authors' code.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32)
    >>> with lora(TransformersLM(LlamaForCausalLM(config)), rank=2) as tuned:
    ...     sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    64
    """
    base = model.model
    trainable = [(weight, weight.requires_grad) for weight in base.parameters()]
    training = [(module, module.training) for module in base.modules()]
    try:
        adapted = add_lora(
            model, rank=rank, alpha=alpha, dropout=dropout, targets=targets, seed=seed
        )
        try:
            yield adapted
        finally:
            wrapper: Any = adapted.model
            wrapper.unload()
    finally:
        for weight, wanted in trainable:
            weight.requires_grad_(wanted)
        for module, mode in training:
            module.training = mode


def add_lora(
    model: TransformersLM,
    *,
    rank: int = 16,
    alpha: float = 32,
    dropout: float = 0.1,
    targets: str | Sequence[str] | None = None,
    seed: int = 0,
) -> TransformersLM:
    """Put new low-rank adapters on a model, to stay; see :func:`lora`, which takes them off again.

    ``model.model.save_pretrained(folder)`` of what is returned writes the adapters as peft does.

    Args:
        model: the base model, whose layers are wrapped in place and whose weights are frozen.
        rank: r.
        alpha: the scale.
        dropout: of what enters A, in training mode.
        targets: which layers, as in :func:`lora`.
        seed: what A depends on.

    Returns:
        The model with adapters, in the mode of the base model.

    Raises:
        InputError: a number out of range, a model with adapters of its own, or no such layers.
        MissingPackageError: peft is not installed.

    Source: as :func:`lora`.
    """
    check_range("rank", rank, 1)
    check_range("alpha", alpha, 0, open_low=True)
    check_range("dropout", dropout, 0, 1, open_high=True)
    peft = require("peft", extra="llm", why="for low-rank adapters")
    base = model.model
    if hasattr(base, "peft_config"):
        raise InputError("model: expected one without adapters; merge its own ones first")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_targets(base, targets),
        task_type="CAUSAL_LM",
    )
    adapted = with_adapters(base, config, seed)
    return TransformersLM(adapted.train(base.training))


def _targets(base: Any, targets: str | Sequence[str] | None) -> str | list[str] | None:
    """What peft is to adapt; None for what it knows of the architecture."""
    if targets is not None:
        return targets if isinstance(targets, str) else list(targets)
    known = require("peft.utils").TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    return None if getattr(base.config, "model_type", None) in known else "all-linear"


def with_adapters(base: Any, config: Any, seed: int = 0) -> Any:
    """Wrap a model of transformers by peft; draws of adapters leave the global generator alone.

    Args:
        base: the model, whose layers are wrapped in place.
        config: a configuration of peft.
        seed: what the adapters' first weights depend on.

    Returns:
        The ``PeftModel``.

    Raises:
        InputError: the model has no such layers, or they cannot be adapted.
        MissingPackageError: peft is not installed.
    """
    peft = require("peft", extra="llm", why="for low-rank adapters")
    device = next(base.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), catch_warnings():
        # what peft says to transformers, and what it finds out by itself
        filterwarnings("ignore", category=FutureWarning)
        filterwarnings("ignore", "fan_in_fan_out")
        torch.manual_seed(derive_seed(seed, "adapters"))
        try:
            return peft.get_peft_model(base, config)
        except ValueError as error:
            told = str(error).splitlines()[0]
            raise InputError(
                f"targets: {config.target_modules!r} cannot be adapted ({told})"
            ) from error
