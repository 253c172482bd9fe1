"""Small tables for the tests of the profile."""

import numpy as np
import pandas as pd


def numbers(rows=400, wrong=0, seed=0):
    """Three numbers and a category; the label is the sign of a sum, ``wrong`` labels are turned."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, 3))
    score = X @ [2.0, -1.0, 0.5]
    label = np.where(score > 0, "yes", "no")
    # The surest rows are turned, so that every error is plain to see.
    turned = np.argsort(-abs(score))[:wrong]
    label[turned] = np.where(label[turned] == "yes", "no", "yes")
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["kind"] = random.choice(["x", "y"], rows)
    frame["label"] = label
    frame["level"] = (abs(score) < np.median(abs(score))).astype(int) + 1
    return frame, turned


def texts(rows=120, seed=0):
    """Sentences of two topics, told apart by their words."""
    random = np.random.default_rng(seed)
    words = {
        "animal": ["cat", "dog", "horse", "runs", "fur", "paw", "tail"],
        "food": ["bread", "soup", "salt", "bakes", "oven", "sweet", "dish"],
    }
    shared = ["the", "a", "with", "and", "old", "new", "very", "quite"]
    found = []
    for row in range(rows):
        topic = ("animal", "food")[row % 2]
        own = random.choice(words[topic], random.integers(1, 4))
        filler = random.choice(shared, random.integers(2, 7))
        found.append((" ".join([*random.permutation([*own, *filler]), str(row)]), topic))
    return pd.DataFrame(found, columns=["text", "topic"])


def questions(rows=90, seed=0):
    """Questions with three options; the answer shares a word with the question."""
    random = np.random.default_rng(seed)
    names = [f"word{number}" for number in range(12)]
    found = []
    for row in range(rows):
        options = [str(one) for one in random.choice(names, 3, replace=False)]
        answer = int(random.integers(3))
        question = f"which one of these is called {options[answer]} number {row}"
        found.append((question, options, answer))
    return pd.DataFrame(found, columns=["question", "options", "answer"])
