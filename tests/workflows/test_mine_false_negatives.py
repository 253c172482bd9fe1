import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gradatim.core.errors import InputError
from gradatim.workflows.mine_false_negatives import PriorCounts, suspect_negatives


@pytest.fixture(scope="module")
def world():
    """Queries with relevant documents, of which those with the query's words are labelled."""
    random = np.random.default_rng(0)
    queries, each, size = 300, 6, 3000
    texts = [[f"w{i}" for i in random.integers(400, size=12)] for _ in range(size)]
    asked = [[f"w{i}" for i in random.integers(400, size=4)] for _ in range(queries)]
    relevant = np.stack([random.permutation(size)[:each] for _ in range(queries)])
    labelled = np.zeros((queries, each), dtype=bool)
    for query in range(queries):
        for place in range(each):
            shared = random.integers(0, 5)  # of the query's four words
            texts[relevant[query, place]][:shared] = asked[query][:shared]
            labelled[query, place] = shared >= 3
    labelled[:, 0] = True
    positives = np.where(labelled, relevant, -1)
    score = random.normal(size=(queries, size))
    np.put_along_axis(score, relevant, random.normal(3.5, 1.0, (queries, each)), axis=1)
    return [" ".join(one) for one in asked], [" ".join(one) for one in texts], positives, score, (
        relevant
    )  # fmt: skip


def estimate(world, **prior):
    asked, texts, positives, score, _ = world
    ranked = score.copy()
    for query, own in enumerate(positives):
        ranked[query, own[own >= 0]] = -np.inf
    negatives = np.argsort(-ranked, axis=1)[:, :20]
    found = suspect_negatives(
        pa.array(asked),
        pa.array(texts),
        torch.from_numpy(positives),
        torch.from_numpy(negatives),
        np.take_along_axis(score, negatives, 1),
        lambda rows, index: np.take_along_axis(score[rows], index.clamp_min(0).numpy(), 1),
        prior=PriorCounts(**prior),
    )
    return negatives, found


def test_relevant_documents_without_a_label_are_suspected(world):
    score, relevant = world[3:]
    negatives, found = estimate(world, relevant=6.0, judged=10.0)
    truth = (negatives[:, :, None] == relevant[:, None, :]).any(2)
    doubt = found.probability
    assert ((doubt >= 0) & (doubt <= 1)).all() and 0.05 < truth.mean() < 0.3
    by_score = roc_auc_score(truth.ravel(), np.take_along_axis(score, negatives, 1).ravel())
    assert roc_auc_score(truth.ravel(), doubt.ravel()) > by_score - 0.01 > 0.8
    assert 0.5 * truth.mean() < doubt.mean() < 2.0 * truth.mean()
    assert "6 relevant and 10 judged documents a query assumed" in found.notes[0]


def test_more_relevant_documents_raise_and_more_judged_lower_the_doubt(world):
    middle, many, judged = (
        estimate(world, relevant=relevant, judged=judged)[1].probability
        for relevant, judged in ((6.0, 10.0), (60.0, 10.0), (6.0, 300.0))
    )
    assert (many > middle).all() and (judged < middle).all()
    default = estimate(world)[1]
    labelled = (world[2] >= 0).sum() / len(world[0])
    assert f"{2 * labelled:g} relevant" in default.notes[0]


def test_places_without_a_negative_are_not_doubted(world):
    asked, texts, positives, score, _ = world
    negatives = np.full((len(asked), 2), -1)
    found = suspect_negatives(
        pa.array(asked), pa.array(texts), torch.from_numpy(positives),
        torch.from_numpy(negatives), np.full(negatives.shape, -np.inf),
        lambda rows, index: np.take_along_axis(score[rows], index.clamp_min(0).numpy(), 1),
        prior=PriorCounts(),
    )  # fmt: skip
    assert (found.probability == 0).all()


@pytest.mark.parametrize("prior", [{"relevant": 0.0}, {"judged": -1.0}, {"judged": float("nan")}])
def test_counts_are_above_zero(prior):
    with pytest.raises(InputError, match="_per_query: expected a number"):
        PriorCounts(**prior)
