"""MiniLM trained on mined negatives beside training on pairs alone: nDCG@10 before and after.

Queries are summaries of docstrings, documents the text that follows them. Both trainings see the
same 900 pairs in the same number of updates, with the same loss, batch size and learning rate (set
once, for both); the one on mined negatives reads half as many texts more in an update. Queries that
are tested belong to other pairs; the corpus holds the documents of all. Run with
``python benchmarks/mining/train_on_mined.py [seed ...]``; the page ``docs/mine-hard-negatives.md``
holds the table.
"""

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import gradatim
from gradatim.core.search import top_k
from gradatim.core.seeds import numpy_generator
from gradatim.core.statistics import mean_interval
from gradatim.language.sentence_encoder import locate_encoder
from gradatim.metrics.retrieval import ndcg_at
from gradatim.studies.data.docstring_pairs import docstring_pairs

DOCUMENTS, TRAINED = 3_000, 900
LONGEST_TOKENS, BATCH, RATE = 48, 32, 1e-4
UNTRAINED, PAIRS, MINED = "before", "after training on pairs", "after training on mined negatives"


def load_model() -> Any:
    """MiniLM from its package."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(locate_encoder("minilm")), device="cpu", local_files_only=True)
    model.max_seq_length = LONGEST_TOKENS
    return model


def train(model: Any, rows: Any, seed: int) -> Any:
    """As many updates as the pairs make an epoch, on in-batch negatives and the rows' own."""
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            folder,
            max_steps=math.ceil(TRAINED / BATCH),
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            warmup_steps=3,
            batch_sampler="no_duplicates",
            seed=seed,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            loss=MultipleNegativesRankingLoss(model),
        ).train()
    return model.eval()


def evaluate(model: Any, queries: list[str], right: Any, documents: list[str]) -> NDArray[Any]:
    """nDCG@10 of each query, whose one right document is given by its position."""
    vectors = [
        model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        for texts in (queries, documents)
    ]
    found = top_k(*vectors, k=10)
    relevance = (found.index == torch.as_tensor(right)[:, None]).double()
    ids = torch.arange(len(queries))[:, None].expand_as(relevance)
    return ndcg_at(found.scores.ravel(), relevance.ravel(), ids.ravel(), k=10)


def run(seed: int) -> dict[str, NDArray[Any]]:
    """nDCG@10 of each held-out query, by model."""
    import datasets

    data = docstring_pairs(longest=40)
    drawn = numpy_generator(seed, "mined").permutation(len(data))[:DOCUMENTS]
    queries, documents = ([texts[i] for i in drawn] for texts in (data.queries, data.documents))
    pairs = datasets.Dataset.from_dict(
        {"query": queries[:TRAINED], "document": documents[:TRAINED]}
    )
    tested = queries[TRAINED:], np.arange(TRAINED, DOCUMENTS), documents
    torch.manual_seed(seed)
    model = load_model()
    told = {UNTRAINED: evaluate(model, *tested)}
    with tempfile.TemporaryDirectory() as folder:
        mined = gradatim.mine(
            pairs,
            corpus={"text": documents},
            model=model,
            negatives=2,
            relative_margin=0.05,
            duplicate_similarity=0.95,
            cache=folder,
        )
        path = mined.save(Path(folder) / "mined.parquet")
        rows = datasets.load_dataset(
            "parquet", data_files=str(path), split="train", cache_dir=folder
        )
        print(f"seed {seed}: {mined.sentence()}", flush=True)
        told[PAIRS] = evaluate(train(load_model(), pairs, seed), *tested)
        told[MINED] = evaluate(train(load_model(), rows, seed), *tested)
    return told


def main(seeds: list[int]) -> None:
    """Print a table: means over seeds, and paired differences to the model before training."""
    started = time.process_time()
    told = [run(seed) for seed in seeds]
    print("| MiniLM | nDCG@10 | less that before [95% interval] |\n| --- | --- | --- |")
    for name in told[0]:
        means = np.array([one[name].mean() for one in told])
        cell = ""
        if name != UNTRAINED:
            # over the queries of one seed, over seeds if there are several
            apart = [one[name] - one[UNTRAINED] for one in told]
            found = mean_interval(apart[0] if len(told) == 1 else [one.mean() for one in apart])
            cell = f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        print(f"| {name} | {means.mean():.3f} | {cell} |")
    print(f"\n{(time.process_time() - started) / 60:.1f} minutes of processor time")


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [10])
