"""From the logits of a process reward model to a score a step, and one a solution."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

AGGREGATES = ("product", "min", "mean", "last")


def aggregate_steps(
    step_scores: torch.Tensor,
    mask: torch.Tensor,
    how: str = "product",
    *,
    length_normalized: bool = False,
    logits: bool = False,
    log: bool = False,
) -> torch.Tensor:
    r"""One score a solution from the scores of its steps.

    .. math:: r = \prod_i s_i, \quad \min_i s_i, \quad \frac{1}{n} \sum_i s_i
        \quad \text{or} \quad s_n

    All is computed in logarithms. The product falls with the number of steps; its length-normalized
    form is the geometric mean :math:`(\prod_i s_i)^{1/n}`. A solution without any step has score 0
    (logarithm minus infinity), so that an empty solution never wins.

    Args:
        step_scores: s, probabilities that a step is right, shape [B, S]; or their logits.
        mask: which steps there are, booleans, shape [B, S].
        how: "product", "min", "mean" or "last".
        length_normalized: take the geometric mean instead of the product.
        logits: the scores are logits; exact where the sigmoid is no longer (below -100).
        log: return the logarithm of the score, which ranks alike and cannot underflow, as the
            product of hundreds of steps does.

    Returns:
        The score, in at least float32, shape [B]. Its gradient is finite for scores above 0, and
        for all logits.

    Raises:
        InputError: the shapes do not fit, an unknown aggregate, or one without a length-normalized
            form.

    Source: Sun et al. 2024, arXiv 2403.09472 (after Lightman et al. 2023,
    arXiv 2305.20050).

    >>> scores = torch.tensor([[0.8, 0.5, 0.0], [0.5, 0.5, 0.5]])
    >>> mask = torch.tensor([[True, True, False], [True, True, True]])
    >>> aggregate_steps(scores, mask)
    tensor([0.4000, 0.1250])
    >>> aggregate_steps(scores, mask, "min")
    tensor([0.5000, 0.5000])
    """
    check_shape("step_scores", step_scores, "B", "S")
    check_same_shape("mask", mask, "step_scores", step_scores)
    check_choice("how", how, AGGREGATES)
    if length_normalized and how != "product":
        raise InputError(f"length_normalized: expected how='product', got {how!r}")
    # One step that is not there, so that every row has a last and a smallest one.
    present = functional.pad(mask != 0, (0, 1))
    scores = functional.pad(at_least_float32(step_scores), (0, 1)).masked_fill(~present, 0.5)
    logs = functional.logsigmoid(scores) if logits else scores.log()
    count = present.sum(1)
    if how == "product":
        total = logs.masked_fill(~present, 0.0).sum(1)
        result = total / count.clamp(min=1) if length_normalized else total
    elif how == "min":
        result = logs.masked_fill(~present, torch.inf).amin(1)
    elif how == "mean":
        result = logs.masked_fill(~present, -torch.inf).logsumexp(1) - count.clamp(min=1).log()
    else:
        places = torch.arange(present.shape[1], device=present.device)
        last = (places * present).amax(1, keepdim=True)
        result = logs.gather(1, last).squeeze(1)
    result = result.masked_fill(count == 0, -torch.inf)
    return result if log else result.exp()


def last_tokens(segments: torch.Tensor, num_steps: int | None = None) -> torch.Tensor:
    """Position of the last token of every step.

    Args:
        segments: the step that each token belongs to, integers from 0 along the row, -1 for
            prompt and padding; shape [B, T].
        num_steps: S, more than any entry of ``segments``; None looks it up, for which a GPU waits.

    Returns:
        Positions, -1 where a row has no such step; integers, shape [B, S].

    Raises:
        InputError: the segments are not integers of shape [B, T], or the number is negative.

    >>> last_tokens(torch.tensor([[-1, 0, 0, 1, -1], [-1, 0, -1, -1, -1]]))
    tensor([[ 2,  3],
            [ 1, -1]])
    """
    check_shape("segments", segments, "B", "T")
    kind = segments.dtype
    if kind.is_floating_point or kind.is_complex or kind == torch.bool:
        raise InputError(f"segments: expected integers, got {kind}")
    if num_steps is None:
        num_steps = int(segments.max()) + 1 if segments.numel() else 0
    check_range("num_steps", num_steps, 0)
    if num_steps == 0:
        return segments.new_full((len(segments), 0), -1, dtype=torch.int64)
    positions = torch.arange(segments.shape[1], device=segments.device).expand(segments.shape)
    positions = positions.masked_fill(segments < 0, -1)
    ends = positions.new_full((len(segments), num_steps), -1)
    return ends.scatter_reduce(1, segments.clamp(min=0).long(), positions, "amax")


def step_logits(
    token_logits: torch.Tensor, segments: torch.Tensor, num_steps: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Read a reward model's logit at the last token of every step.

    .. math:: z_i = z_{e_i}, \qquad e_i = \max \{ t : g_t = i \}

    Args:
        token_logits: shape [B, T].
        segments: g, the step that each token belongs to, integers from 0 along the row, -1 for
            prompt and padding; shape [B, T].
        num_steps: S, more than any entry of ``segments``; None looks it up, for which a GPU waits.

    Returns:
        The logits, 0 where a row has no such step, through which gradients flow; and a mask of
        the steps that there are. Both of shape [B, S].

    Raises:
        InputError: the shapes differ, or the segments are not integers.

    Source: Sun et al. 2024, arXiv 2403.09472. The authors' code reads the first of the
    two separator tokens that close a step to re-rank, and the lowest of three to reward.

    >>> segments = torch.tensor([[-1, 0, 0, 1, -1], [-1, 0, -1, -1, -1]])
    >>> logits, mask = step_logits(torch.arange(10.0).view(2, 5), segments)
    >>> logits.tolist(), mask.tolist()
    ([[2.0, 3.0], [6.0, 0.0]], [[True, True], [True, False]])
    """
    check_same_shape("segments", segments, "token_logits", token_logits)
    ends = last_tokens(segments, num_steps)
    mask = ends >= 0
    if not ends.numel():
        return token_logits.new_zeros(ends.shape), mask
    return token_logits.gather(1, ends.clamp(min=0)).masked_fill(~mask, 0.0), mask
