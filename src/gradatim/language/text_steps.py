"""Where the steps of a response lie, by a separator in its text, whatever the tokens are."""

import bisect
import re
from collections.abc import Sequence
from typing import Any

import torch

from gradatim.core.checks import check_same_shape, check_shape
from gradatim.core.errors import InputError


class TextSteps:
    r"""Numbers the tokens of responses by the step of the text in which they begin.

    A step ends with the separator; several in a row, with nothing but blanks between them, close
    one step. A token that holds the separator belongs to the step that it closes, also where the
    tokenizer has merged it with what stands before or behind it. Tokens without text, such as the
    one that ends a response, belong to the last step.

    Args:
        tokenizer: a tokenizer of transformers.
        separator: the text between steps, such as ``"\n"`` or ``"\n\n"``.

    Raises:
        InputError: an empty separator, or one that the tokenizer cannot express.
    """

    def __init__(self, tokenizer: Any, separator: str = "\n") -> None:
        if not separator:
            raise InputError("separator: expected some text, got none")
        self.tokenizer, self.separator = tokenizer, separator
        escaped = re.escape(separator)
        self._run = re.compile(f"{escaped}(?:\\s*{escaped})*")
        self._special = frozenset(getattr(tokenizer, "all_special_ids", ()))
        probe = tokenizer(f"a{separator}b", add_special_tokens=False)["input_ids"]
        if separator not in self._decode(probe):
            raise InputError(
                f"separator: the tokenizer cannot express {separator!r}: it reads 'a{separator}b' "
                f"as {self._decode(probe)!r}; choose another one, such as '. '"
            )

    def __call__(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The step of each token.

        Args:
            tokens: ids of responses, shape [R, T].
            mask: True where there is a token, shape [R, T].

        Returns:
            Numbers from 0, -1 where there is no token, shape [R, T].

        Raises:
            InputError: the shapes differ.
        """
        check_shape("tokens", tokens, "R", "T")
        check_same_shape("mask", mask, "tokens", tokens)
        there = mask.bool().cpu()
        steps = torch.full(tokens.shape, -1)
        for row, (ids, inside) in enumerate(zip(tokens.cpu(), there, strict=True)):
            steps[row, inside] = torch.tensor(self.of(ids[inside].tolist()), dtype=torch.long)
        return steps.to(tokens.device)

    def of(self, tokens: Sequence[int]) -> list[int]:
        """The step of each token of one response."""
        text = self._decode(tokens)
        ends = [found.end() for found in self._run.finditer(text) if text[: found.start()].strip()]
        last = max(len(text.rstrip()) - 1, 0)
        return [bisect.bisect_right(ends, min(start, last)) for start in self._starts(tokens, text)]

    def texts(self, tokens: Sequence[int]) -> list[str]:
        """The texts of the steps, without the separators around them."""
        parts = (part.strip() for part in self._run.split(self._decode(tokens)))
        return [part for part in parts if part]

    def _starts(self, tokens: Sequence[int], text: str) -> list[int]:
        """The place in the text at which each token begins."""
        count = len(tokens)
        while count and tokens[count - 1] in self._special:
            count -= 1
        return self._starts_of_text(tokens[:count], text) + [len(text)] * (len(tokens) - count)

    def _starts_of_text(self, tokens: Sequence[int], text: str) -> list[int]:
        if getattr(self.tokenizer, "is_fast", False):
            read = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            if list(read["input_ids"]) == list(tokens):  # else it was sampled in other pieces
                return [start for start, _ in read["offset_mapping"]]
        return [len(self._decode(tokens[:count]).rstrip("\ufffd")) for count in range(len(tokens))]

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
