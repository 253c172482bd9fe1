"""Language models with weights of 4 or 8 bits, by bitsandbytes, and adapters on them."""

from typing import Any

import torch

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError
from gradatim.core.lazy import require
from gradatim.language.transformers_lm import TransformersLM

QUANTIZATIONS = ("4bit", "8bit")


def quantization_settings(quantization: str, dtype: torch.dtype) -> Any:
    r"""Settings with which transformers quantizes the weights of linear layers while it loads.

    "4bit" is the NormalFloat of QLoRA with quantized scales, about 0.52 bytes a weight; "8bit" is
    LLM.int8(), 1 byte a weight. Embeddings, norms and the output layer keep their precision.

    Args:
        quantization: "4bit" or "8bit".
        dtype: precision of matrix products for "4bit"; "8bit" multiplies in float16.

    Returns:
        A ``BitsAndBytesConfig`` of transformers.

    Raises:
        InputError: an unknown name.
        MissingPackageError: transformers or bitsandbytes is not installed.

    Source: Dettmers et al. 2023, arXiv 2305.14314, section 3; Dettmers et al. 2022,
    arXiv 2208.07339.

    >>> quantization_settings("2bit", torch.bfloat16)
    Traceback (most recent call last):
    gradatim.core.errors.InputError: quantization: expected one of 4bit, 8bit, got '2bit'
    """
    check_choice("quantization", quantization, QUANTIZATIONS)
    transformers = require("transformers", extra="llm", why="to load language models")
    require("bitsandbytes", why=f"for weights of {quantization[0]} bits")
    if quantization == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def is_quantized(model: TransformersLM) -> bool:
    """Whether the weights of the model are quantized, so that they cannot be trained."""
    return bool(getattr(model.inner, "is_quantized", False))


def prepare_quantized(model: TransformersLM, *, checkpointing: bool = True) -> TransformersLM:
    """Make a quantized model ready for adapters: :func:`~gradatim.language.adapters.add_lora`.

    Weights that are not quantized go to float32, all are frozen, and inputs of the first block get
    a gradient, which activation checkpointing needs. The model is changed in place.

    Args:
        model: a model that was loaded with ``quantization``.
        checkpointing: keep the inputs of blocks alone for the backward pass, and compute blocks
            anew there: less memory, a third more time.

    Returns:
        The same model, in the mode it was in.

    Raises:
        InputError: a model that is not quantized, or has adapters already; weights of 4 bits on a
            CPU, through which bitsandbytes lets no gradient once they have been read in evaluation.
        MissingPackageError: peft is not installed.

    Source: as :func:`quantization_settings`.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32)
    >>> prepare_quantized(TransformersLM(LlamaForCausalLM(config)))
    Traceback (most recent call last):
    gradatim.core.errors.InputError: model: expected one that was loaded with quantization=...
    """
    if hasattr(model.model, "peft_config"):
        raise InputError("model: expected one without adapters, which come afterwards")
    if not is_quantized(model):
        raise InputError("model: expected one that was loaded with quantization='4bit' or '8bit'")
    if getattr(model.inner, "is_loaded_in_4bit", False) and model.device.type == "cpu":
        raise InputError(
            "model: weights of 4 bits can be trained on a GPU only; on a CPU take 8bit"
        )
    peft = require("peft", extra="llm", why="for low-rank adapters")
    training = model.model.training
    prepared = peft.prepare_model_for_kbit_training(
        model.model,
        use_gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
    )
    return TransformersLM(prepared.train(training))
