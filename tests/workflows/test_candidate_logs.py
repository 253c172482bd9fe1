import json

import pytest

from gradatim.core.errors import InputError
from gradatim.workflows.candidate_logs import log_format, read_candidates


def write(folder, *records):
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def choice(text, *logprobs):
    tokens = [{"token": "t", "logprob": value} for value in logprobs]
    return {"message": {"content": text}, "logprobs": {"content": tokens} if logprobs else None}


def batch(name, *choices):
    body = {"choices": list(choices)}
    return {"custom_id": name, "response": {"status_code": 200, "body": body}, "error": None}


def test_openai_batches(tmp_path):
    failed = {"custom_id": "c", "response": None, "error": {"code": "timeout"}}
    path = write(
        tmp_path,
        batch("a", choice(r"\boxed{1}", -0.5, -0.25), choice("no idea", -1.0)),
        failed,
        batch("a", choice(None, -2.0)),
    )
    frame = read_candidates(path)
    assert list(frame.columns) == ["problem", "answer", "score", "text"]
    assert frame["problem"].tolist() == ["a"] * 3
    assert frame["answer"].tolist()[0] == "1" and frame["answer"].isna().tolist() == [0, 1, 1]
    assert frame["score"].tolist() == [-0.75, -1.0, -2.0]
    assert frame.attrs == {"format": "openai", "failed": 1}


def test_openai_completions(tmp_path):
    chat = {"id": "x", "object": "chat.completion", "choices": [choice("#### 7")], "level": 3}
    text = {"id": "y", "choices": [{"text": "The answer is 2."}]}
    frame = read_candidates(write(tmp_path, chat, text))
    assert "score" not in frame and frame["answer"].tolist() == ["7", "2"]
    assert frame["level"].iloc[0] == 3


def test_text_completions_have_log_probabilities(tmp_path):
    logprobs = {"token_logprobs": [None, -0.5, -0.5]}
    record = {"id": "y", "choices": [{"text": "The answer is 2.", "logprobs": logprobs}]}
    assert read_candidates(write(tmp_path, record))["score"].tolist() == [-1.0]


def test_vllm(tmp_path):
    outputs = [
        {"text": r"\boxed{1/2}", "cumulative_logprob": -3.5, "token_ids": [1]},
        {"text": "I get 4", "cumulative_logprob": -1},
    ]
    path = write(tmp_path, {"prompt": "half?", "outputs": outputs, "level": 2, "reference": "0.5"})
    frame = read_candidates(path)
    assert frame.attrs["format"] == "vllm" and frame["problem"].tolist() == ["half?"] * 2
    assert frame["answer"].isna().tolist() == [False, True]
    assert frame["score"].tolist() == [-3.5, -1.0]
    assert frame["level"].tolist() == [2, 2] and frame["reference"].tolist() == ["0.5"] * 2
    assert read_candidates(path, last_number=True)["answer"].tolist() == ["1/2", "4"]


def test_lm_eval(tmp_path):
    record = {
        "doc_id": 0,
        "doc": {"question": "q", "level": "Level 5", "answer": "gold", "choices": ["a"]},
        "target": "so 5\n#### 5",
        "resps": [["#### 5", "#### 6"]],
        "filtered_resps": ["5"],
        "exact_match": 1.0,
    }
    frame = read_candidates(write(tmp_path, record, {**record, "doc_id": 1, "resps": ["#### 5"]}))
    assert frame.attrs["format"] == "lm-eval" and frame["problem"].tolist() == [0, 0, 1]
    assert frame["answer"].tolist() == ["5", "6", "5"] and set(frame["reference"]) == {"5"}
    assert set(frame["level"]) == {"Level 5"} and "score" not in frame


def test_tables_are_no_logs(tmp_path):
    path = write(tmp_path, {"problem": 1, "answer": "2"})
    assert log_format(path) is None
    with pytest.raises(InputError, match="expected a log of OpenAI's API"):
        read_candidates(path)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([batch("a", choice("x", -1)), batch("b", choice("x"))], "line 2: expected log-prob"),
        ([{"prompt": "p", "outputs": [1]}], "line 1, column 'outputs': expected objects"),
        ([{"prompt": "p", "outputs": [{"text": 3}]}], r"'outputs\[\].text': expected text, got 3"),
        ([{"prompt": "p", "outputs": []}], "holds no candidates"),
        ([{"outputs": [{"text": "x"}]}], "line 1: expected one of problem, .* to name the problem"),
        (
            [{"prompt": "p", "outputs": [{"text": "x", "cumulative_logprob": float("nan")}]}],
            "line 1: expected a finite log-probability, got nan",
        ),
        ([{"doc_id": 1, "resps": "x"}], "column 'resps': expected a list, got text"),
    ],
)
def test_faults_name_the_line(tmp_path, records, told):
    with pytest.raises(InputError, match=told):
        read_candidates(write(tmp_path, *records))
