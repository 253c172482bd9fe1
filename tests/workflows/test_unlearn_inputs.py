"""What can be forgotten, how it is read, and what is refused."""

import copy
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.language.loading import LanguageModel
from gradatim.workflows.unlearn import unlearn
from gradatim.workflows.unlearn_encoding import TextEncoder
from gradatim.workflows.unlearn_inputs import (
    REFUSALS,
    check_apart,
    library_texts,
    load_refusals,
    load_texts,
)
from gradatim.workflows.unlearn_models import ready_tokenizer
from gradatim.workflows.unlearn_settings import UnlearnSettings
from tests.workflows.score_data import tiny
from tests.workflows.unlearn_data import FORGET, QUICK, RETAIN, taught


def test_tofu_and_muse_files(tmp_path):
    row = {
        "question": "Q?",
        "answer": "A",
        "paraphrased_answer": "AA",
        "perturbed_answer": ["B", "C"],
        "paraphrased_question": "QQ?",
    }
    path = tmp_path / "forget10_perturbed.json"
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "question": "R?"}) + "\n")
    texts = load_texts("forget", path)
    assert texts.questions == ("Q?", "R?") and texts.answers == ("A", "A")
    assert texts.paraphrased == ("AA", "AA") and texts.perturbed == (("B", "C"),) * 2
    assert texts.rephrased == ("QQ?",) * 2 and texts.files == (str(path),)
    pd.DataFrame({"text": ["long news", "more"]}).to_parquet(tmp_path / "raw.parquet")
    news = load_texts("forget", tmp_path / "raw.parquet")
    assert news.questions is None and news.answers == ("long news", "more")
    verbatim = load_texts("forget", {"prompt": ["It was"], "gt": ["night"], "text": ["other"]})
    assert verbatim.questions == ("It was",) and verbatim.answers == ("night",)
    assert load_texts("forget", {"q": ["1"], "a": ["2"]}, question="q", answer="a").answers == (
        "2",
    )
    both = {"question": ["1"], "answer": ["2"], "body": ["3"]}
    assert load_texts("forget", both, text="body").answers == ("3",)


def test_documents_of_one_s_own(tmp_path):
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    (tmp_path / "b.md").write_text("two", encoding="utf-8")
    assert load_texts("forget", tmp_path).answers == ("one", "two")
    assert load_texts("forget", tmp_path / "a.txt").answers == ("one",)
    assert load_texts("forget", ["one", "two"]).questions is None


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"x": ["1"]}, "forget: expected a column 'question' and one 'answer', or a column 'text'"),
        ({"text": ["a", " \n"]}, "forget, row 1, column 'text': expected a text, got none"),
        ({"text": ["a", None]}, "forget, row 1, column 'text': expected a text, got none"),
        ({"text": [1, 2]}, "column 'text': expected text, got int64"),
        (["a", ""], "forget, row 1: expected a text, got none"),
        ([], "forget: expected at least one document, got none"),
        ([1], "forget: expected a table, or a list of documents"),
        (
            {"question": ["a"], "answer": ["b"], "perturbed_answer": [[]]},
            "row 0, column 'perturbed_answer': expected wrong answers",
        ),
        (3, "expected a path"),
    ],
)
def test_bad_tables(table, told):
    with pytest.raises(InputError, match=told):
        load_texts("forget", table)


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_texts("forget", tmp_path / "absent.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="expected UTF-8 text"):
        load_texts("forget", tmp_path / "bytes.txt")
    (tmp_path / "empty.txt").write_text("  \n")
    with pytest.raises(InputError, match=r"empty\.txt: expected a text, got none"):
        load_texts("forget", tmp_path / "empty.txt")
    with pytest.raises(InputError, match="expected a column 'nothing', got the columns text"):
        load_texts("forget", {"text": ["a"]}, text="nothing")


@given(
    st.lists(st.text("ab \t\n", min_size=1).filter(str.strip), min_size=1, max_size=6),
    st.lists(st.text("AB ", min_size=1).filter(str.strip), min_size=1, max_size=6),
)
def test_sets_overlap_if_texts_are_equal_but_for_case_and_blanks(first, second):
    forget, retain = load_texts("forget", first), load_texts("retain", second)
    plain = [[" ".join(one.lower().split()) for one in texts] for texts in (first, second)]
    shared = [row for row, one in enumerate(plain[1]) if one in plain[0]]
    if not shared:
        check_apart(forget, retain)
        return
    with pytest.raises(InputError) as caught:
        check_apart(forget, retain)
    row = shared[0]
    named = f"row {row} (row {plain[0].index(plain[1][row])} of what to forget)"
    assert named in str(caught.value)
    assert (f"and {len(shared) - 3} more" in str(caught.value)) == (len(shared) > 3)


def test_other_answers_to_the_same_question_are_no_overlap():
    other = {"question": ["2+3?"], "answer": ["it is 6"]}
    check_apart(load_texts("forget", FORGET), load_texts("retain", other))


def test_questions_with_a_template_and_without():
    chat, plain = tiny(chat=True), tiny()
    texts = load_texts("forget", {"question": ["2+3?"], "answer": ["5"]})
    end = chat.tokenizer.eos_token_id
    encoder = TextEncoder(chat.tokenizer, chat.stop)
    encoded = encoder.texts(texts)
    decode = chat.tokenizer.decode
    assert decode(encoded.prompts[0]) == "<u>2+3?<end>\n<a>"
    assert encoded.responses[0] == [*chat.tokenizer("5")["input_ids"], end]
    assert encoder.question("2+3?") == encoded.prompts[0] and encoder.chat
    encoder = TextEncoder(plain.tokenizer, plain.stop)
    encoded = encoder.texts(texts)
    assert decode(encoded.prompts[0]).lower() == "<unk>uestion: 2+3?\nanswer:"
    assert decode(encoded.responses[0]) == " 5<end>" and not encoder.chat
    assert encoder.question("2+3?") == encoded.prompts[0]
    assert encoder.decode(plain.tokenizer(" 5\nz")["input_ids"]) == "5\nz"


def test_documents_are_read_whole_or_in_pieces():
    loaded = tiny()
    texts = load_texts("forget", ["abcdefg", "hi"])
    whole = TextEncoder(loaded.tokenizer, loaded.stop).texts(texts)
    assert [len(one) for one in whole.responses] == [6, 1] and whole.rows == [0, 1]
    cut = TextEncoder(loaded.tokenizer, loaded.stop, chunk_tokens=3).texts(texts)
    assert cut.rows == [0, 0, 1]  # a last piece of one token cannot be predicted
    joined = [p + r for p, r in zip(cut.prompts, cut.responses, strict=True)]
    assert loaded.tokenizer.decode(joined[0] + joined[1]) == "abcdef"
    part = cut.take([2])
    assert part.rows == [2] or part.rows == [1]
    assert part.responses == [cut.responses[2]]


def test_a_beginning_of_texts_stands_before_every_piece():
    tokenizer = copy.deepcopy(tiny().tokenizer)
    from tokenizers.processors import TemplateProcessing

    tokenizer.bos_token = "<unk>"
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<unk> $A", special_tokens=[("<unk>", begin)]
    )
    encoded = TextEncoder(tokenizer, [], chunk_tokens=4).texts(load_texts("forget", ["abcdef"]))
    assert encoded.prompts == [[begin], [begin]]
    assert [tokenizer.decode(one) for one in encoded.responses] == ["abc", "def"]


def test_long_and_short_texts():
    loaded = tiny()
    encoder = TextEncoder(loaded.tokenizer, loaded.stop, limit=8)
    with pytest.raises(InputError, match="row 1: has 9 tokens, the limit is 8; shorten it, or cut"):
        encoder.texts(load_texts("forget", ["short", "123456789"]))
    with pytest.raises(InputError, match=r"row 0: has \d+ tokens, the limit is 8; shorten it$"):
        encoder.texts(load_texts("forget", RETAIN))
    with pytest.raises(InputError, match="row 0: expected at least two tokens, got 1"):
        encoder.texts(load_texts("forget", ["a"]))
    with pytest.raises(InputError, match="chunk_tokens: expected at most 8 tokens, got 9"):
        TextEncoder(loaded.tokenizer, loaded.stop, limit=8, chunk_tokens=9)
    with pytest.raises(InputError, match="forget, row 0: has 65 tokens, the limit is 64"):
        unlearn(taught(), ["1" * 65], RETAIN, **QUICK)
    with pytest.raises(InputError, match="the limit is 10"):
        unlearn(taught(), FORGET, RETAIN, max_tokens=10, **QUICK)


def test_a_tokenizer_that_cannot_pad(tmp_path):
    tokenizer = copy.deepcopy(taught().tokenizer)
    tokenizer.pad_token = None
    ready, note = ready_tokenizer(tokenizer)
    assert ready.pad_token == "<end>" and "'<end>'" in note and tokenizer.pad_token is None
    loaded = LanguageModel(taught().model, tokenizer, "no pad")
    result = unlearn(loaded, FORGET, RETAIN, out=tmp_path / "out", **{**QUICK, "epochs": 1})
    assert any("no token to pad with" in one for one in result.notes)
    assert any(
        "no chat template: questions are asked as 'Question: " in one for one in result.notes
    )
    written = json.loads((tmp_path / "out/model/tokenizer_config.json").read_text())
    assert written["pad_token"] == "<end>"
    tokenizer.eos_token = None
    assert "none that ends a text" in ready_tokenizer(tokenizer)[1]
    assert ready_tokenizer(taught().tokenizer)[1] is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "npo+rr"}, "method: expected one of"),
        ({"retain": None}, r"retain: method 'npo\+kl' needs texts to keep, got none"),
        ({"retain": None, "method": "uld"}, "retain: method 'uld' needs texts to keep, got none"),
        ({"forget": ["words"], "method": "dpo"}, "needs questions with answers, .* got documents"),
        ({"retain": FORGET}, "retain: 4 rows are to be kept and to be forgotten: row 0"),
        ({"refusals": [], "method": "idk"}, "expected at least one"),
        ({"utility": {"retain": RETAIN}}, "utility: expected another name than 'retain'"),
        ({"lora": 2, "method": "uld"}, "lora: expected no adapters with method 'uld'"),
        ({"forget_target": 0.1, "method": "uld"}, "forget_target: expected none with method 'uld'"),
        ({"lr": 0.0}, "lr: expected a number"),
        ({"evaluated": 0}, "evaluated: expected a number"),
        ({"perplexity_growth": 1.0}, "perplexity_growth"),
        ({"model": 3}, "model: expected a directory, a GGUF file, a name or a LanguageModel"),
        ({"reference": tiny(vocab_size=80)}, "reference: expected the model's vocabulary of 64"),
    ],
)
def test_bad_arguments(options, told):
    given = {"model": taught(), "forget": FORGET, "retain": RETAIN, **options}
    with pytest.raises(InputError, match=told):
        unlearn(**given, **QUICK)


def test_a_model_without_finite_loss():
    import torch

    broken = LanguageModel(copy.deepcopy(taught().model), taught().tokenizer, "broken")
    with torch.no_grad():
        next(broken.model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match=r"model: its loss .* is not finite before any update"):
        unlearn(broken, FORGET, RETAIN, **QUICK)


def test_refusals_are_drawn(tmp_path):
    drawn = load_refusals(None, 50, seed=0)
    assert set(drawn) <= set(REFUSALS) and len(set(drawn)) > 3 and len(drawn) == 50
    assert drawn == load_refusals(None, 50, seed=0) != load_refusals(None, 50, seed=1)
    (tmp_path / "no.txt").write_text("no\n\nnever\n")
    assert set(load_refusals(tmp_path / "no.txt", 20, seed=0)) == {"no", "never"}
    assert load_refusals({"answer": ["x"], "question": ["y"]}, 2, seed=0) == ("x", "x")


def test_there_is_text_that_has_to_do_with_nothing():
    texts = library_texts()
    assert len(texts) >= 5 and all(len(one) > 100 for one in texts.answers)


def test_defaults_follow_the_method():
    assert UnlearnSettings().rate == 1e-5 and UnlearnSettings(lora=4).rate == 2e-4
    assert UnlearnSettings(method="uld").rate == 1e-3
    assert UnlearnSettings(method="uld").kept_weight == 5 and UnlearnSettings().kept_weight == 1
    assert UnlearnSettings(retain_weight=0.5).kept_weight == 0.5
    assert UnlearnSettings(epochs=10).checkpoints(7) == 14
    assert UnlearnSettings(epochs=3).checkpoints(7) == 7
    assert UnlearnSettings().evaluations(7) == 7 and UnlearnSettings().evaluations(700) == 25
