"""More diverse pairs of sequences: renamed primitives, and renamed copies of the whole set."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

Pair: TypeAlias = tuple[list[str], list[str]]
Pairs: TypeAlias = Sequence[tuple[Sequence[str], Sequence[str]]]

_SEPARATOR = "#"


def align_primitives(pairs: Pairs, *, max_words: int = 3, max_share: float = 0.5) -> dict[str, str]:
    """Find the words that stand for one symbol each, from what occurs together.

    A symbol is *sufficient* for a word if it stands in every target whose source has the word. A
    word keeps the symbols that are sufficient for it and for at most ``max_words`` words; of
    several words of one symbol only that is kept which stands in every source of the symbol, if
    there is exactly one. Of several symbols a word takes itself if it is one of them, else the
    rarest (the first in the alphabet of equally rare ones). Words that are in more than
    ``max_share`` of the sources, and those without a letter or digit, are no primitives.

    Args:
        pairs: source and target tokens of each example.
        max_words: for how many words a symbol may be sufficient.
        max_share: largest share of the examples that a primitive may be in.

    Returns:
        Word -> symbol, words in alphabetical order. Several words may share a symbol.

    Raises:
        InputError: numbers out of range, or an entry that is no pair of lists of tokens.

    Source: Jiang, Zhou and Bansal 2022, arXiv 2211.15578, and the code released with Zhou, Jiang
    and Bansal 2023, arXiv 2311.04420. There a word also counts where it is a part of another
    word, and the symbol seen first is taken of several.

    >>> pairs = [(["jump"], ["JUMP"]), (["walk", "twice"], ["WALK", "WALK"]), (["walk"], ["WALK"])]
    >>> align_primitives([*pairs, (["jump", "twice"], ["JUMP", "JUMP"])])
    {'jump': 'JUMP', 'walk': 'WALK'}
    """
    check_range("max_words", max_words, 1)
    check_range("max_share", max_share, 0.0, 1.0)
    sides = [(set(source), set(target)) for source, target in _checked(pairs)]
    symbols, sources = _intersections(sides), _intersections((b, a) for a, b in sides)
    in_sources = Counter(itertools.chain.from_iterable(source for source, _ in sides))
    in_targets = Counter(itertools.chain.from_iterable(target for _, target in sides))
    words_of: dict[str, set[str]] = defaultdict(set)
    for word, sufficient in symbols.items():
        if any(character.isalnum() for character in word):
            for symbol in sufficient:
                words_of[symbol].add(word)
    found = {}
    for word in sorted(symbols):
        kept = {
            symbol
            for symbol in symbols[word]
            if word in words_of[symbol]
            and (symbol == word or _belongs(word, words_of[symbol], sources[symbol], max_words))
        }
        if kept and in_sources[word] <= max_share * len(sides):
            rarest = min((in_targets[symbol], symbol) for symbol in kept)[1]
            found[word] = word if word in kept else rarest
    return found


class PrimitiveAugmenter:
    r"""Copies of pairs in which primitives are replaced by new ones (prim2primX).

    Each aligned symbol P gets copies P#1 to P#X, and so does every word aligned to it. An example
    with c aligned symbols has :math:`(X + 1)^c` variants, the unchanged one among them; in a
    variant a symbol and its words bear the same number everywhere. A word whose symbol is not in
    the target of an example stays as it is there.

    Args:
        alignment: word -> symbol (:func:`align_primitives`).
        n_extra: X, new primitives for each aligned symbol.
        mode: "enumerate" for all variants, or "sample" for some.
        per_example: for "sample", how many changed variants an example gets beside the unchanged
            one, drawn without repetition; all of them where there are fewer.
        seed: what the draws depend on.

    Raises:
        InputError: numbers out of range, or another mode.

    Source: Jiang, Zhou and Bansal 2022, arXiv 2211.15578 (two variants an example where all are
    too many); Zhou, Jiang and Bansal 2023, arXiv 2311.04420, section 3.

    >>> PrimitiveAugmenter({"jump": "JUMP"}, 1)([(["jump", "twice"], ["JUMP", "JUMP"])])
    [(['jump', 'twice'], ['JUMP', 'JUMP']), (['jump#1', 'twice'], ['JUMP#1', 'JUMP#1'])]
    """

    def __init__(
        self,
        alignment: Mapping[str, str],
        n_extra: int,
        mode: Literal["enumerate", "sample"] = "enumerate",
        *,
        per_example: int = 2,
        seed: int = 0,
    ) -> None:
        check_range("n_extra", n_extra, 0)
        check_choice("mode", mode, ("enumerate", "sample"))
        check_range("per_example", per_example, 0)
        self.alignment, self.n_extra, self.mode = dict(alignment), n_extra, mode
        self.per_example, self.seed = per_example, seed

    def __call__(self, pairs: Pairs) -> list[Pair]:
        """Augment.

        Args:
            pairs: source and target tokens of each example.

        Returns:
            Example by example, the unchanged one first, then its variants.

        Raises:
            InputError: an entry that is no pair of lists of tokens, or a token that is the name
                of a new primitive.
        """
        made = []
        known = _checked(pairs)
        names = {*self.alignment, *self.alignment.values()}
        _check_new(known, (copy for name in names for copy in self._copies(name)))
        for row, (source, target) in enumerate(known):
            there = set(target)
            symbols = {word: self.alignment.get(word, "") for word in dict.fromkeys(source)}
            aligned = {word: symbol for word, symbol in symbols.items() if symbol in there}
            distinct = list(dict.fromkeys(aligned.values()))
            for numbers in self._variants(len(distinct), row):
                number = dict(zip(distinct, numbers, strict=True))
                of_word = {word: number[symbol] for word, symbol in aligned.items()}
                made.append((_numbered(source, of_word), _numbered(target, number)))
        return made

    def _copies(self, name: str) -> Iterator[str]:
        return (_named(name, number) for number in range(1, self.n_extra + 1))

    def _variants(self, count: int, row: int) -> Iterable[tuple[int, ...]]:
        """The numbers of the symbols in each variant of an example, all zeros first."""
        choices = self.n_extra + 1
        if self.mode == "enumerate" or choices**count - 1 <= self.per_example:
            return itertools.product(range(choices), repeat=count)
        generator = numpy_generator(self.seed, "primitive augmentation", row)
        drawn = dict.fromkeys([(0,) * count])
        while len(drawn) <= self.per_example:
            drawn.setdefault(tuple(generator.integers(0, choices, count).tolist()))
        return drawn


def augzero(
    pairs: Pairs, copies: int, *, shared_tokens: Collection[str] = frozenset()
) -> list[Pair]:
    """Copies of a whole data set, each in a vocabulary of its own (AugZero).

    In copy j, from 1, every token w becomes w#j on both sides; copy 0 is the data as they are.
    Nothing new is told about how tokens combine, but each of them is met less often.

    Args:
        pairs: source and target tokens of each example.
        copies: how many data sets there are in the end, the unchanged one included.
        shared_tokens: tokens that keep their name in every copy.

    Returns:
        Copy by copy, each in the order of the data.

    Raises:
        InputError: fewer than one copy, an entry that is no pair of lists of tokens, or a token
            that is the name of a copied one.

    Source: Zhou, Jiang and Bansal 2023, arXiv 2311.04420, section 4 (AugZero; 200 copies).

    >>> augzero([(["go"], ["GO"])], 2)
    [(['go'], ['GO']), (['go#1'], ['GO#1'])]
    """
    check_range("copies", copies, 1)
    known = _checked(pairs)
    tokens = {token for pair in known for side in pair for token in side} - set(shared_tokens)
    _check_new(known, (_named(token, j) for token in tokens for j in range(1, copies)))
    made = []
    for number in range(copies):
        numbers = dict.fromkeys(tokens, number)
        made += [(_numbered(a, numbers), _numbered(b, numbers)) for a, b in known]
    return made


def _named(token: str, number: int) -> str:
    return f"{token}{_SEPARATOR}{number}" if number else token


def _numbered(tokens: Sequence[str], numbers: Mapping[str, int]) -> list[str]:
    return [_named(token, numbers.get(token, 0)) for token in tokens]


def _intersections(sides: Iterable[tuple[set[str], set[str]]]) -> dict[str, set[str]]:
    """For each token of the first side, what stands on the second side whenever it occurs."""
    always: dict[str, set[str]] = {}
    for first, second in sides:
        for token in first:
            always[token] = always[token] & second if token in always else set(second)
    return always


def _belongs(word: str, words: set[str], necessary: set[str], max_words: int) -> bool:
    """Whether a word is one of few of its symbol, and no other is the only necessary one."""
    if len(words) > max_words:
        return False
    sure = words & necessary
    return len(sure) != 1 or word in sure


def _checked(pairs: Pairs) -> list[tuple[Sequence[str], Sequence[str]]]:
    for row, pair in enumerate(pairs):
        if len(pair) != 2 or any(isinstance(side, str) for side in pair):
            raise InputError(
                f"pairs, row {row}: expected a list of source tokens and one of target tokens, "
                f"got {pair!r}"
            )
    return [(source, target) for source, target in pairs]


def _check_new(pairs: Pairs, names: Iterable[str]) -> None:
    taken = {token for pair in pairs for side in pair for token in side}
    for name in names:
        if name in taken:
            raise InputError(f"pairs: expected {name!r} to be a new token, but it occurs")
