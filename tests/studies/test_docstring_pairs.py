"""Docstrings as search tasks: what is kept, and who is labelled."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.lexical_search import BM25, words
from gradatim.studies.data.docstring_pairs import docstring_pairs
from gradatim.studies.data.pooled_docstrings import pooled_docstrings


@pytest.fixture(scope="module")
def pairs():
    return docstring_pairs(most_files=10, longest=50)


def test_pairs_are_different_and_of_the_lengths_told(pairs):
    assert len(pairs) == len(set(pairs.queries)) > 40
    assert all(4 <= len(query.split()) <= 40 for query in pairs.queries)
    assert all(15 <= len(document.split()) <= 50 for document in pairs.documents)
    bags = [set(words(document)) for document in pairs.documents]
    for place, bag in enumerate(bags):
        for other in bags[:place]:
            assert len(bag & other) < 0.8 * len(bag | other)


def test_methods_stand_in_their_class(pairs):
    assert {scope.split("/")[0] for scope in pairs.scopes} <= {
        "matplotlib", "networkx", "numpy", "pandas", "scipy", "sklearn"
    }  # fmt: skip
    scope = dict(zip(pairs.queries, pairs.scopes, strict=True))
    assert "matplotlib/__init__.py:RcParams" in set(scope.values())
    assert any(place.endswith(".py") for place in scope.values())


def test_labels_are_what_is_relevant_in_the_pool():
    task = pooled_docstrings(110, encoder=None)
    assert task.query_vectors.shape == task.vectors.shape == (110, 32)
    labelled = task.labelled(5)
    run = BM25().fit(task.documents).search(task.queries, 100)
    torch.testing.assert_close(task.run.index, run.index)
    for row, known in enumerate(labelled.tolist()):
        members = set(task.relevant[row].tolist())
        pool = run.index[row, :5].tolist()
        assert [place for place in known if place >= 0] == [p for p in pool if p in members]


def test_what_a_pool_goes_by():
    task = pooled_docstrings(110, encoder=None)
    query = torch.tensor([3, 3, 60])
    document = task.full_run.index[query, torch.tensor([0, 7, 2])]
    found = task.lexical(query, document)
    scores = task.full_run.scores
    torch.testing.assert_close(found[:, 0], scores[query, torch.tensor([0, 7, 2])] / 10)
    torch.testing.assert_close(found[:, 2], torch.tensor([1.0, 1 / 8, 1 / 3]))
    assert found[0, 1] == 1.0
    length = np.log([1 + len(words(text)) for text in task.documents])
    expected = (length - length.mean())[document.numpy()]
    np.testing.assert_allclose(found[:, 4].numpy(), expected, atol=1e-5)


def test_a_corpus_must_hold_the_run():
    with pytest.raises(InputError, match="size: expected"):
        pooled_docstrings(60, encoder=None)
