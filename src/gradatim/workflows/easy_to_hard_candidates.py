"""Sampled solutions of problems, kept shard by shard, so that a run that was ended goes on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradatim.core.cache import content_hash
from gradatim.core.files import atomic_path, storage_error
from gradatim.core.seeds import derive_seed
from gradatim.language.loading import LanguageModel
from gradatim.language.prompts import cut_tokens
from gradatim.language.sampling import sample

Progress = Callable[[str, int, int], None]
"""Is told a phase, how many parts of it are done, and how many there are."""


@dataclass(frozen=True)
class Sampling:
    """How solutions are sampled.

    Attributes:
        copies: solutions of each problem.
        longest: tokens of a solution at most.
        temperature: of the softmax; 0 takes the likeliest token.
        top_p: as in :func:`~gradatim.language.sampling.sample`.
        batch_rows: rows decoded at once.
        seed: what the draws depend on.
    """

    copies: int = 8
    longest: int = 256
    temperature: float = 0.7
    top_p: float | None = None
    batch_rows: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Solution:
    """One sampled solution.

    Attributes:
        prompt: position of the prompt that it answers.
        tokens: its tokens, up to where the model goes on to another problem.
        text: the same as text.
        log_probability: the model's, summed over these tokens.
        finished: whether it came to an end by itself.
    """

    prompt: int
    tokens: list[int]
    text: str
    log_probability: float
    finished: bool


class SolutionSampler:
    """Samples solutions with one model, and keeps them.

    Args:
        loaded: the model and its tokenizer.
        folder: where shards are kept, by the hash of all that they depend on.
        model_key: a hash of the model.
        end_marker: as in :class:`~gradatim.language.prompts.PromptSet`.
        shard_rows: solutions that are lost at most if a run is ended.
        progress: is told of each shard.
    """

    def __init__(
        self,
        loaded: LanguageModel,
        folder: Path,
        model_key: str,
        *,
        end_marker: str | None = None,
        shard_rows: int = 256,
        progress: Progress | None = None,
    ) -> None:
        self.loaded, self.folder, self.model_key = loaded, folder, model_key
        self.end_marker, self.shard_rows = end_marker, shard_rows
        self.progress = progress or (lambda phase, done, parts: None)

    def sample(self, phase: str, prompts: Sequence[Sequence[int]], how: Sampling) -> list[Solution]:
        """Solutions of all prompts, those of one prompt side by side.

        Raises:
            InputError: as :func:`~gradatim.language.sampling.sample`.
            StorageError: a shard cannot be written or read.
        """
        width = max(1, self.shard_rows // how.copies)
        starts = range(0, len(prompts), width)
        found: list[Solution] = []
        for number, start in enumerate(starts):
            part = [list(prompt) for prompt in prompts[start : start + width]]
            shard = self._shard(part, how, number)
            found += [replace(one, prompt=one.prompt + start) for one in shard]
            self.progress(phase, number + 1, len(starts))
        return found

    def _shard(self, prompts: list[list[int]], how: Sampling, number: int) -> list[Solution]:
        settings = json.dumps([asdict(how), number, self.end_marker], sort_keys=True)
        key = content_hash([json.dumps(prompts), self.model_key, settings])
        path = self.folder / "solutions" / f"{key}.parquet"
        if path.exists():
            try:
                return [Solution(**row) for row in pq.read_table(path).to_pylist()]
            except OSError as error:
                raise storage_error("reading", path, error) from error
        solutions = self._sampled(prompts, how, number)
        rows = [vars(solution) for solution in solutions]
        with atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary)
        return solutions

    def _sampled(self, prompts: list[list[int]], how: Sampling, number: int) -> list[Solution]:
        responses = sample(
            self.loaded.model,
            prompts,
            copies=how.copies,
            longest=how.longest,
            stop=self.loaded.stop,
            temperature=how.temperature,
            top_p=how.top_p,
            batch_rows=how.batch_rows,
            seed=derive_seed(how.seed, "shard", number),
        )
        tokenizer, found = self.loaded.tokenizer, []
        for row, tokens in enumerate(responses.lists()):
            count = cut_tokens(tokenizer, tokens, self.end_marker)
            kept = tokens[:count]
            found.append(
                Solution(
                    prompt=int(responses.prompt[row]),
                    tokens=kept,
                    text=tokenizer.decode(kept, skip_special_tokens=True),
                    log_probability=float(responses.log_probabilities[row, :count].sum()),
                    finished=bool(responses.finished[row]) or count < len(tokens),
                )
            )
        return found


_SCHEMA = pa.schema(
    [
        ("prompt", pa.int64()),
        ("tokens", pa.list_(pa.int64())),
        ("text", pa.string()),
        ("log_probability", pa.float64()),
        ("finished", pa.bool_()),
    ]
)
