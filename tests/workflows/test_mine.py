import json
import random

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import gradatim
from gradatim.core.content_ids import content_ids
from gradatim.core.errors import InputError
from gradatim.core.side_table import SideTable
from gradatim.studies.data.docstrings import docstring_summaries
from gradatim.workflows.mine import mine
from gradatim.workflows.mine_formats import FORMATS

OFF = {"false_negatives": False, "equal_texts": False}


class Stub(torch.nn.Module):
    """What ``mine_hard_negatives`` asks of a model, with ready vectors of texts."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors, self.device = vectors, torch.device("cpu")
        self.seen = []

    def encode_query(self, texts, **options):
        self.seen.append((tuple(texts), options.get("prompt")))
        return np.stack([self.vectors[text] for text in texts])

    encode_document = encode_query

    def similarity(self, one, two):
        return torch.as_tensor(np.asarray(one)) @ torch.as_tensor(np.asarray(two)).T

    def similarity_pairwise(self, one, two):
        return (torch.as_tensor(np.asarray(one)) * torch.as_tensor(np.asarray(two))).sum(1)


@pytest.fixture(scope="module")
def library():
    """Pairs of half a summary and the other half, several of which have two positives."""
    texts = [
        text for text in docstring_summaries(40, most_files=40).texts if len(text.split()) > 8
    ][:120]
    halves = [
        (" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :]))
        for words in (text.split() for text in texts)
    ]
    pairs = list(dict.fromkeys(halves + [(halves[i][0], halves[i + 1][1]) for i in (3, 3, 20)]))
    table = {"query": [a for a, _ in pairs], "answer": [b for _, b in pairs]}
    random = np.random.default_rng(0)
    words = {}

    def vector(text):
        parts = [words.setdefault(word, random.normal(size=24)) for word in text.lower().split()]
        found = np.sum(parts, axis=0) + 0.01 * random.normal(size=24)
        return (found / np.linalg.norm(found)).astype(np.float32)

    vectors = {text: vector(text) for pair in pairs for text in pair}
    extra = {f"extra document {i}": vector(f"extra document {i}") for i in range(30)}
    return table, vectors | extra, list(extra)


def ready(table, vectors, corpus=None):
    return {
        "query_vectors": np.stack([vectors[text] for text in table["query"]]),
        "document_vectors": np.stack([vectors[text] for text in corpus or table["answer"]]),
    }


def peer(table, vectors, **options):
    from sentence_transformers.util import mine_hard_negatives

    return mine_hard_negatives(
        datasets.Dataset.from_dict(table), Stub(vectors), verbose=False, **options
    )


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"range_min": 2, "num_negatives": 4},
        {"relative_margin": 0.05, "range_max": 20},
        {"absolute_margin": 0.1, "max_score": 0.6, "min_score": 0.05, "num_negatives": 5},
        {"relative_margin": 0.3, "range_min": 3, "range_max": 12, "num_negatives": 6},
    ],
)
def test_rows_are_those_of_sentence_transformers(library, output_format, scores, options):
    table, vectors, _ = library
    theirs = peer(table, vectors, output_format=output_format, output_scores=scores, **options)
    negatives = options.pop("num_negatives", 3)
    ours = mine(
        table, **ready(table, vectors), **OFF, **options, negatives=negatives,
        output_format=output_format, output_scores=scores,
    )  # fmt: skip
    options["num_negatives"] = negatives
    assert ours.dataset().column_names == theirs.column_names and len(ours.table) == len(theirs)
    for name in theirs.column_names:
        mine_, theirs_ = ours.dataset()[name][:], theirs[name][:]
        if name in ("score", "scores"):
            flat = [np.concatenate([np.ravel(one) for one in many]) for many in (mine_, theirs_)]
            np.testing.assert_allclose(*flat, atol=1e-6)
        else:
            assert mine_ == theirs_


def test_a_corpus_with_more_documents_and_a_cross_encoder(library):
    table, vectors, extra = library

    class CrossEncoder:
        def predict(self, pairs, convert_to_tensor=False, **_):
            found = [random.Random(a + b).random() for a, b in pairs]
            return torch.tensor(found) if convert_to_tensor else np.array(found)

    corpus = [*extra, *dict.fromkeys(table["answer"])]
    options = {"max_score": 0.9, "relative_margin": 0.01, "output_scores": True}
    theirs = peer(table, vectors, corpus=extra, cross_encoder=CrossEncoder(), **options)
    ours = mine(
        table, corpus={"text": corpus}, cross_encoder=CrossEncoder(),
        **ready(table, vectors, corpus), **OFF, **options,
    )  # fmt: skip
    assert ours.rows["negative"].tolist() == theirs["negative"][:]
    assert any(text in extra for text in ours.rows["negative"])
    np.testing.assert_allclose(
        np.stack(ours.rows["scores"].tolist()), np.array(theirs["scores"][:]), atol=1e-6
    )


def test_ids_texts_lists_and_repeated_rows_mean_the_same(library):
    table, vectors, _ = library
    plain = mine(table, **ready(table, vectors), **OFF)
    documents = list(dict.fromkeys(table["answer"]))
    asked = list(dict.fromkeys(table["query"]))
    corpus = pd.DataFrame({"_id": range(100, 100 + len(documents)), "text": documents})
    queries = pd.DataFrame({"query_id": [f"q{i}" for i in range(len(asked))], "query": asked})
    own = {
        "query_vectors": np.stack([vectors[text] for text in asked]),
        "document_vectors": torch.tensor(np.stack([vectors[text] for text in documents])),
    }
    by_id = {
        "qid": [f"q{asked.index(one)}" for one in table["query"]],
        "docid": [100 + documents.index(one) for one in table["answer"]],
    }
    one = mine(by_id, corpus=corpus, queries=queries, **own, **OFF)
    assert one.table.column_names == ["qid", "docid", "negative"]
    assert one.rows.values.tolist() == plain.rows.values.tolist()
    two = mine(table, corpus=corpus, **own, **OFF)
    lists = {"query": asked, "answer": [
        [b for a, b in zip(table["query"], table["answer"], strict=True) if a == query]
        for query in asked
    ]}  # fmt: skip
    three = mine(lists, corpus=corpus, **own, **OFF)
    twice = {name: column + column[:9] for name, column in table.items()}
    four = mine(twice, **ready(twice, vectors), **OFF)
    for other in (two, three, four):
        assert other.table.equals(plain.table)
    assert "repeated pairs, which count once: 9" in four.notes
    doubled = pd.concat([corpus, corpus.iloc[:4].assign(_id=[1, 2, 3, 4])], ignore_index=True)
    more = {**own, "document_vectors": np.stack([vectors[text] for text in doubled["text"]])}
    five = mine(by_id, corpus=doubled, queries=queries, **more, **OFF)
    assert five.table.equals(one.table)
    assert "repeated texts in the corpus: 4" in five.notes


def test_equal_texts_near_duplicates_and_the_query_itself():
    table = {"query": ["a b", "c d"], "answer": ["Red  Fruit", "sea"]}
    corpus = ["red fruit", "Red  Fruit", "A B", "sea", "SEA", "apple", "apples"]
    axis = np.eye(4)
    vectors = [axis[0], axis[0], axis[0] + 0.1 * axis[1], axis[1], axis[1], axis[2], axis[2]]
    asked = [axis[0] + 0.5 * axis[2], axis[1] + 0.5 * axis[2]]
    options = {"query_vectors": asked, "document_vectors": vectors, "negatives": 3}
    result = mine(table, corpus={"text": corpus}, **options, false_negatives=False)
    assert result.rows["negative"].tolist() == [
        *("apple", "apples", "sea"),
        *("apple", "apples", "A B"),
    ]
    near = mine(
        table, corpus={"text": corpus}, **options, false_negatives=False,
        duplicate_similarity=0.999,
    )  # fmt: skip
    assert near.rows["negative"].tolist() == ["apple", "sea", "apple", "A B", "red fruit"]
    assert {"positive", "equal_text", "near_negative"} <= set(near.skipped["reason"])
    assert len(near.short) == 1 and "near_negative" in near.short["why"][0]


def test_an_encoder_with_prompts_is_asked_once(library, tmp_path):
    table, vectors, _ = library
    model = Stub(vectors)
    options = {"query_prompt": "ask: ", "cache": tmp_path, "dtype": "float32"}
    first = mine(table, model=model, **options, **OFF)
    assert {prompt for _, prompt in model.seen} == {"ask: ", None} and len(model.seen) == 2
    again = mine(table, model=model, **options, **OFF)
    assert again.table.equals(first.table) and len(model.seen) == 2
    assert any("query vectors taken from" in note for note in again.notes)
    assert first.table.equals(mine(table, **ready(table, vectors), **OFF).table)
    mine(table, model=model, **{**options, "query_prompt": "other: "}, **OFF)
    assert [prompt for _, prompt in model.seen[2:]] == ["other: "]


def test_a_killed_search_goes_on_where_it_ended(library, tmp_path, monkeypatch):
    import gradatim.workflows.mine_search as module

    table, vectors, _ = library
    monkeypatch.setattr(module, "BLOCK", 16)
    searched, whole = [], mine(table, **ready(table, vectors), **OFF, cache=tmp_path, negatives=2)
    real = module.top_k

    def counted(queries, *arguments, **options):
        if len(searched) == 3 and not tmp_path.joinpath("killed").exists():
            tmp_path.joinpath("killed").touch()
            raise KeyboardInterrupt
        searched.append(len(queries))
        return real(queries, *arguments, **options)

    monkeypatch.setattr(module, "top_k", counted)
    with pytest.raises(KeyboardInterrupt):
        mine(table, **ready(table, vectors), **OFF, cache=tmp_path, negatives=2)
    again = mine(table, **ready(table, vectors), **OFF, cache=tmp_path, negatives=2)
    assert again.table.equals(whole.table) and sum(searched) == len(set(table["query"]))
    assert not any((tmp_path / "mining").iterdir())


@pytest.mark.parametrize("sampling", ["random", "softmax"])
def test_sampled_negatives_are_seeded_and_of_the_window(library, sampling):
    table, vectors, _ = library
    options = {**ready(table, vectors), **OFF, "sampling": sampling, "range_max": 12}
    one, two = (mine(table, **options, seed=1) for _ in range(2))
    assert one.table.equals(two.table) and not one.table.equals(mine(table, **options).table)
    assert one.ranks.max() < 12 and (np.diff(one.ranks, axis=1) > 0).all()


def test_approximate_search_measures_its_recall(library):
    pytest.importorskip("faiss")
    table, vectors, _ = library
    exact = mine(table, **ready(table, vectors), **OFF)
    found = mine(table, **ready(table, vectors), **OFF, search="approximate", target_recall=1.0)
    assert found.recall == 1.0 and found.table.equals(exact.table)
    assert any(note.startswith("approximate search: 100.0%") for note in found.notes)


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_files_are_read_back_and_the_side_table_belongs_to_them(
    library, tmp_path, output_format, ending
):
    table, vectors, _ = library
    result = mine(
        table, **ready(table, vectors), output_format=output_format, negatives=2, max_score=0.7
    )
    path = result.save(tmp_path / f"mined.{ending}")
    kind = "parquet" if ending == "parquet" else "json"
    back = datasets.load_dataset(
        kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert back.column_names == result.table.column_names and len(back) == len(result.table)
    assert back.to_list() == result.table.to_pylist()
    side = SideTable.load(tmp_path / "mined.side.parquet")
    aligned = side.reindex(content_ids(back))
    np.testing.assert_allclose(aligned.column("weight"), result.beside["weight"])
    assert (aligned.column("weight") <= 1).all() and (aligned.column("weight") >= 0).all()
    assert np.isfinite(aligned.column("difficulty")).all()
    with pytest.raises(InputError, match="exists already"):
        result.save(path)
    path.unlink()
    with pytest.raises(InputError, match=r"side\.parquet: exists already"):
        result.save(path)
    result.save(path, overwrite=True)


def test_difficulty_of_a_row_is_how_near_its_negative_comes(library):
    table, vectors, _ = library
    result = mine(table, **ready(table, vectors), negatives=2, output_scores=True)
    scores = np.stack(result.rows["scores"].tolist())
    np.testing.assert_allclose(result.beside["difficulty"], scores[:, 1] - scores[:, 0], atol=1e-6)
    tuples = mine(table, **ready(table, vectors), negatives=2, output_format="n-tuple-scores")
    scores = np.stack(tuples.rows["scores"].tolist())
    hardest = scores[:, 1:].max(axis=1) - scores[:, 0]
    np.testing.assert_allclose(tuples.beside["difficulty"], hardest, atol=1e-6)
    both = [tuples.beside[f"false_negative_{number}"] for number in (1, 2)]
    np.testing.assert_allclose(tuples.beside["weight"], 1 - np.mean(both, axis=0))


def test_page_figure_and_notebook(library, tmp_path):
    table, vectors, _ = library
    result = mine(table, **ready(table, vectors), relative_margin=0.2, negatives=6, range_max=8)
    page = result.report(tmp_path / "r.html").read_text()
    assert page.count("<svg") == 1 and "<script" not in page and "Passed over" in page
    assert "Queries with fewer negatives" in page and "Relevant?" in page
    assert "too near to the positive" in result._repr_html_()
    assert len(result.figure().axes) == 2
    assert len(mine(table, **ready(table, vectors), **OFF).figure().axes) == 1
    assert result.sentence().startswith(f"{result.counts.negatives:,} negatives for ")
    assert result.scores.loc[0, "negative"] == result.counts.negatives
    assert json.dumps(result.counts.record()) and set(result.sample["kind"]) == {
        "positive", "negative",
    }  # fmt: skip
    assert gradatim.mine is mine


def test_csv_holds_texts_and_refuses_lists(library, tmp_path):
    table, vectors, _ = library
    result = mine(table, **ready(table, vectors), **OFF)
    pd.testing.assert_frame_equal(pd.read_csv(result.save(tmp_path / "m.csv")), result.rows)
    lists = mine(table, **ready(table, vectors), **OFF, output_scores=True)
    with pytest.raises(InputError):
        lists.save(tmp_path / "s.csv")
    assert pq.read_table(lists.save(tmp_path / "s.parquet")).equals(lists.table)
