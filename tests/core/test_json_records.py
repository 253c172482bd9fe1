import gzip

import pytest

from gradatim.core.errors import InputError
from gradatim.core.io import text_blocks
from gradatim.core.io.json_records import is_json_lines, json_records


def test_objects_that_differ_are_read_with_their_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 16)
    text = '{"a": 1}\n\n{"a": "x", "b": [1, "y"]}\n{"c": {}}'
    (tmp_path / "log.jsonl").write_text(text)
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("log.jsonl", "log.jsonl.gz"):
        found = list(json_records(tmp_path / name))
        assert [record for _, record in found] == [{"a": 1}, {"a": "x", "b": [1, "y"]}, {"c": {}}]
        assert [place.rpartition(" ")[2] for place, _ in found] == ["1", "3", "4"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2: expected one JSON object a line, got '{\"a\":'"),
        (b"[1]\n", "line 1: expected one JSON object a line, got a list"),
        (b'{"a": "\xff"}\n', "line 1: expected text in UTF-8, got the byte 0xff"),
    ],
)
def test_faults_name_the_line(tmp_path, content, told):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(json_records(path))
    assert told in str(caught.value) and str(caught.value).startswith(str(path))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(InputError, match="expected a JSON Lines file"):
        list(json_records(tmp_path / "a.csv"))
    with pytest.raises(InputError, match="no such file"):
        list(json_records(tmp_path / "none.jsonl"))
    assert not is_json_lines(tmp_path / "a.csv") and not is_json_lines(tmp_path / "none.jsonl")
