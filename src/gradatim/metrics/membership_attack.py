"""Whether a classifier's outputs tell which examples it was trained on."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.checks import check_finite, check_range
from gradatim.core.errors import InputError

Probabilities = NDArray[np.floating] | torch.Tensor


def membership_attack(
    member_probs: Probabilities,
    nonmember_probs: Probabilities,
    target_probs: Probabilities,
    unseen_probs: Probabilities | None = None,
    *,
    trees: int = 100,
    seed: int = 0,
) -> float:
    """Success rate of an attacker who tells from sorted class probabilities what was trained on.

    Gradient-boosted trees learn to tell members from non-members by the class probabilities that
    the model gives, sorted, so that no class is known; both count alike, however many there are.
    The success is the share of targets that are then taken for members, or, with unseen examples,
    the mean of that share and the share of unseen examples that are not. After unlearning the
    share should be that of a model that never saw the targets; with unseen examples of the same
    kind, about one half.

    Args:
        member_probs: probabilities of examples that were trained on and remain, shape [m, C].
        nonmember_probs: of examples that were never trained on, shape [k, C].
        target_probs: of the examples that were to be forgotten, shape [n, C].
        unseen_probs: of further examples that were never trained on, shape [u, C].
        trees: how many the attacker has.
        seed: of the trees.

    Returns:
        The success rate, in [0, 1].

    Raises:
        InputError: a table that is empty, not finite, or has another number of classes; no trees.

    Source: Shen et al. 2024, arXiv 2404.00506, section 4.1; the authors' code measures with unseen
    examples. Its trees come from another library.

    >>> sure, unsure = np.tile([0.9, 0.1], (50, 1)), np.tile([0.5, 0.5], (50, 1))
    >>> membership_attack(sure, unsure, sure), membership_attack(sure, unsure, unsure)
    (1.0, 0.0)
    """
    from sklearn.ensemble import GradientBoostingClassifier

    check_range("trees", trees, 1)
    tables = {"member_probs": member_probs, "nonmember_probs": nonmember_probs}
    tables["target_probs"] = target_probs
    if unseen_probs is not None:
        tables["unseen_probs"] = unseen_probs
    members, others, targets, *unseen = _sorted_tables(tables)
    inputs = np.concatenate([members, others])
    labels = np.repeat([1, 0], [len(members), len(others)])
    weights = np.repeat([0.5 / len(members), 0.5 / len(others)], [len(members), len(others)])
    attacker = GradientBoostingClassifier(n_estimators=trees, random_state=seed % 2**32)
    attacker.fit(inputs, labels, sample_weight=weights * len(inputs))
    taken = float(attacker.predict(targets).mean())
    if not unseen:
        return taken
    return (taken + 1 - float(attacker.predict(unseen[0]).mean())) / 2


def _sorted_tables(tables: dict[str, Any]) -> list[NDArray[np.float64]]:
    """Probabilities sorted within each row, checked."""
    made: list[NDArray[np.float64]] = []
    for name, given in tables.items():
        values = given.detach().cpu().double().numpy() if torch.is_tensor(given) else given
        array = np.asarray(values, dtype=np.float64)
        classes = made[0].shape[1] if made else "C"
        if array.ndim != 2 or not len(array) or (made and array.shape[1] != classes):
            raise InputError(f"{name}: expected shape [n, {classes}], got {list(array.shape)}")
        check_finite(name, array.ravel())
        made.append(np.sort(array, axis=1))
    return made
