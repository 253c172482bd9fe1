"""Training on pairs of token sequences: vocabularies, the step, and what is decoded.

::

    words, symbols = TokenVocabulary(source for source, _ in pairs), ...
    examples = encode_pairs(pairs, words, symbols)
    fit(model, examples, sequence_step, optimizer=optimizer, epochs=30)
    correct = decoded_exactly(model, encode_pairs(tests, words, symbols))
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn import functional

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.language.sampling import right_padded
from gradatim.metrics.exact_match import exact_match
from gradatim.networks.seq2seq import Seq2SeqTransformer
from gradatim.training.step import Loss, State

PADDING, END, BEGIN = 0, 1, 2
_SPECIAL = 3


class TokenVocabulary:
    """Numbers of the tokens that occur; 0 is padding, 1 the end and 2 the beginning.

    Args:
        sequences: of tokens; the numbers depend on the set of tokens alone.

    Raises:
        InputError: no token.

    >>> vocabulary = TokenVocabulary([["walk", "twice"], ["walk"]])
    >>> len(vocabulary), vocabulary.encode(["walk"])
    (5, [4])
    """

    def __init__(self, sequences: Iterable[Iterable[str]]) -> None:
        self.tokens = tuple(sorted({token for sequence in sequences for token in sequence}))
        if not self.tokens:
            raise InputError("sequences: expected at least one token, got none")
        self._numbers = {token: row for row, token in enumerate(self.tokens, start=_SPECIAL)}

    def __len__(self) -> int:
        """Number of tokens, the three special ones included."""
        return len(self.tokens) + _SPECIAL

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens.

        Raises:
            InputError: a token that is not in the vocabulary.
        """
        try:
            return [self._numbers[token] for token in tokens]
        except KeyError as error:
            raise InputError(
                f"tokens: expected those of the vocabulary, got {error.args[0]!r}"
            ) from None


def encode_pairs(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
    source: TokenVocabulary,
    target: TokenVocabulary,
) -> TensorExamples:
    """Pairs as examples with columns ``source`` and ``target``, padded; targets have their end.

    Args:
        pairs: source and target tokens of each example.
        source: vocabulary of the sources.
        target: vocabulary of the targets.

    Returns:
        int64 columns of shapes [N, S] and [N, T].

    Raises:
        InputError: a token that is not in its vocabulary.

    >>> words = TokenVocabulary([["a"], ["b"]])
    >>> encode_pairs([(["a", "b"], ["b"])], words, words)[[0]]
    {'source': tensor([[3, 4]]), 'target': tensor([[4, 1]])}
    """
    return TensorExamples(
        source=right_padded([source.encode(words) for words, _ in pairs])[0],
        target=right_padded([[*target.encode(symbols), END] for _, symbols in pairs])[0],
    )


def sequence_step(model: Seq2SeqTransformer, batch: dict[str, Any], state: State) -> Loss:
    r"""Cross-entropy of whole targets, given the right tokens before each.

    .. math:: L = - \frac{1}{B} \sum_i \sum_t \log p(y_{it} \mid y_{i, < t}, x_i)

    A step for :func:`gradatim.training.fit.fit`. Columns of padding alone are cut off.

    Source: Zhou, Jiang and Bansal 2023, arXiv 2311.04420 (tokens are summed, sequences averaged).
    """
    source, target = _cut(batch["source"]), _cut(batch["target"])
    begin = torch.full_like(target[:, :1], BEGIN)
    logits = model(source, source != PADDING, torch.cat([begin, target[:, :-1]], dim=1))
    losses = functional.cross_entropy(
        logits.transpose(1, 2), target, ignore_index=PADDING, reduction="none"
    )
    return Loss.of(losses.sum(dim=1))


def decoded_exactly(
    model: Seq2SeqTransformer,
    examples: TensorExamples,
    *,
    allow_more: bool = False,
    beams: int = 1,
    batch_size: int = 256,
) -> torch.Tensor:
    """Which targets the model decodes exactly, two tokens beyond the longest at most.

    The model is put into evaluation mode, and left in the mode it was in.

    Args:
        model: that decodes.
        examples: as :func:`encode_pairs` makes them.
        allow_more: as for :func:`gradatim.metrics.exact_match.exact_match`.
        beams: candidates of the beam search; 1 is greedy.
        batch_size: examples at a time.

    Returns:
        Booleans, shape [N].

    Raises:
        InputError: a number below 1.
    """
    check_range("batch_size", batch_size, 1)
    was_training = model.training
    model.eval()
    found = []
    for start in range(0, len(examples), batch_size):
        part = examples[slice(start, start + batch_size)]
        source, target = _cut(part["source"]), _cut(part["target"])
        decoded = model.generate(
            source,
            source != PADDING,
            begin=BEGIN,
            end=END,
            longest=target.shape[1] + 2,
            beams=beams,
        )
        found.append(exact_match(decoded, target, end=END, allow_more=allow_more))
    model.train(was_training)
    return torch.cat(found)


def _cut(tokens: torch.Tensor) -> torch.Tensor:
    """Without the columns that hold padding alone."""
    return tokens[:, : int((tokens != PADDING).sum(dim=1).max())]
