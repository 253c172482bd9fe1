"""A small language model cut from a large one: its first blocks, with its embedding and head."""

import copy
from typing import TypeVar

import torch
from torch import nn

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.transformers_lm import TransformersLM

AnyLM = TypeVar("AnyLM", bound=CausalLM)
AnyModule = TypeVar("AnyModule", bound=nn.Module)

_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


@torch.no_grad()
def truncate_lm(model: AnyLM, layers: int, *, at_most: bool = False) -> AnyLM:
    """Copy a model with its first blocks only, its final normalization and its output layer.

    The copy is not trained any further: it is a beginning for an assistant that shares the model's
    vocabulary, at a fraction of its cost.

    Args:
        model: a model of transformers without adapters, or one of this library, whose blocks stand
            in one list; it is left alone.
        layers: K, how many blocks to keep.
        at_most: keep all blocks of a model that has fewer.

    Returns:
        The copy, in evaluation mode; with as many layers as the model has, its equal.

    Raises:
        InputError: more layers than there are, blocks that cannot be found, or a model with
            adapters.

    Source: Ji et al. 2024, arXiv 2406.08607, section 3.3.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=3)
    >>> len(truncate_lm(model, 1).blocks), len(model.blocks)
    (1, 3)
    """
    if isinstance(model, TransformersLM):
        if hasattr(model.model, "peft_config"):
            raise InputError("model: expected one without adapters; merge its own ones first")
        cut = _truncate_module(model.model, layers, at_most)
        return TransformersLM(cut.eval())  # type: ignore[return-value]
    return _truncate_module(model, layers, at_most).eval()


def _truncate_module(module: AnyModule, layers: int, at_most: bool) -> AnyModule:
    """A copy of a module whose list of blocks is cut; the other blocks are never copied."""
    name, blocks = _blocks(module)
    layers = min(layers, len(blocks)) if at_most else layers
    check_range("layers", layers, 1, len(blocks))
    parent_name, _, own_name = name.rpartition(".")
    dropped = {id(block): None for block in blocks[layers:]}
    found = copy.deepcopy(module, dict.fromkeys(dropped))
    kept = list(found.get_submodule(name).children())[:layers]
    setattr(found.get_submodule(parent_name), own_name, nn.ModuleList(kept))
    config = getattr(found, "config", None)
    if config is not None:
        _shorten(config.get_text_config(), len(blocks), layers)
    return found


def _blocks(module: nn.Module) -> tuple[str, nn.ModuleList]:
    """The longest list of modules of one class, and its name: the blocks of a decoder."""
    found = [
        (name, one)
        for name, one in module.named_modules()
        if isinstance(one, nn.ModuleList) and len(one) and len({type(block) for block in one}) == 1
    ]
    if not found:
        raise InputError(f"model: no list of blocks was found in {type(module).__name__}")
    return max(found, key=lambda one: len(one[1]))


def _shorten(config: object, before: int, layers: int) -> None:
    """Tell a configuration how many blocks there are; lists with an entry a block are cut."""
    for name in _DEPTHS:
        if getattr(config, name, None) == before:
            setattr(config, name, layers)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == before:
            setattr(config, name, value[:layers])
