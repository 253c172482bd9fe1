"""Language models and answer verifiers in the form that rejection sampling calls."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core.seeds import derive_seed
from gradatim.evaluators.answers import extract_answer
from gradatim.evaluators.problem_verifiers import Verifier
from gradatim.language.causal_lm import CausalLM
from gradatim.language.problems import Problem
from gradatim.language.sampling import sample


@dataclass
class LanguageGenerator:
    """Samples responses of a language model, each call with a seed of its own.

    Attributes:
        model: any :class:`~gradatim.language.causal_lm.CausalLM`; it is put into evaluation mode.
        encode: from a prompt to token ids.
        decode: from the new tokens of a response to what the verifier reads.
        longest: new tokens at most.
        stop: tokens that end a response; they are part of it.
        temperature: of the softmax, above 0.
        top_k: sample among the k likeliest tokens only.
        top_p: sample among the likeliest tokens whose probabilities first reach p.
        batch_rows: rows decoded at once.
        seed: what the draws depend on, with the number of the call.

    >>> from gradatim.language.characters import CharacterTokenizer
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> tokenizer = CharacterTokenizer("ab")
    >>> model = SmallDecoder(len(tokenizer), hidden_size=8, layers=1, heads=2)
    >>> generate = LanguageGenerator(model, tokenizer.encode, tokenizer.decode, longest=3)
    >>> [len(responses) for responses in generate(["a", "ab"], 4)]
    [4, 4]
    """

    model: CausalLM
    encode: Callable[[Any], Sequence[int]]
    decode: Callable[[list[int]], Any]
    longest: int = 256
    stop: Collection[int] = ()
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    batch_rows: int = 256
    seed: int = 0
    _call: int = 0

    def reseed(self, call: int) -> None:
        """Draw what belongs to this call; see :class:`~.rejection_sampling.Reseedable`."""
        self._call = call

    def __call__(self, prompts: Sequence[Any], n: int) -> list[list[Any]]:
        """Sample n responses to each prompt."""
        self.model.eval()
        responses = sample(
            self.model,
            [self.encode(prompt) for prompt in prompts],
            copies=n,
            longest=self.longest,
            stop=self.stop,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            batch_rows=self.batch_rows,
            seed=derive_seed(self.seed, "rejection sampling", self._call),
        )
        self._call += 1
        rows = [self.decode(tokens) for tokens in responses.lists()]
        return [rows[first : first + n] for first in range(0, len(rows), n)]


def answer_verify(
    verifier: Verifier, *, last_number: bool = False
) -> Callable[[Problem, str], bool]:
    r"""A verifier of answers as ``verify(problem, response)``, which reads whole responses.

    Args:
        verifier: decides whether answers to a problem are right, such as
            :class:`~gradatim.evaluators.problem_verifiers.ReferenceVerifier`.
        last_number: as in :func:`~gradatim.evaluators.answers.extract_answer`.

    >>> from gradatim.evaluators.problem_verifiers import ReferenceVerifier
    >>> verify = answer_verify(ReferenceVerifier())
    >>> verify(Problem("1/4 + 1/4?", "1/2", 1), r"That is \boxed{0.5}.")
    True
    """

    def verify(problem: Problem, response: str) -> bool:
        answer = extract_answer(response, last_number=last_number)
        return bool(verifier.matches(problem, [answer])[0])

    return verify
