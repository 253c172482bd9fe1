"""Reward models: a language model that says of each token how good the solution is so far."""

from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.precision import at_least_float32
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities


class RewardModel(Protocol):
    """What is asked of a reward model, an ``nn.Module``: logits of tokens, in two stages.

    The first stage, :meth:`read`, costs a pass of the language model and does not depend on where
    the steps are; so one reading gives both the score of the steps and that of the whole.
    """

    def __call__(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> torch.Tensor:
        """Both stages.

        Args:
            ids: tokens of prompts and solutions, shape [B, T].
            mask: True where there is a token, shape [B, T].
            segments: number of each token's step, rising along a row; -1 outside the solution;
                shape [B, T].

        Returns:
            A logit for each token, float32, shape [B, T]: that of a step's last token judges the
            step.
        """
        ...

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """A number for each token, float32, shape [B, T]."""
        ...

    def judge(self, read: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """Logits from what was read, for one division into steps, shape [B, T]."""
        ...


class StepRewardModel(nn.Module):
    r"""A reward model with a linear head on the hidden states of a language model.

    .. math:: z_t = \frac{1}{K} \sum_{k=1}^{K} w_k^\top h_t

    The head starts at zero, so that every score starts at one half. One model is an outcome
    reward model, a process reward model, or both, according to the tokens that it is trained on
    (:mod:`gradatim.evaluators.reward_examples`).

    Args:
        backbone: the language model; it is trained too, unless its parameters are frozen.
        outputs: K, rows of the head, whose mean counts; the authors use two.

    Raises:
        InputError: fewer than one output.

    Source: Sun et al. 2024, arXiv 2403.09472, and the authors' code.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = StepRewardModel(SmallDecoder(10, hidden_size=8, layers=1, heads=2))
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> model(ids, ids > 0, torch.tensor([[-1, 0, 0]])).sigmoid().tolist()
    [[0.5, 0.5, 0.5]]
    """

    def __init__(self, backbone: CausalLM, *, outputs: int = 2) -> None:
        super().__init__()
        check_range("outputs", outputs, 1)
        self.backbone = backbone
        self.head = nn.Linear(backbone.hidden_size, outputs, bias=False, device=backbone.device)
        nn.init.zeros_(self.head.weight)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> torch.Tensor:
        """A logit for each token; see :class:`RewardModel`."""
        return self.judge(self.read(ids, mask), segments)

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The logits, whatever the steps; see :class:`RewardModel`."""
        hidden = self.backbone(ids, mask).to(self.head.weight.dtype)
        return at_least_float32(self.head(hidden)).mean(dim=-1)

    def judge(self, read: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """What was read, as it is; see :class:`RewardModel`."""
        check_same_shape("segments", segments, "read", read)
        return read


class LikelihoodRewardModel(nn.Module):
    r"""A reward model that reads a score off the likelihood which a language model gives a step.

    .. math:: z_t = a \sum_{u \le t,\, u \in \mathrm{step}(t)} \log p(x_u \mid x_{<u}) + b

    At a step's last token the sum runs over the whole step. The language model, a and b are all
    trained; the model starts from what the generator knows, where a linear head has to learn to
    judge from nothing. Small models judge far better in this form.

    Args:
        backbone: the language model, as a rule a copy of the generator.
        scale: a at the start.
        shift: b at the start.
        chunk_tokens: tokens whose logits are held at once.

    Raises:
        InputError: ``chunk_tokens`` below 1.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> backbone = SmallDecoder(10, hidden_size=8, layers=1, heads=2)
    >>> model = LikelihoodRewardModel(backbone, scale=1.0, shift=1.0)
    >>> read = torch.tensor([[0.0, -0.5, -0.25, -2.0]])  # log-probabilities of tokens
    >>> model.judge(read, torch.tensor([[-1, 0, 0, 1]])).tolist()
    [[1.0, 0.5, 0.25, -1.0]]
    """

    def __init__(
        self,
        backbone: CausalLM,
        *,
        scale: float = 1.0,
        shift: float = 3.0,
        chunk_tokens: int = 4096,
    ) -> None:
        super().__init__()
        check_range("chunk_tokens", chunk_tokens, 1)
        self.backbone, self.chunk_tokens = backbone, chunk_tokens
        self.scale = nn.Parameter(torch.tensor(float(scale), device=backbone.device))
        self.shift = nn.Parameter(torch.tensor(float(shift), device=backbone.device))

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> torch.Tensor:
        """A logit for each token; see :class:`RewardModel`."""
        return self.judge(self.read(ids, mask), segments)

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Log-probability of each token given those before it; see :class:`RewardModel`."""
        return token_log_probabilities(self.backbone, ids, mask, chunk_tokens=self.chunk_tokens)

    def judge(self, read: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """Logits from the log-probabilities of tokens; see :class:`RewardModel`."""
        check_shape("segments", segments, "B", "T")
        check_same_shape("read", read, "segments", segments)
        inside = segments >= 0
        # What stands outside has no part, whatever it is: a product with 0 would keep NaN.
        counted = read.masked_fill(~inside, 0.0)
        summed = counted.cumsum(dim=1)
        begins = inside & (segments != functional.pad(segments, (1, 0), value=-1)[:, :-1])
        places = torch.arange(segments.shape[1], device=segments.device)
        begin = (places * begins).cummax(dim=1).values
        before = (summed - counted).gather(1, begin).masked_fill(~inside, 0.0)
        return self.scale * (summed - before).masked_fill(~inside, 0.0) + self.shift
