"""Candidates out of the logs of samplers: one long table, whatever wrote the log."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.core.errors import InputError
from gradatim.core.io.columns import kind_of, show
from gradatim.core.io.json_records import is_json_lines, json_records
from gradatim.evaluators.answers import extract_answer

if TYPE_CHECKING:
    import pandas as pd

LOG_FORMATS = ("openai", "vllm", "lm-eval")

_NAMES = {
    "openai": ("custom_id", "problem", "id"),
    "vllm": ("problem", "request_id", "id", "prompt"),
    "lm-eval": ("doc_id", "doc_hash"),
}
_OWN = ("problem", "answer", "score", "text")
_BOOKKEEPING = {
    *("prompt", "prompt_hash", "target_hash", "doc_hash", "object", "created", "model", "error"),
    *("service_tier", "system_fingerprint", "filter", "method", "custom_id", "id", "request_id"),
}


@dataclass(frozen=True)
class _Candidate:
    """One sampled response: its text, and its log-probability where the log has it."""

    text: str | None
    logprob: float | None


def read_candidates(source: Any, *, last_number: bool = False) -> "pd.DataFrame":
    r"""Read the log of a sampler as a long table with one row a candidate.

    Known are JSON Lines (also .gz, .zst) of

    - OpenAI's API and whatever speaks it: batch outputs
      ``{"custom_id", "response": {"body": {"choices": [...]}}}``, and chat or text completions
      ``{"id", "choices": [...]}``;
    - vLLM: ``{"prompt", "outputs": [{"text", "cumulative_logprob"}]}``;
    - lm-evaluation-harness with ``--log_samples``: ``{"doc_id", "doc", "target", "resps"}``.

    Lines of one problem add up, so that one request a candidate and one request for all are the
    same. A failed request gives no candidate; the frame's ``attrs["failed"]`` counts them.

    Args:
        source: the file.
        last_number: whether the last number of a response is its answer if it names none.

    Returns:
        A data frame with the columns ``problem`` (custom_id, doc_id, or the log's own "problem",
        else id or prompt), ``answer`` (None where there is none), ``score`` (the sum of the tokens'
        log-probabilities; only if the log has them), ``text``, ``reference`` (lm-eval's target),
        and the other plain values of a line or its ``doc``, such as "level".
        ``attrs["format"]`` says what wrote the log.

    Raises:
        InputError: no such log; a line without what its format promises; log-probabilities for
            some candidates and not for others.
        StorageError: the file cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> from gradatim.core.io.tables import write_table
    >>> with TemporaryDirectory() as folder:
    ...     outputs = [{"text": "The answer is 2.", "cumulative_logprob": -0.5}]
    ...     line = {"prompt": ["1+1?"], "outputs": [outputs]}
    ...     log = write_table(line, f"{folder}/log.jsonl")
    ...     read_candidates(log).iloc[0, :3].to_dict()
    {'problem': '1+1?', 'answer': '2', 'score': -0.5}
    """
    form = log_format(source)
    if form is None:
        raise InputError(
            f"{source}: expected a log of OpenAI's API (choices), vLLM (outputs) or lm-eval (resps)"
        )
    import pandas as pd

    rows: list[dict[str, Any]] = []
    scored: bool | None = None
    failed = 0
    for place, record in json_records(source):
        candidates = list(_candidates(form, record, place))
        failed += not candidates
        shared = {"problem": _problem(form, record, place), **_extras(form, record, place)}
        for candidate in candidates:
            has_score = candidate.logprob is not None
            if scored not in (None, has_score):
                raise InputError(
                    f"{place}: expected log-probabilities for all candidates or for none, got "
                    f"{'one' if has_score else 'none'} here"
                )
            scored = has_score
            answer = extract_answer(candidate.text, last_number=last_number)
            row = {**shared, "answer": answer, "text": candidate.text}
            rows.append({**row, "score": candidate.logprob} if has_score else row)
    if not rows:
        raise InputError(f"{source}: holds no candidates ({failed} failed requests)")
    frame = pd.DataFrame(rows)
    names = [name for name in _OWN if name in frame]
    frame = frame[[*names, *(name for name in frame if name not in names)]]
    frame.attrs.update(format=form, failed=failed)
    return frame


def log_format(source: Any) -> str | None:
    """What wrote a log, from its first line: one of :data:`LOG_FORMATS`, or None for a table.

    >>> log_format({"problem": [1]}) is None
    True
    """
    if not is_json_lines(source):
        return None
    _, record = next(json_records(source), ("", {}))
    if "choices" in record or ("custom_id" in record and "response" in record):
        return "openai"
    if isinstance(record.get("outputs"), list):
        return "vllm"
    return "lm-eval" if "resps" in record else None


def _candidates(form: str, record: Mapping[str, Any], place: str) -> Iterator[_Candidate]:
    if form == "lm-eval":
        for texts in _list(record, "resps", place):
            for text in texts if isinstance(texts, list) else [texts]:
                yield _Candidate(_text(text, "resps", place), None)
    elif form == "vllm":
        for output in _objects(record, "outputs", place):
            text = _text(output.get("text"), "outputs[].text", place)
            yield _Candidate(text, _number(output.get("cumulative_logprob"), place))
    elif (body := _body(record)) is not None:
        for choice in _objects(body, "choices", place):
            message = choice.get("message")
            given = message.get("content") if isinstance(message, dict) else choice.get("text")
            text = _text(given, "choices[].message.content", place)
            yield _Candidate(text, _sum_of_logprobs(choice.get("logprobs"), place))


def _body(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The completion in a line of OpenAI's API; None if the request failed."""
    if "response" not in record and "choices" in record:
        return record
    response = record.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    return body if isinstance(body, dict) and "choices" in body else None


def _sum_of_logprobs(logprobs: Any, place: str) -> float | None:
    """The log-probability of a response, from chat or from text completions."""
    if not isinstance(logprobs, dict):
        return None
    if isinstance(tokens := logprobs.get("content"), list):
        values = [token.get("logprob") for token in tokens if isinstance(token, dict)]
    elif isinstance(tokens := logprobs.get("token_logprobs"), list):
        values = [value for value in tokens if value is not None]
    else:
        return None
    return math.fsum(_number(value, place) or 0.0 for value in values)


def _problem(form: str, record: Mapping[str, Any], place: str) -> str | int:
    for name in _NAMES[form]:
        value = record.get(name)
        if isinstance(value, str | int):
            return value
    raise InputError(f"{place}: expected one of {', '.join(_NAMES[form])} to name the problem")


def _extras(form: str, record: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The plain values beside the candidates; lm-eval's target is the reference."""
    doc = record.get("doc") if form == "lm-eval" else None
    sources = (doc if isinstance(doc, dict) else {}, record)
    found = {
        name: value
        for source in sources
        for name, value in source.items()
        if isinstance(value, str | int | float) and name not in {*_OWN, *_BOOKKEEPING, "doc_id"}
    }
    if form == "lm-eval" and "target" in record:
        target = str(record["target"])
        found["reference"] = extract_answer(target) or target
    return found


def _list(record: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = record.get(name)
    if not isinstance(value, list):
        raise InputError(f"{place}, column {name!r}: expected a list, got {kind_of(value)}")
    return value


def _objects(record: Mapping[str, Any], name: str, place: str) -> list[dict[str, Any]]:
    values = _list(record, name, place)
    for value in values:
        if not isinstance(value, dict):
            raise InputError(f"{place}, column {name!r}: expected objects, got {kind_of(value)}")
    return values


def _text(value: Any, name: str, place: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InputError(f"{place}, column {name!r}: expected text, got {show(value)}")
    return value


def _number(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{place}: expected a finite log-probability, got {show(value)}")
    return float(value)
