"""A tiny model that knows eight answers is made to forget four of them."""

import json
import math

import numpy as np
import pytest
import torch

import gradatim
from gradatim.core.errors import InputError
from gradatim.language.logit_difference import LogitDifferenceLM
from gradatim.metrics.forgetting import forget_quality, mean_truth_ratio, model_utility
from gradatim.workflows.unlearn import unlearn
from gradatim.workflows.unlearn_encoding import TextEncoder
from gradatim.workflows.unlearn_inputs import load_texts
from gradatim.workflows.unlearn_models import UnlearnedModel, load_unlearned, save_unlearned
from gradatim.workflows.unlearn_relearning import RelearningAttack
from tests.workflows.unlearn_data import FORGET, QUICK, RETAIN, UNRELATED, taught, weights

pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")


def losses(loaded, table):
    """Mean loss a token of each answer, text by text and without padding."""
    encoder = TextEncoder(loaded.tokenizer, loaded.stop)
    encoded = encoder.texts(load_texts("facts", table))
    found = []
    for prompt, response in zip(encoded.prompts, encoded.responses, strict=True):
        ids = torch.tensor([prompt + response])
        with torch.no_grad():
            logits = loaded.model.model(input_ids=ids).logits[0].log_softmax(-1)
        places = range(len(prompt), len(prompt) + len(response))
        found.append(-np.mean([float(logits[at - 1, ids[0, at]]) for at in places]))
    return np.array(found)


def ratios_of(table):
    """Truth ratios of the taught model, answer by answer."""
    right = losses(taught(), {**table, "answer": table["paraphrased_answer"]})
    found = []
    for row, wrong in enumerate(table["perturbed_answer"]):
        others = {"question": [table["question"][row]] * len(wrong), "answer": wrong}
        found.append(math.exp(losses(taught(), others).mean() - right[row]))
    return found


@pytest.fixture(scope="module")
def result():
    return unlearn(
        taught(), FORGET, RETAIN, method="npo+kl", lr=3e-3, reference=taught(kept_only=True),
        utility={"again": RETAIN}, **{**QUICK, "epochs": 6},
    )  # fmt: skip


def test_what_is_forgotten_goes_and_what_is_kept_stays(result):
    assert result.figure_of("forget/probability", "before") > 0.5
    assert result.figure_of("forget/probability") < result.figure_of("forget/probability", "before")
    kept = result.figure_of("retain/probability") / result.figure_of("retain/probability", "before")
    assert kept > 0.5
    assert result.trained is result.model and result.folder is None
    assert "npo+kl on taught" in result.sentence() and "updates" in result.criterion


def test_the_given_model_stays_as_it_is(result):
    before = weights(taught())
    unlearn(taught(), FORGET, RETAIN, method="ga", lr=1e-2, **{**QUICK, "relearn_steps": 0})
    assert torch.equal(weights(taught()), before)


def test_figures_are_those_of_the_texts_one_by_one(result):
    loss = losses(taught(), FORGET)
    rows = result.rows[result.rows["set"] == "forget"]
    np.testing.assert_allclose(rows["probability_before"], np.exp(-loss), rtol=1e-4)
    assert result.figure_of("forget/probability", "before") == pytest.approx(
        np.exp(-loss).mean(), rel=1e-4
    )
    assert result.figure_of("forget/truth_ratio", "before") == pytest.approx(
        mean_truth_ratio(ratios_of(FORGET), "forgotten"), rel=1e-4
    )
    text = {"text": UNRELATED}
    tokens = [len(one) - 1 for one in UNRELATED]  # of characters, the first is not predicted
    total = float(np.dot(losses(taught(), text), tokens))
    assert result.figure_of("unrelated/perplexity", "before") == pytest.approx(
        math.exp(total / sum(tokens)), rel=1e-4
    )
    parts = {
        f"{name}/{one}": result.figure_of(f"{name}/{one}")
        for name in ("retain", "again")
        for one in ("probability", "rouge")
    }
    assert result.figure_of("utility") == pytest.approx(model_utility(parts))


def test_right_answers_to_other_questions_are_weighed_against_wrong_ones():
    result = unlearn(
        taught(), RETAIN, method="ga", utility={"world": FORGET},
        **{**QUICK, "epochs": 1, "relearn_steps": 0}, lr=1e-9,
    )  # fmt: skip
    right, shares = np.exp(-losses(taught(), FORGET)), []
    for row, wrong in enumerate(FORGET["perturbed_answer"]):
        table = {"question": [FORGET["question"][row]] * len(wrong), "answer": wrong}
        shares.append(right[row] / (right[row] + np.exp(-losses(taught(), table)).sum()))
    found = result.figure_of("world/probability", "before")
    assert found == pytest.approx(np.mean(shares), rel=1e-4)
    expected = mean_truth_ratio(ratios_of(FORGET), "retained")
    assert result.figure_of("world/truth_ratio", "before") == pytest.approx(expected, abs=1e-6)


def test_forget_quality_compares_truth_ratios_with_the_reference(result):
    quality = result.figures.set_index("name").loc["forget_quality"]
    assert 0 <= quality["before"] <= 1 and quality["reference"] == 1
    same = unlearn(
        taught(), FORGET, RETAIN, method="ga", lr=1e-9, reference=taught(),
        **{**QUICK, "epochs": 1, "relearn_steps": 0},
    )  # fmt: skip
    assert same.figure_of("forget_quality", "before") == forget_quality([1, 2], [1, 2]) == 1
    assert not any(name.startswith("relearned") for name in same.figures["name"])


def test_answers_that_are_known_are_said_and_extracted(result):
    rows = result.rows[result.rows["set"] == "forget"]
    known = rows["probability_before"] > 0.9
    assert known.any()
    assert (rows["rouge_before"][known] == 1).all()
    assert (rows["said_before"][known] == rows["expected"][known]).all()
    assert known.all() and result.figure_of("forget/extracted_exact", "before") == 1
    assert (rows["extracted_before"] == 1).all()
    assert result.figure_of("forget/rephrased_rouge", "before") == 1


def test_the_attack_leaves_the_weights_and_sees_one_half():
    loaded = taught()
    encoder = TextEncoder(loaded.tokenizer, loaded.stop)
    encoded = encoder.texts(load_texts("forget", FORGET))
    attack = RelearningAttack(8, 1e-2, 2, "float32", 0)
    seen, unseen = attack.halves(5)
    assert sorted(seen + unseen) == list(range(5)) and len(seen) == 2
    before, looked = weights(loaded), []

    def measure(model, texts):
        looked.append(texts.rows)
        return {"loss": float(len(texts))}

    figures = attack(loaded.model, encoded, measure)
    assert torch.equal(weights(loaded), before)
    assert set(figures) == {"seen/loss", "unseen/loss", "seen/loss_after", "unseen/loss_after"}
    assert looked[0] == looked[2] and not set(looked[0]) & set(looked[1])
    assert attack(loaded.model, encoded.take([0]), measure) is None


def test_relearning_brings_back_what_it_is_shown():
    result = unlearn(
        taught(), FORGET, RETAIN, method="ga", lr=1e-2,
        **{**QUICK, "epochs": 2, "relearn_steps": 12}, relearn_lr=1e-2, perplexity_growth=None,
    )  # fmt: skip
    seen = "relearned/seen/probability"
    assert result.figure_of(seen) > result.figure_of(seen, "before")


def test_it_stops_before_collapse_and_says_so():
    result = unlearn(
        taught(), FORGET, RETAIN, method="ga", lr=3e-2, perplexity_growth=1.5, evaluate_every=1,
        **{**QUICK, "epochs": 20, "relearn_steps": 0},
    )  # fmt: skip
    assert result.reason == "collapse" and result.step < result.steps < 40
    assert f"those after update {result.step}" in result.criterion or result.step == 0
    assert "collapse is more than 1.5 times" in result.criterion
    rise = result.curve["retain_loss"] - result.curve["retain_loss"][0]
    kept = result.curve.set_index("step")["retain_loss"][result.step]
    assert kept - result.curve["retain_loss"][0] <= math.log(1.5) < rise.iloc[-1]
    loss = losses(result.model, RETAIN)
    assert np.isfinite(loss).all()


def test_it_stops_at_a_gradient_that_is_not_finite(monkeypatch):
    import gradatim.recipes.unlearning as recipe

    ascent, calls = recipe.gradient_ascent, []

    def broken(*arguments, **options):
        calls.append(1)
        value = ascent(*arguments, **options)
        return value * math.inf if len(calls) > 2 else value

    monkeypatch.setattr(recipe, "gradient_ascent", broken)
    result = unlearn(
        taught(), FORGET, RETAIN, method="ga", lr=1e-4, **{**QUICK, "relearn_steps": 0}
    )
    assert (result.reason, result.step) == ("non-finite", 2)
    assert "not finite" in result.criterion
    assert np.isfinite(losses(result.model, FORGET)).all()


def test_a_target_ends_it():
    result = unlearn(
        taught(), FORGET, method="npo", lr=1e-2, forget_target=0.5, evaluate_every=1,
        **{**QUICK, "epochs": 20, "relearn_steps": 0},
    )  # fmt: skip
    assert result.reason == "forgotten" and "at most the probability 0.5" in result.criterion
    assert result.curve["forget_probability"].iloc[-1] <= 0.5
    assert "retain_loss" not in result.curve and "utility" not in set(result.figures["name"])


@pytest.mark.parametrize("method", ["idk+rt", "dpo", "kto"])
def test_refusals(method):
    refusals = ["no"]
    result = unlearn(
        taught(), FORGET, RETAIN, method=method, refusals=refusals, lr=1e-2,
        **{**QUICK, "epochs": 12, "relearn_steps": 0}, perplexity_growth=None,
    )  # fmt: skip
    if method == "idk+rt":
        assert result.model.generate(["2+3?"], longest=4) == ["no"]
    forgotten = result.figure_of("forget/probability")
    assert forgotten < result.figure_of("forget/probability", "before")


def test_documents_in_pieces():
    documents = ["the first of them is long", "the second one is long too"]
    result = unlearn(
        taught(), documents, RETAIN, method="npo+rt", lr=1e-3, chunk_tokens=8, **QUICK
    )  # fmt: skip
    told = " ".join(result.notes)
    assert "2 documents were cut into" in told and "means a token" in told
    rows = result.rows[result.rows["set"] == "forget"]
    assert rows["row"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    # a piece is predicted behind its first character, and asked for behind half of the rest
    assert rows["question"].tolist()[:2] == ["the", "t of"]
    assert rows["expected"].tolist()[:2] == ["firs", "the"]
    few = unlearn(
        taught(), documents, RETAIN, method="ga", lr=1e-4, chunk_tokens=8,
        **{**QUICK, "epochs": 1, "relearn_steps": 0}, evaluated=2,
    )  # fmt: skip
    assert few.rows["set"].tolist() == ["forget"] * 2 + ["retain"] * 2


def test_the_model_is_written_and_read_again(tmp_path):
    result = unlearn(
        taught(), FORGET, RETAIN, out=tmp_path / "out", lr=1e-3, **{**QUICK, "epochs": 1}
    )
    folder = result.save(tmp_path / "out")
    for name in ("figures.csv", "rows.jsonl", "curve.csv", "report.html", "result.json"):
        assert (folder / name).is_file()
    assert not (folder / "checkpoints").exists()
    read = load_unlearned(folder, device="cpu")
    assert read.kind == "model"
    assert torch.equal(weights(read), weights(result.model))
    assert read.generate(FORGET["question"]) == result.model.generate(FORGET["question"])
    other = result.save(tmp_path / "other")
    assert torch.equal(weights(load_unlearned(other, dtype="float32")), weights(read))
    with pytest.raises(InputError, match="not overwritten"):
        result.save(tmp_path / "out")
    page = (folder / "report.html").read_text(encoding="utf-8")
    for told in ("Before and after", "Relearning attack", "<svg", "Said after", "extracted"):
        assert told in page
    assert "Before and after" in result._repr_html_()


def test_a_finished_run_is_read_again(tmp_path, monkeypatch):
    options = {"out": tmp_path / "out", "lr": 1e-3, **QUICK, "epochs": 1}
    first = unlearn(taught(), FORGET, RETAIN, **options)
    monkeypatch.setattr("gradatim.workflows.unlearn.UnlearnJob", None)
    again = unlearn(taught(), FORGET, RETAIN, **options)
    assert again.figures.equals(first.figures) and again.rows.equals(first.rows)
    assert again.criterion == first.criterion and again.trained is None
    assert torch.equal(weights(again.model), weights(first.model))


def base_folder(tmp_path, loaded=None, name="base"):
    """A model as a directory."""
    loaded = loaded or taught()
    loaded.model.inner.save_pretrained(tmp_path / name)
    loaded.tokenizer.save_pretrained(tmp_path / name)
    return tmp_path / name


def test_an_adapter(tmp_path):
    base = base_folder(tmp_path)
    options = {**QUICK, "epochs": 2, "lora": 2, "lr": 1e-2}
    result = unlearn(base, FORGET, RETAIN, out=tmp_path / "out", **options)
    assert result.model.kind == "adapter"
    config = json.loads((tmp_path / "out/adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base) and config["r"] == 2
    read = load_unlearned(tmp_path / "out", dtype="float32", device="cpu")
    assert read.generate(FORGET["question"]) == result.model.generate(FORGET["question"])
    np.testing.assert_allclose(losses(read, FORGET), losses(result.model, FORGET), rtol=1e-5)
    merged = unlearn(
        tmp_path / "out/adapter", FORGET, RETAIN, method="ga", **{**QUICK, "epochs": 1}
    )
    assert merged.figure_of("forget/probability", "before") == pytest.approx(
        result.figure_of("forget/probability"), rel=1e-4
    )


def test_an_adapter_for_another_base(tmp_path):
    base = base_folder(tmp_path)
    unlearn(base, FORGET, RETAIN, out=tmp_path / "out", lora=2, **QUICK)
    other = base_folder(tmp_path, taught(kept_only=True), "other")
    with pytest.raises(InputError, match=r"base: what .* was made for another base than"):
        load_unlearned(tmp_path / "out", base=other, device="cpu")
    from tests.workflows.score_data import tiny

    base_folder(tmp_path, tiny(hidden_size=16), "base")  # in the place of the right one
    with pytest.raises(InputError, match=r"model: the adapter in .* is for another base"):
        unlearn(tmp_path / "out/adapter", FORGET, RETAIN, **QUICK)


def test_logit_difference(tmp_path):
    base = base_folder(tmp_path)
    result = unlearn(
        base, FORGET, RETAIN, method="uld", out=tmp_path / "out", layers=1, lr=2e-2,
        relative_top=0.0, **{**QUICK, "epochs": 30},
    )  # fmt: skip
    assert isinstance(result.model.model, LogitDifferenceLM) and result.model.kind == "assistant"
    forgotten = result.figure_of("forget/probability")
    assert forgotten < result.figure_of("forget/probability", "before")
    assert any("no relearning attack" in note for note in result.notes)
    assert result.steps == 60 and result.reason == ""  # though it began with a collapse
    assert result.curve["retain_loss"].max() > result.curve["retain_loss"][0] + math.log(2)
    assert "all 60 updates were made; with the assistant the perplexity" in result.criterion
    read = load_unlearned(tmp_path / "out", dtype="float32", device="cpu")
    assert isinstance(read.model, LogitDifferenceLM) and read.model.weight == -0.8
    assert read.generate(FORGET["question"]) == result.model.generate(FORGET["question"])
    saved = result.save(tmp_path / "copy")  # leaves the adapters of the assistant where they are
    assert load_unlearned(saved, dtype="float32").generate(["2+3?"]) == read.generate(["2+3?"])


def test_unequal_vocabularies(tmp_path):
    from tests.workflows.score_data import tiny

    base = base_folder(tmp_path)
    unlearn(base, FORGET, RETAIN, method="uld", out=tmp_path / "out", layers=1, **QUICK)
    other = tiny(vocab_size=80)
    found = UnlearnedModel(other.model, other.tokenizer, other.stop, "model", "other")
    save_unlearned(found, tmp_path / "wide")
    (tmp_path / "out/assistant").rename(tmp_path / "out/old")
    (tmp_path / "wide/model").rename(tmp_path / "out/assistant")
    with pytest.raises(InputError, match="vocabulary of 64 tokens, got one of 80"):
        load_unlearned(tmp_path / "out", device="cpu")


def test_the_function_is_an_attribute_of_the_package():
    assert gradatim.unlearn is unlearn
