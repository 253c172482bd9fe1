import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.difficulty.label_errors import confident_label_errors
from gradatim.difficulty.text_length import character_count, solution_steps, word_count


def test_lengths():
    texts = ["", "a b", " tab\tand\nline "]
    assert word_count(texts).tolist() == [0, 2, 3]
    assert character_count(texts).tolist() == [0, 3, 14]
    assert solution_steps(["", "one\n\ntwo\n", "x"]).tolist() == [0, 2, 1]
    with pytest.raises(InputError, match="texts, row 1: expected text, got NoneType"):
        word_count(["a", None])


def test_label_errors_by_brute_force():
    p = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)).double().softmax(1).numpy()
    y = np.arange(60) % 3
    threshold = [p[y == c, c].mean() for c in range(3)]
    expected = []
    for row in range(60):
        reached = {c: p[row, c] for c in range(3) if p[row, c] >= threshold[c]}
        expected.append(bool(reached) and max(reached, key=reached.get) != y[row])
    found = confident_label_errors(torch.from_numpy(p), torch.from_numpy(y))
    assert found.tolist() == expected and 0 < sum(expected) < 60


def test_planted_errors_are_found_and_right_labels_left_alone():
    y = torch.arange(100) % 2
    p = torch.nn.functional.one_hot(y, 2) * 0.8 + 0.1
    given = y.clone()
    given[:10] = 1 - given[:10]
    found = confident_label_errors(p, given)
    assert found[:10].all() and not found[10:].any()


def test_a_class_without_examples_is_never_predicted():
    p = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.2, 0.2], [0.2, 0.5, 0.3]])
    found = confident_label_errors(p, torch.tensor([0, 0, 1]))
    assert found.tolist() == [False, False, False]
    with pytest.raises(InputError, match="labels: expected classes from 0 to 2, got 0 to 3"):
        confident_label_errors(p, torch.tensor([0, 0, 3]))
