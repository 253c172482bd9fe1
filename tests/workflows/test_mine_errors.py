import re

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.workflows.mine import mine

PAIRS = {"query": ["q0", "q1", "q2"], "answer": ["d0", "d1", "d2"]}
VECTORS = np.eye(3) + 0.1
CORPUS = {"id": ["a", "b", "c", "d"], "text": ["d0", "d1", "d2", "d3"]}
WIDER = np.eye(4)[:, :3] + 0.1


def run(pairs=PAIRS, queries=VECTORS, documents=VECTORS, **options):
    options = {"negatives": 1, "false_negatives": False} | options
    return mine(pairs, query_vectors=queries, document_vectors=documents, **options)


def changed(row, value):
    vectors = VECTORS.copy()
    vectors[row] = value
    return vectors


def test_what_is_right_is_accepted():
    assert len(run().table) == 3
    assert len(run(corpus=CORPUS, documents=WIDER).table) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": changed(1, 0.0)}, "query vectors, row 1: expected a vector with a direction"),
        ({"documents": changed(2, 0.0)}, "document vectors, row 2: expected a vector with a dir"),
        ({"documents": changed(0, np.nan)}, "document vectors, row 0: .* got nan or infinity"),
        ({"queries": changed(2, np.inf)}, "query vectors, row 2: expected finite numbers"),
        ({"queries": np.ones((3, 2))}, "query vectors: expected 3 numbers a vector .* got 2"),
        ({"queries": np.ones((4, 3))}, "query vectors: expected 3 vectors, one a row, .* got 4"),
        ({"queries": np.ones(3)}, r"query vectors: expected numbers of shape \[rows, D\]"),
        ({"documents": "none.npy"}, "document vectors: expected a .npy file that is there"),
        ({"documents": None}, "both query_vectors and document_vectors, got vectors of one kind"),
        ({"documents": None, "queries": None}, "model: expected a model, or both .* got neither"),
        ({"model": "minilm"}, "model: expected a model or ready vectors, got both"),
        ({"negatives": 3}, "corpus: expected at least 4 different documents .* got 3"),
        ({"negatives": 2, "range_min": 1}, "corpus: expected at least 4 different documents"),
        ({"negatives": 0}, "negatives: expected a number in"),
        ({"range_min": 1, "range_max": 1}, "range_max: expected at least 2"),
        ({"output_format": "pairs"}, "output_format: expected one of triplet"),
        ({"similarity": "l2"}, "similarity: expected one of cosine, dot"),
        ({"search": "fast"}, "search: expected one of exact, approximate"),
        ({"sampling": "best"}, "sampling"),
        ({"missing_positives": "drop"}, "missing_positives"),
        ({"judged_per_query": 0.0, "false_negatives": True}, "judged_per_query"),
        ({"target_recall": 0.0}, "target_recall"),
        ({"query": "question"}, "expected a column 'question', got the columns query, answer"),
        ({"positive": "query", "query": "query"}, "expected two columns"),
        ({"pairs": {"query": ["a"]}}, "expected two columns, the query's and the positive's"),
        ({"pairs": {"q": [], "a": []}}, "holds no rows"),
        ({"pairs": {"q": ["a", None], "a": ["b", "c"]}}, "row 1, column 'q': expected a text"),
        ({"pairs": {"q": ["a", "b"], "a": [["x"], []]}}, "row 1, column 'a': .* got none"),
        ({"pairs": {"q": [1, 2], "a": ["x", "y"]}}, "column 'q': expected texts, got int64"),
        ({"pairs": {"q": ["1"], "negative": ["y"]} | {}}, "corpus: expected at least 2"),
        (
            {"pairs": {"query": PAIRS["query"], "negative": PAIRS["answer"]}},
            "column 'negative': expected another name",
        ),
    ],
)
def test_bad_input_gets_one_clear_error(options, message):
    with pytest.raises(InputError, match=message) as caught:
        run(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pairs", "corpus", "message"),
    [
        (
            PAIRS,
            {**CORPUS, "id": ["a", "b", "a", "d"]},
            "row 2, column 'id': expected different ids, but 'a' stands in row 0 already",
        ),
        (
            {**PAIRS, "answer": ["d0", "lost", "lost too"]},
            CORPUS,
            r"row 1, column 'answer': expected an id or a text .* got 'lost' \(and 1 more row\)",
        ),
        (
            {**PAIRS, "answer": ["a", "b", "z"]},
            CORPUS,
            "row 2, column 'answer': expected an id or a text .* got 'z'",
        ),
        (PAIRS, {"id": CORPUS["id"]}, "expected a column of texts"),
        (PAIRS, {"text": ["d0", None, "d2", "d3"]}, "row 1, column 'text': expected a text"),
        (PAIRS, {**CORPUS, "id": ["a", None, "c", "d"]}, "row 1, column 'id': expected an id"),
        ({**PAIRS, "answer": [1, 2, 3]}, {"text": CORPUS["text"]}, "expected a column of ids"),
    ],
)
def test_a_corpus_that_does_not_fit(pairs, corpus, message):
    with pytest.raises(InputError, match=message):
        run(pairs, corpus=corpus, documents=WIDER)


def test_positives_are_added_where_that_is_wanted(tmp_path):
    from tests.workflows.test_mine import Stub

    pairs = {**PAIRS, "answer": ["d0", "lost", "d2"]}
    texts = [*PAIRS["query"], *CORPUS["text"], "lost"]
    model = Stub({text: np.eye(3)[i % 3] + 0.1 * i for i, text in enumerate(texts)})
    options = {"corpus": CORPUS, "negatives": 1, "false_negatives": False, "cache": tmp_path}
    with pytest.raises(InputError, match="missing_positives='add' adds texts"):
        mine(pairs, model=model, **options)
    result = mine(pairs, model=model, missing_positives="add", **options)
    assert "positives added to the corpus: 1" in result.notes
    assert result.counts.documents == 5 and "lost" in result.rows["answer"].tolist()
    with pytest.raises(InputError, match="document vectors: expected no positives beside"):
        run(pairs, corpus=CORPUS, documents=WIDER, missing_positives="add")


def test_no_valid_negative_left_names_the_query_and_why():
    with pytest.raises(InputError, match=re.escape("query 'q0': expected 1 valid negative, got 0")):
        run(max_score=0.0, min_score=0.5)
    with pytest.raises(InputError, match=r"2 max_score.*of 3 such queries the first"):
        run(max_score=0.0)
    near = changed(1, [0.9, 0.9, 0.1])
    near[2] = [0.9, 0.1, 1.0]
    options = {"max_score": 0.3, "documents": near}
    result = run(**options)
    assert len(result.table) == 2 and result.short["query"].tolist() == ["q0"]
    assert "queries with fewer than 1 negative: 1, with none: 1" in result.notes
    assert result.short["why"][0] == "of 3 candidates passed over 2 max_score, 1 positive"
    with pytest.raises(InputError, match="query 'q0': expected 1 valid negative, got 0"):
        run(**options, require_all=True)
    with pytest.raises(InputError, match="n-tuple: expected a query with all 2 negatives"):
        run(**{**options, "max_score": 0.195}, negatives=2, output_format="n-tuple")


def test_zeros_are_vectors_where_a_score_is_a_product():
    assert len(run(documents=changed(2, 0.0), similarity="dot").table) == 3


def test_models_that_are_none(tmp_path):
    with pytest.raises(InputError, match="encoder: expected minilm or a directory"):
        mine(PAIRS, model="nothing", negatives=1)
    with pytest.raises(InputError, match=r"model: expected a directory, .* got int"):
        mine(PAIRS, model=3, negatives=1)
    with pytest.raises(InputError, match="cross_encoder: expected the directory"):
        run(cross_encoder=tmp_path)
    with pytest.raises(InputError, match="cross_encoder: expected a directory or a CrossEnc"):
        run(cross_encoder=3)

    class Wrong:
        def __init__(self, found):
            self.found = found

        def predict(self, pairs, **_):
            return self.found(len(pairs))

    with pytest.raises(InputError, match="cross_encoder: expected one score a pair"):
        run(cross_encoder=Wrong(lambda n: np.ones((n, 3))))
    with pytest.raises(InputError, match="cross_encoder: expected finite scores, got nan for"):
        run(cross_encoder=Wrong(lambda n: np.full(n, np.nan)))


def test_a_file_of_vectors_is_mapped_and_checked(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS.astype(np.float16))
    assert len(run(documents=str(tmp_path / "v.npy")).table) == 3
    (tmp_path / "w.npy").write_bytes(b"no numbers")
    with pytest.raises(InputError, match=r"w\.npy is no \.npy file of numbers"):
        run(documents=tmp_path / "w.npy")
