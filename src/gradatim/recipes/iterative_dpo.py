"""Iterative preference optimization: pairs of the policy's own responses, round by round."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed
from gradatim.curriculum.orders import as_values
from gradatim.evaluators.scorers import Prompts
from gradatim.language.causal_lm import CausalLM, without_wrapper
from gradatim.language.log_probabilities import (
    sequence_log_probabilities,
    token_log_probabilities,
)
from gradatim.language.reading import read_responses
from gradatim.language.response_examples import PreferenceExamples
from gradatim.language.sampling import Responses
from gradatim.mining.ranked_pairs import ranked_pairs
from gradatim.objectives.preference import dpo, simpo
from gradatim.recipes.policy_improvement import (
    Optimizers,
    Run,
    check_clip_norm,
    checkpoint_interval,
    group_ranks,
)
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State


class PreferenceTuning:
    """Direct preference optimization on pairs of responses, ready for ``fit``.

    Batches are those of :class:`gradatim.language.response_examples.PreferenceExamples`, with the
    columns ``chosen_reference`` and ``rejected_reference``: log-probabilities under the reference.
    "simpo" has no reference and reads no such columns. Where the model's output layer is a linear
    map, both sides of a batch are read together.

    Args:
        beta: strength of the pull to the reference; for "simpo" the scale of the rewards, which
            its source sets to 2 and more.
        variant: "dpo", "ipo" or "simpo".
        label_smoothing: share of pairs that are taken to be the wrong way round; not for "ipo".
        target_margin: the difference of rewards that "simpo" aims at; None takes half of beta.
        chunk_tokens: tokens whose logits are held at once at most.

    Raises:
        InputError: an unknown variant, a number outside its range, or an argument of another
            variant.

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> pairs = PreferenceExamples([[5]], as_responses([[6, 7]]), as_responses([[8]]))
    >>> tuning = PreferenceTuning(2.0, variant="simpo")
    >>> adam = torch.optim.Adam(model.parameters(), 0.01)
    >>> fit(model, pairs, tuning.step, optimizer=adam, steps=3).step
    3
    """

    def __init__(
        self,
        beta: float = 0.1,
        *,
        variant: str = "dpo",
        label_smoothing: float = 0.0,
        target_margin: float | None = None,
        chunk_tokens: int = 4096,
    ) -> None:
        check_range("beta", beta, 0, open_low=True)
        check_choice("variant", variant, ("dpo", "ipo", "simpo"))
        check_range("label_smoothing", label_smoothing, 0, 0.5)
        check_range("chunk_tokens", chunk_tokens, 1)
        if target_margin is not None:
            check_range("target_margin", target_margin, 0)
            if variant != "simpo":
                raise InputError(f"target_margin: expected None for variant {variant!r}")
        self.beta, self.variant, self.label_smoothing = beta, variant, label_smoothing
        self.target_margin = beta / 2 if target_margin is None else target_margin
        self.chunk_tokens = chunk_tokens

    def step(self, model: CausalLM, batch: Mapping[str, Any], state: State) -> Loss:
        """The loss of each pair."""
        chosen, rejected = self._log_probabilities(model, batch)
        if self.variant == "simpo":
            lengths = tuple(batch[f"{side}_response"].sum(dim=1) for side in _SIDES)
            losses = simpo(
                chosen,
                rejected,
                *lengths,
                beta=self.beta,
                target_margin=self.target_margin,
                label_smoothing=self.label_smoothing,
                reduction="none",
            )
            preferred = chosen / lengths[0] > rejected / lengths[1]
            return Loss.of(losses, preferred=preferred.float())
        losses = dpo(
            chosen,
            rejected,
            batch["chosen_reference"],
            batch["rejected_reference"],
            beta=self.beta,
            variant=self.variant,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return Loss.of(losses, preferred=(chosen > rejected).float())

    def _log_probabilities(
        self, model: CausalLM, batch: Mapping[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of chosen and of rejected responses, [B] each."""
        columns = ("ids", "mask", "response")
        if without_wrapper(model).linear_output() is not None:  # its gradient is made once for both
            joined = sequence_log_probabilities(
                model, *(_both(batch, name) for name in columns), chunk_tokens=self.chunk_tokens
            )
            chosen, rejected = joined.chunk(2)
            return chosen, rejected
        chosen, rejected = (
            sequence_log_probabilities(
                model,
                *(batch[f"{side}_{name}"] for name in columns),
                chunk_tokens=self.chunk_tokens,
            )
            for side in _SIDES
        )
        return chosen, rejected


def _both(batch: Mapping[str, Any], name: str) -> torch.Tensor:
    """A column of tokens of chosen and then of rejected responses, padded to one width."""
    sides = [batch[f"{side}_{name}"] for side in _SIDES]
    width = max(side.shape[1] for side in sides)
    return torch.cat([functional.pad(side, (0, width - side.shape[1])) for side in sides])


_SIDES = ("chosen", "rejected")


def referenced_pairs(
    reference: CausalLM,
    prompts: Prompts,
    chosen: Responses,
    rejected: Responses,
    *,
    dtype: torch.dtype | None = None,
) -> PreferenceExamples:
    """Pairs with their log-probabilities under a reference, which need not be kept after that.

    Args:
        reference: the language model; it is read in evaluation mode and left as it is.
        prompts: token ids of each prompt.
        chosen: the preferred responses.
        rejected: the others, in the same order.
        dtype: precision that is read in: that of training, or the two will not be comparable;
            None takes :func:`gradatim.core.precision.default_dtype`.

    Returns:
        The pairs, with the columns ``chosen_reference`` and ``rejected_reference``, which
        :class:`PreferenceTuning` reads.

    Raises:
        InputError: as for :class:`gradatim.language.response_examples.PreferenceExamples`.

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> pairs = referenced_pairs(model, [[5]], as_responses([[6, 7]]), as_responses([[8]]))
    >>> pairs.rows["chosen_reference"].shape
    torch.Size([1])
    """
    read = partial(token_log_probabilities, reference)
    logs = {
        f"{side}_reference": read_responses(reference, read, prompts, some, dtype=dtype).sum(dim=1)
        for side, some in zip(_SIDES, (chosen, rejected), strict=True)
    }
    return PreferenceExamples(prompts, chosen, rejected, rows=logs)


def rated_pairs(
    responses: Responses,
    ratings: torch.Tensor,
    *,
    mode: str = "best_vs_rest",
    min_gap: float = 0.0,
) -> tuple[Responses, Responses, torch.Tensor]:
    """Pair better with worse responses to the same prompt, whose numbers may differ.

    Args:
        responses: several to each prompt.
        ratings: higher = better, shape [R].
        mode: as for :func:`gradatim.mining.ranked_pairs.ranked_pairs`.
        min_gap: the smallest difference of ratings that a pair must have.

    Returns:
        The preferred responses, the others, and the difference of their ratings, shape [P].

    Raises:
        InputError: a rating that is not finite, or as for ``ranked_pairs``.

    >>> from gradatim.language.sampling import as_responses
    >>> three = as_responses([[5], [6], [7]]).select(torch.tensor([0, 1, 2]))
    >>> same = Responses(torch.zeros(3, dtype=torch.long), three.tokens, three.lengths,
    ...                  three.log_probabilities, three.finished)
    >>> chosen, rejected, gap = rated_pairs(same, torch.tensor([1.0, 3.0, 2.0]))
    >>> chosen.lists(), rejected.lists(), gap.tolist()
    ([[6], [6]], [[5], [7]], [2.0, 1.0])
    """
    values = torch.from_numpy(as_values("ratings", ratings).astype(np.float64))
    check_same_length(responses=responses, ratings=values)
    groups, row = responses.prompt.cpu(), torch.arange(len(values))
    prompts, group = torch.unique(groups, return_inverse=True)
    place = group_ranks(group, -row.double())
    width = int(place.max()) + 1 if len(place) else 0
    table = values.new_full((len(prompts), width), torch.nan)
    rows = torch.full(table.shape, -1)
    table[group, place], rows[group, place] = values, row
    pairs = ranked_pairs(table, mode=mode, min_gap=min_gap)
    chosen, rejected = pairs.of(rows)
    return responses.select(chosen), responses.select(rejected), pairs.gap


@dataclass
class IterativeDPO:
    r"""Each round: sample, pair good with bad responses, prefer the good ones.

    Where answers are available the chosen response is right and the rejected one is wrong, the
    best-scored of the right ones against the worst-scored of the wrong ones; where they are not,
    they are the best- and the worst-scored ones, if their scores differ by ``gap``. The reference
    of a round is the policy at its beginning.

    Args:
        rounds: how often.
        pairs: pairs of a problem at most.
        gap: difference of scores that a pair without verified answers needs.
        beta: strength of the pull to the reference.
        variant: "dpo" or "ipo".
        steps: updates of a round.
        batch_size: pairs in an update.
        optimizer: from the policy's parameters to an optimizer.
        clip_norm: largest norm of the gradients; None does not clip.

    Raises:
        InputError: an unknown variant, or a number outside its range.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.3; Rafailov et al. 2023,
    arXiv 2305.18290; Azar et al. 2023, arXiv 2310.12036 (IPO).

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.recipes.policy_improvement import Sampling
    >>> some = as_responses([[5]] * 3).select(torch.tensor([0, 0, 0]))  # all to one problem
    >>> scores, unknown = torch.tensor([0.2, 0.9, 0.7]), torch.full((3,), torch.nan)
    >>> run = Run(None, lambda *_: scores, [[1]], lambda _: unknown, Sampling())
    >>> IterativeDPO().choose(run, some)[0]  # rows of the chosen and of the rejected response
    tensor([[1, 0]])
    """

    rounds: int = 2
    pairs: int = 2
    gap: float = 0.3
    beta: float = 0.1
    variant: str = "dpo"
    steps: int = 200
    batch_size: int = 32
    optimizer: Optimizers = field(default=lambda parameters: torch.optim.AdamW(parameters, 1e-6))
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("rounds", "pairs", "steps", "batch_size"):
            check_range(name, getattr(self, name), 1)
        check_range("gap", self.gap, 0)
        check_clip_norm(self.clip_norm)
        PreferenceTuning(self.beta, variant=self.variant)

    def begin(self, run: Run) -> None:
        """Nothing lasts over rounds but the policy."""

    def state_dict(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""

    def improve(self, run: Run, number: int) -> dict[str, float]:
        """One round; see :class:`gradatim.recipes.policy_improvement.Method`."""
        responses = run.sample(run.prompts, number)
        pairs, figures = self.choose(run, responses)
        chosen, rejected = (responses.select(rows) for rows in pairs.T)
        examples = referenced_pairs(
            run.policy, run.prompts, chosen, rejected, dtype=run.reading_dtype()
        )
        result = fit(
            run.policy,
            examples,
            PreferenceTuning(self.beta, variant=self.variant).step,
            optimizer=self.optimizer(list(run.policy.parameters())),
            steps=self.steps,
            batch_size=self.batch_size,
            clip_norm=self.clip_norm,
            precision=run.training_precision(),
            checkpoint=run.round_folder(number),
            checkpoint_every=checkpoint_interval(self.steps),
            seed=derive_seed(run.seed, "preferences", number),
            progress_bar=False,
        )
        return {**figures, "preferred": float(result.history[-1]["preferred"])}

    def choose(self, run: Run, responses: Responses) -> tuple[torch.Tensor, dict[str, float]]:
        """Rows of chosen and rejected responses, shape [pairs, 2], and figures of them.

        Raises:
            InputError: there is no pair.
        """
        correct, scores = run.correct(responses), run.scores(responses)
        known = ~correct.isnan()
        good = scores.masked_fill(known & (correct != 1), -torch.inf)
        bad = (-scores).masked_fill(known & (correct == 1), -torch.inf)
        best, worst = (group_ranks(responses.prompt, one) for one in (good, bad))
        found = []
        for rank in range(self.pairs):
            first = _row_of_rank(responses.prompt, best, rank, len(run.prompts))
            second = _row_of_rank(responses.prompt, worst, rank, len(run.prompts))
            there = (first >= 0) & (second >= 0)
            first, second = first[there], second[there]
            usable = good[first].isfinite() & bad[second].isfinite()
            apart = (scores[first] - scores[second] >= self.gap) & (first != second)
            usable &= (known[first] & known[second]) | apart
            found.append(torch.stack([first, second], dim=1)[usable])
        pairs = torch.cat(found)
        if not len(pairs):
            raise InputError(
                f"gap: expected at least one pair of a right and a wrong response, or of scores "
                f"that differ by {self.gap}, got none from {len(responses)} responses"
            )
        return pairs, {"pairs": float(len(pairs)), "score": float(scores.mean())}


def _row_of_rank(groups: torch.Tensor, ranks: torch.Tensor, rank: int, count: int) -> torch.Tensor:
    """The row that has a rank in each group, -1 where there is none, shape [count]."""
    rows = torch.full((count,), -1)
    chosen = (ranks == rank).nonzero()[:, 0]
    rows[groups[chosen]] = chosen
    return rows
