"""Samples on chains of arithmetic, judged by evaluators and chosen among by rules."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gradatim.core.statistics import auroc
from gradatim.evaluators.rerank_curves import rerank_curve
from gradatim.evaluators.scorers import Evaluator
from gradatim.evaluators.voting import UNPARSABLE, chosen_positions
from gradatim.networks.decoder import SmallDecoder
from gradatim.studies.claims import Measurement
from gradatim.studies.data.arithmetic_chains import TOKENIZER, Chain
from gradatim.studies.data.chain_models import EASY, HARD, LEVELS, ChainLab, grades, questions

RULES = {"weighted vote": "weighted", "best-of-N": "best_of_n"}


@dataclass(frozen=True)
class ChainPool:
    """A policy's samples on the test problems, judged.

    Attributes:
        test: the problems.
        codes: the answers as integers, shape [P, N].
        right: whether the answer is right, shape [P, N].
        valid: whether the whole solution is, shape [P, N].
        scores: what each evaluator says, each of shape [P, N].
    """

    test: Sequence[Chain]
    codes: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]
    scores: Mapping[str, npt.NDArray[np.float64]]

    @classmethod
    def of(
        cls,
        lab: ChainLab,
        policy: SmallDecoder,
        test: Sequence[Chain],
        copies: int,
        evaluators: Mapping[str, Evaluator],
    ) -> "ChainPool":
        """Sample and judge."""
        responses = lab.sampled(policy, test, copies, "candidates")
        shape = (len(test), copies)
        graded = grades(test, responses)
        answers = [
            UNPARSABLE if g.answer is None else TOKENIZER.encode(g.answer)[0] for g in graded
        ]
        own = responses.log_probabilities.double().sum(dim=1).exp()
        scores = {"log-probability": own.numpy().reshape(shape)} | {
            name: evaluator(questions(test), responses).double().numpy().reshape(shape)
            for name, evaluator in evaluators.items()
        }
        return cls(
            test,
            np.array(answers).reshape(shape),
            np.array([g.correct for g in graded]).reshape(shape),
            np.array([g.valid for g in graded]).reshape(shape),
            scores,
        )

    def arms(self) -> dict[str, npt.NDArray[np.float64]]:
        """Whether each rule chooses a right answer, each of shape [P]."""
        found = {"majority": self._chosen("majority", None)}
        for name, scores in self.scores.items():
            for rule, kind in RULES.items():
                found[f"{rule}, {name}"] = self._chosen(kind, scores)
        return {**found, "oracle, pass@N": self.valid.any(axis=1).astype(float)}

    def _chosen(self, rule: str, scores: Any) -> npt.NDArray[np.float64]:
        place = chosen_positions(self.codes, scores, rule=rule)
        return np.where(place < 0, 0.0, self.right[np.arange(len(place)), place])

    def sampled(self) -> dict[str, float]:
        """Share of right answers among all samples, on easy and on hard problems."""
        levels = np.array([chain.level for chain in self.test])
        parts = {"easy": np.isin(levels, EASY), "hard": np.isin(levels, HARD)}
        return {part: float(self.right[chosen].mean()) for part, chosen in parts.items()}

    def curves(self) -> Iterator[Measurement]:
        """Accuracy on hard problems by the number of candidates."""
        hard = np.array([chain.level in HARD for chain in self.test])
        sizes = [2**k for k in range(self.codes.shape[1].bit_length())]
        drawn: list[tuple[str, str, Any]] = [
            ("majority", "majority", None),
            ("oracle, pass@N", "oracle", None),
        ]
        for name in ("ORM", "PRM"):
            drawn += [(f"{r}, {name}", kind, self.scores[name]) for r, kind in RULES.items()]
        for arm, rule, scores in drawn:
            curve = rerank_curve(
                self.codes[hard],
                None if scores is None else scores[hard],
                (self.valid if rule == "oracle" else self.right)[hard],
                sizes,
                20,
                rule=rule,
            )
            for size, value in zip(sizes, curve.mean(), strict=True):
                yield Measurement(arm, "accuracy", value, f"candidates={size}, part=hard")

    def aucs(self, suffix: str = "") -> Iterator[Measurement]:
        """How well scores tell valid solutions from invalid ones, by level."""
        levels = np.array([chain.level for chain in self.test])
        for name, scores in self.scores.items():
            values = {
                level: area(scores[levels == level].ravel(), self.valid[levels == level].ravel())
                for level in LEVELS
            }
            for level, value in values.items():
                yield Measurement(name + suffix, "auc", value, f"level={level}")
            for part, members in (("easy", EASY), ("hard", HARD)):
                mean = float(np.mean([values[level] for level in members]))
                yield Measurement(name + suffix, "auc", mean, f"part={part}")


def area(scores: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve; one half where all solutions are of one kind, as for a guess."""
    return auroc(scores, valid) if 0 < valid.mean() < 1 else 0.5
