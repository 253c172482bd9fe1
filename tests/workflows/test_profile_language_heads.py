"""Heads of a language model in a profile: in-context exemplars and LoRA."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

import gradatim
from gradatim.core.errors import InputError
from gradatim.evaluators.in_context import in_context_scores
from gradatim.language.loading import LanguageModel
from gradatim.language.transformers_lm import TransformersLM
from gradatim.workflows.profile_heads import choose_head, load_model
from gradatim.workflows.profile_inputs import ProfileColumns, load_table
from gradatim.workflows.profile_language_heads import (
    InContextHead,
    LoraHead,
    make_language_head,
)
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")


def language_model(length=256):
    model = TransformersLM(tiny_model(max_position_embeddings=length))
    return LanguageModel(model, character_tokenizer(), "tiny")


def sums(rows=48, seed=0):
    """Sums with two or three options; half of the rows are of either level."""
    random = np.random.default_rng(seed)
    found = []
    for row in range(rows):
        one, two = random.integers(1, 9, 2)
        wrong = [one + two + 1, one + two + 2][: 1 + row % 2]
        options = [str(number) for number in random.permutation([one + two, *wrong])]
        text = f"what is {one} + {two} in row {row}"
        found.append((text, options, options.index(str(one + two)), 1 + row // (rows // 2)))
    return pd.DataFrame(found, columns=["question", "options", "answer", "level"])


def words(rows=48):
    """Texts of two classes."""
    text = [f"row {row} is {'fur ' * 9 if row % 2 else 'oil ' * 9}" for row in range(rows)]
    classes = ["an_ox" if row % 2 else "a_pie" for row in range(rows)]
    return pd.DataFrame({"text": text, "topic": classes, "level": [1, 1, 2, 2] * (rows // 4)})


@pytest.fixture(scope="module")
def table():
    return load_table(sums(), ProfileColumns("answer", ("question",), "options", "level"))


@pytest.fixture(scope="module")
def model():
    return language_model()


OPTIONS = {
    "label": "answer",
    "options": "options",
    "level": "level",
    "measure": "level,confidence",
    "folds": 2,
    "draws": 2,
}
ROWS, QUERIES = np.arange(10), np.array([30, 41, 12])


def test_exemplars_are_training_rows_with_the_labels_that_are_given(table, model):
    head = InContextHead(table, model, 3, seed=0)
    labels = table.labels[ROWS].copy()
    labels[:] = 0  # whatever the table says
    found = head(ROWS, labels, QUERIES)
    texts = table.texts()
    candidates = {texts[row]: table.options[row][0] for row in ROWS}
    shown = head._shown(ROWS)
    assert len(shown) == len(set(shown.tolist())) == 3
    exemplars = [(texts[ROWS[place]], candidates[texts[ROWS[place]]]) for place in shown]
    expected = in_context_scores(
        model.model,
        model.tokenizer,
        [texts[row] for row in QUERIES],
        [table.options[row] for row in QUERIES],
        exemplars,
    ).values
    expected = softmax(expected / head.temperature, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.shape == (3, 3) and (found[[0, 2], 2] == 0).all() and head.notes == ()
    other = head(ROWS + 1, labels, QUERIES)
    assert abs(other - found).max() > 1e-6


def test_without_exemplars_all_is_zero_shot(table, model):
    head = InContextHead(table, model, 0, seed=0)
    np.testing.assert_array_equal(head(ROWS, table.labels[ROWS], QUERIES), head.zero_shot[QUERIES])
    features, _ = make_language_head(table, model, choose_head("lora", model, 10, 4, 4, {}), 0)
    np.testing.assert_array_equal(features.zero_shot, head.zero_shot.argmax(axis=1))


def test_small_models_learn_faster(table, model, monkeypatch):
    settings = choose_head("lora", model, 10, 4, 4, {})
    assert make_language_head(table, model, settings, 0)[1]._tuning == {"lr": 1e-3}
    monkeypatch.setattr("gradatim.workflows.profile_language_heads.LARGE", 1000)
    assert make_language_head(table, model, settings, 0)[1]._tuning == {"lr": 1e-4}


def test_nothing_is_asked_twice(table, model, monkeypatch):
    head = InContextHead(table, model, 3, seed=0)
    asked = []
    ask = head._ask

    def counting(queries, exemplars):
        asked.append(len(queries))
        return ask(queries, exemplars)

    monkeypatch.setattr(head, "_ask", counting)
    labels = table.labels[ROWS]
    first = head(ROWS, labels, QUERIES)
    again = head(ROWS, labels, np.array([41, 30, 30, 5]))
    np.testing.assert_array_equal(again[[1, 0, 2]], first[[0, 1, 0]])
    assert asked == [3, 1]
    turned = labels.copy()
    turned[head._shown(ROWS)[0]] = 1 - turned[head._shown(ROWS)[0]]
    head(ROWS, turned, QUERIES)
    assert asked == [3, 1, 3]
    assert head(ROWS, labels, np.array([], dtype=np.int64)).shape == (0, 3)


def test_exemplars_without_room_are_left_out_and_told(table):
    head = InContextHead(table, language_model(length=120), 8, seed=0)
    p = head(ROWS, table.labels[ROWS], QUERIES)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert head.notes[0].startswith("3 rows were asked with fewer exemplars")


def test_a_row_that_is_too_long(table):
    told = r"questions: question 0 \('what is .* by itself is \d+ tokens too long for the model's"
    with pytest.raises(InputError, match=told):
        InContextHead(table, language_model(length=30), 2, seed=0)


def test_classes_are_options_by_their_names(model):
    frame = words()
    table = load_table(frame, ProfileColumns("topic", ("text",), None, "level"))
    head = InContextHead(table, model, 2, seed=0)
    expected = in_context_scores(
        model.model,
        model.tokenizer,
        list(frame["text"]),
        [["a pie", "an ox"]] * len(frame),
        template="Text: {}\nLabel:",
    ).values
    expected = softmax(expected / head.temperature, axis=1)
    np.testing.assert_allclose(head.zero_shot, expected, atol=1e-6)


def test_the_temperature_makes_labels_likeliest(table, model):
    head = InContextHead(table, model, 2, seed=0)
    scores = head._ask(np.arange(len(table)), [])

    def loss(temperature):
        p = log_softmax(scores / temperature, axis=1)
        return -p[np.arange(len(table)), table.labels].mean()

    assert loss(head.temperature) <= min(loss(one) for one in np.geomspace(0.05, 100, 60)) + 1e-6
    np.testing.assert_array_equal(head.zero_shot.argmax(axis=1), scores.argmax(axis=1))


def test_lora_learns_and_leaves_the_model_as_it_was(model):
    table = load_table(words(), ProfileColumns("topic", ("text",), None, "level"))
    given = {"adapters": {"targets": "all-linear"}, "lr": 0.02, "batch_size": 20}
    head = LoraHead(table, model, 20, 0, least_updates=15, **given)
    rows, queries = np.arange(24), np.arange(24, 48)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    p = head(rows, table.labels[rows], queries)
    assert (p.argmax(axis=1) == table.labels[queries]).mean() > 0.9
    turned = head(rows, 1 - table.labels[rows], queries)
    assert (turned.argmax(axis=1) == table.labels[queries]).mean() < 0.1
    after = model.model.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())


@pytest.fixture(scope="module")
def profiled(model):
    told = []
    result = gradatim.profile(
        sums(), head="in-context", model=model, shots=2, tell=told.append, **OPTIONS
    )
    return result, told


def test_in_context_profile(profiled):
    result, _ = profiled
    assert result.features == "2 exemplars in context on text, read by tiny"
    assert result.baseline.startswith("the likeliest option by the language model itself")
    assert result.measure == "level" and set(result.matrix["train"]) == {
        "none",
        "easy",
        "hard",
        "all",
    }
    assert result.noise["rate"].tolist() == [0.0, 0.2, 0.4, 0.6]
    cells = result.matrix.set_index(["train", "test"])["accuracy"]
    assert result.noise["accuracy"].iloc[0] == pytest.approx(cells["hard", "hard"])
    assert any("shows 2 of 12 rows, in 2 draws" in note for note in result.notes)
    assert "2 exemplars in context" in result._repr_html_()


def test_costs_are_told_beforehand_and_hold(model, monkeypatch):
    asked = []
    ask = InContextHead._ask

    def counting(self, queries, exemplars):
        asked.append(len(queries))
        return ask(self, queries, exemplars)

    monkeypatch.setattr(InContextHead, "_ask", counting)
    told = []

    def tell(line):
        assert asked == ([48] if line.startswith("asked 48 rows zero-shot in") else [])
        told.append(line)

    options = {**OPTIONS, "measure": "level,mdl,disagreement"}
    gradatim.profile(
        sums(), head="in-context", model=model, shots=2, tell=tell, most_tested=7, **options
    )
    assert told == [
        "zero-shot: 48 rows asked, 120 options read by tiny",
        "out-of-fold predictions, two rounds: 96 rows asked behind 2 exemplars",
        "level: nothing: it stands in the table",
        "mdl: 432 rows asked, exemplars from 5, 20, 24 rows",
        "disagreement: 192 rows asked, exemplars from about 12 rows",
        "matrix and wrong labels: at most 210 rows asked",
        told[-1],
    ]
    assert told[-1].startswith("asked 48 rows zero-shot in")
    assert asked[0] == 48 and sum(asked[1:5]) == 96
    assert sum(asked[:5]) < sum(asked) <= 48 + 96 + 432 + 192 + 210  # less what was asked before


def test_lora_profile(model):
    told = []
    result = gradatim.profile(
        sums(), head="lora", model=model, most_trained=2, tell=told.append, **OPTIONS
    )
    assert result.features == "LoRA on text, read by tiny"
    assert told[1] == ("out-of-fold predictions, two rounds: 4 LoRA fits of 2 rows, 96 rows asked")
    assert "14 LoRA fits of at most 2 rows, at most 672 rows asked" in told[4]
    assert "at least 3 times" in told[5]
    assert any("trained on 2 rows, in 2 draws" in note for note in result.notes)


def test_auto_leaves_out_what_asks_many_times_more(model):
    result = gradatim.profile(
        words().assign(number=range(48)),
        label="topic",
        level="level",
        head="in-context",
        model=model,
        shots=0,
        folds=2,
        draws=2,
    )
    assert set(result.measures["measure"]) == {"level", "confidence", "margin", "entropy"}
    notes = " / ".join(result.notes)
    assert "mdl and disagreement are left out" in notes
    assert "the language model reads text only: 'number' are left out" in notes
    assert result.costs[1].startswith("nothing more: without exemplars")
    cells = result.matrix.pivot(index="test", columns="train", values="accuracy")
    assert np.allclose(cells.sub(cells["none"], axis=0), 0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"head": "linear"}, "head: expected one of probe, lora, in-context, got 'linear'"),
        ({"head": "lora"}, "model: expected a language model with head='lora' .* got none"),
        ({"head": "probe", "model": "smollm2"}, "model: expected none with head='probe'"),
        ({"head": "lora", "features": np.eye(48)}, "features: expected none with head='lora'"),
        ({"head": "in-context", "encoder": "tfidf"}, "encoder: expected none with head='in-"),
        ({"head": "lora", "estimator": object()}, "estimator: expected none with head='lora'"),
        ({"head": "lora", "pred_probs": np.eye(48)}, "pred_probs: expected none with head='lora'"),
        ({"head": "lora", "shots": 3}, "shots: expected none with head='lora'"),
        ({"head": "in-context", "shots": -1}, "shots: expected a number in"),
        ({"most_tested": 1}, "most_tested: expected a number in"),
        ({"most_trained": 0}, "most_trained: expected a number in"),
        ({"head": "lora", "model": "/nowhere/model"}, "source: nothing stands at /nowhere/model"),
    ],
)
def test_arguments_that_do_not_go_together(given, told):
    given = {"model": None if given.get("head") in ("lora", None) else given.get("model"), **given}
    if set(given) - {"head", "model"} and given.get("head") not in (None, "probe"):
        given["model"] = "smollm2"
    with pytest.raises(InputError, match=told):
        gradatim.profile(sums(), **OPTIONS, **given)


def test_no_text_and_strata_too_small_are_told_before_a_model_is_loaded():
    frame = pd.DataFrame({"a": range(48), "y": ["m", "n"] * 24})
    with pytest.raises(InputError, match="head: 'lora' needs a text column"):
        gradatim.profile(frame, label="y", head="lora", model="nothing-like-this")
    few = sums().assign(level=[1] * 40 + [2] * 8)
    with pytest.raises(InputError, match="20 different rows in the hard stratum"):
        gradatim.profile(few, **OPTIONS, head="lora", model="nothing-like-this")


def test_a_model_that_is_loaded_stays_what_it_is(model):
    assert load_model(choose_head("lora", model, 10, None, None, {})) is model
