"""Tiny random models of transformers and a tokenizer of single characters."""

import functools
from typing import Any

import torch

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
GPT2_SIZES = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
SOME_KINDS = {
    "Llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "Qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {}),
    "Gemma2": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {"head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 0.5},
    ),
    "Gemma3": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {"head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 0.3},
    ),
    "Cohere": ("CohereConfig", "CohereForCausalLM", {"logit_scale": 0.25}),
    "Granite": ("GraniteConfig", "GraniteForCausalLM", {"logits_scaling": 4.0}),
    "GPT-2": ("GPT2Config", "GPT2LMHeadModel", None),
}


def tiny_model(kind: str = "Llama", **changes: Any) -> Any:
    """A random model in evaluation mode."""
    import transformers

    config_name, model_name, extra = SOME_KINDS[kind]
    sizes = {**GPT2_SIZES, "bos_token_id": None, "eos_token_id": None} if extra is None else SIZES
    config = getattr(transformers, config_name)(**{**sizes, **(extra or {}), **changes})
    torch.manual_seed(0)
    return getattr(transformers, model_name)(config).eval()


@functools.cache
def character_tokenizer() -> Any:
    """A fast tokenizer with a token a character, 64 tokens in all; 0 is padding and 1 the end."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    text = "\n 0123456789abcdefghijklmnopqrstuvwxyz+-*/=.:,?()#<>PSABCxyR"
    names = ["<pad>", "<end>", "<unk>", *dict.fromkeys(text)][:64]
    model = models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )
