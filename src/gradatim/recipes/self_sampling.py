"""Learning from solutions that the model samples itself while it is trained.

Used as every recipe is, usually behind supervised tuning on the references::

    mined = SelfSampledSolutions(references, ProgramSteps(decode, split, answers))
    sampling = Sampling(copies=1, longest=100, stop=[end], temperature=0.8)
    recipe = SelfSampling(prompts, mined, sampling=sampling)
    fit(model, recipe.examples, recipe.step, optimizer=optimizer, epochs=9,
        callbacks=recipe.callbacks, stateful=recipe.stateful)
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import torch_generator
from gradatim.evaluators.scorers import Prompts
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import sequence_log_probabilities
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses, sample
from gradatim.mining.self_sampled_solutions import OUTCOMES, SelfSampledSolutions, Solution, Tokens
from gradatim.objectives.multi_solution import MODES, multi_solution_loss
from gradatim.recipes.policy_improvement import Sampling
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State, unwrap

EACH = ("update", "epoch")


class SelfSampling:
    """Samples solutions while it trains, keeps what is right, and learns all that is known.

    Before every update ``sampling.copies`` solutions of each problem of the batch are sampled from
    the present model in evaluation mode, behind a known beginning; or before every epoch those of
    all problems, which costs several times less, as many are sampled at once. What is right of
    them joins the known solutions; the loss is that of all of these
    (:func:`gradatim.objectives.multi_solution.multi_solution_loss`). Complete solutions are
    taught to end, partial ones are not; prompts are read but not learned.

    Args:
        prompts: token ids of each problem.
        solutions: what is known of the same problems; it is part of ``stateful``.
        sampling: how many samples a problem and update, how long, how warm; its only stop token
            ends a solution.
        each: when to sample, before each "update" or each "epoch".
        mode: which loss, as for the objective, as are the next five arguments.
        beta: of "beta-mml" and "mixed".
        normalize: take means over the solutions of a problem where the loss is a sum.
        by_length: bring the losses of short solutions to the longest of their problem.
        mle_weight: of "mixed".
        mml_weight: of "mixed".
        chunk_tokens: tokens whose logits are held at once.

    Raises:
        InputError: unequal numbers of problems, an option outside its range, or not exactly one
            stop token.

    Source: Ni et al. 2023, arXiv 2205.14318. The authors' code sums over the solutions, and learns
    prompts too.

    >>> from gradatim.mining.self_sampled_solutions import Step
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> from gradatim.training.fit import fit
    >>> model = SmallDecoder(6, hidden_size=8, layers=1)
    >>> def trace(problem, tokens):  # right is any solution that begins with its problem's token
    ...     return [Step((t,), t, (t == 1 + problem) if t in (1, 2) else None) for t in tokens]
    >>> mined = SelfSampledSolutions([[1], [2]], trace)
    >>> recipe = SelfSampling([[3], [4]], mined, sampling=Sampling(copies=4, longest=2, stop=[0]))
    >>> adam = torch.optim.Adam(model.parameters(), 0.01)
    >>> fit(model, recipe.examples, recipe.step, optimizer=adam, steps=3,
    ...     callbacks=recipe.callbacks, stateful=recipe.stateful).step
    3
    """

    def __init__(
        self,
        prompts: Prompts,
        solutions: SelfSampledSolutions,
        *,
        sampling: Sampling,
        each: str = "update",
        mode: str = "mle-aug",
        beta: float = 1.0,
        normalize: bool = True,
        by_length: bool = False,
        mle_weight: float = 1.0,
        mml_weight: float = 1.0,
        chunk_tokens: int = 4096,
    ) -> None:
        check_same_length(prompts=prompts, solutions=solutions)
        check_choice("each", each, EACH)
        check_choice("mode", mode, MODES)
        check_range("chunk_tokens", chunk_tokens, 1)
        if len(sampling.stop) != 1:
            raise InputError(f"sampling: expected one stop token, got {len(sampling.stop)}")
        self.prompts, self.solutions, self.sampling = prompts, solutions, sampling
        self.by_length, self.chunk_tokens = by_length, chunk_tokens
        self._loss = partial(
            multi_solution_loss,
            mode=mode,
            beta=beta,
            normalize=normalize,
            mle_weight=mle_weight,
            mml_weight=mml_weight,
        )
        self._loss(torch.zeros(0), torch.zeros(0, dtype=torch.long))  # checks the numbers
        (self._end,) = sampling.stop
        self.each = each
        self.callbacks: tuple[Callback, ...] = (_SampleAll(self),) if each == "epoch" else ()
        self.stateful: Mapping[str, Stateful] = {"solutions": solutions}

    @property
    def examples(self) -> TensorExamples:
        """The problems as examples to give to ``fit``, each a position."""
        return TensorExamples(problem=torch.arange(len(self.prompts)))

    def step(self, model: CausalLM, batch: Mapping[str, Any], state: State) -> Loss:
        """The loss summed over the problems of a batch, and the number that have a solution."""
        problems = batch["problem"].tolist()
        logs = {}
        if self.each == "update":
            outcomes = self.sample(state.unwrap(), problems, state.generator)
            count = max(1, outcomes.total())
            logs = {f"samples {name}": outcomes[name] / count for name in OUTCOMES}
        known = torch.tensor([self.solutions.sizes(problem) for problem in problems]).double()
        for name, mean in zip(("complete", "partial"), known.mean(dim=0).tolist(), strict=True):
            logs[f"known {name}"] = mean
        chosen = [self.solutions.solutions(problem, state.generator) for problem in problems]
        return Loss(self.loss(model, problems, chosen), sum(map(bool, chosen)), logs)

    def sample(
        self, model: Any, problems: Sequence[int], generator: torch.Generator
    ) -> Counter[str]:
        """Sample solutions of problems and keep what is right; returns what became of them."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return self.solutions.sample(problems, partial(self._extend, model, seed), generator)

    def loss(
        self, model: CausalLM, problems: Sequence[int], solutions: Sequence[Sequence[Solution]]
    ) -> torch.Tensor:
        """The loss of given solutions, summed over their problems.

        Args:
            model: the language model.
            problems: positions of the problems.
            solutions: those of each problem, any number.
        """
        group = [place for place, some in enumerate(solutions) for _ in some]
        if not group:
            return next(model.parameters()).sum() * 0.0
        ends = {True: (self._end,), False: ()}
        texts = [(*one.tokens, *ends[one.complete]) for some in solutions for one in some]
        prompts = [self.prompts[problem] for problem in problems]
        responses = replace(as_responses(texts), prompt=torch.tensor(group))
        rows = ResponseExamples(prompts, responses)[range(len(texts))]
        inner: Any = unwrap(model)
        columns = (rows[name].to(inner.device) for name in ("ids", "mask", "response"))
        ids, mask, response = columns
        nll = -sequence_log_probabilities(
            model, ids, mask, response, chunk_tokens=self.chunk_tokens
        )
        return self._loss(
            nll,
            torch.tensor(group, device=nll.device),
            lengths=response.sum(dim=1) if self.by_length else None,
            problems=len(problems),
            reduction="sum",
        )

    def _extend(
        self, model: CausalLM, seed: int, problems: Sequence[int], beginnings: Sequence[Tokens]
    ) -> list[list[list[int]]]:
        """Whole solutions: behind the beginnings, or from nothing where the context is short."""
        options, room = self.sampling, model.context_length
        prompts = [self.prompts[problem] for problem in problems]
        used = [
            beginning
            if room is None or len(prompt) + len(beginning) + options.longest <= room
            else ()
            for prompt, beginning in zip(prompts, beginnings, strict=True)
        ]
        with _for_sampling(model):
            responses = sample(
                model,
                [[*prompt, *begun] for prompt, begun in zip(prompts, used, strict=True)],
                copies=options.copies,
                longest=options.longest,
                stop=options.stop,
                temperature=options.temperature,
                batch_rows=options.batch_rows,
                seed=seed,
            )
        found: list[list[list[int]]] = [[] for _ in problems]
        for place, tokens in zip(responses.prompt.tolist(), responses.lists(), strict=True):
            ended = tokens[-1:] == [self._end]
            found[place].append([*used[place], *(tokens[:-1] if ended else tokens)])
        return found


class _SampleAll(Callback):
    """Samples solutions of all problems before each epoch, each process of its share."""

    def __init__(self, recipe: SelfSampling) -> None:
        self.recipe = recipe

    def epoch_start(self, state: State) -> None:
        """Sample."""
        rank, world = state.accelerator.process_index, state.accelerator.num_processes
        problems = range(len(self.recipe.prompts))[rank::world]
        generator = torch_generator(state.seed, "self-sampling", state.epoch, rank)
        self.recipe.sample(state.unwrap(), problems, generator)


@contextmanager
def _for_sampling(model: CausalLM) -> Iterator[None]:
    """Evaluation mode, and no cache of weights that were cast without gradients.

    Inside autocast some versions of torch would find such a cache again in the forward pass whose
    gradients are wanted.
    """
    kind = model.device.type
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.autocast(
            kind,
            dtype=torch.get_autocast_dtype(kind),
            enabled=torch.is_autocast_enabled(kind),
            cache_enabled=False,
        ):
            yield
    finally:
        for module in training:
            module.training = True
