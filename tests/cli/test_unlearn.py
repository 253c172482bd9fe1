import json

import pytest
import typer
from typer.testing import CliRunner

from gradatim.cli.app import COMMANDS, Commands
from gradatim.cli.unlearn import unlearn
from gradatim.workflows.unlearn_models import load_unlearned
from tests.workflows.score_data import tiny, write_jsonl
from tests.workflows.unlearn_data import FORGET, RETAIN, UNRELATED

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")


@pytest.fixture
def call(place):
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(unlearn)
    app.command("other")(lambda: None)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def records(table):
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


@pytest.fixture
def files(place):
    """A tiny model as a directory, what to forget, to keep, and unrelated text."""
    loaded = tiny()
    loaded.model.inner.save_pretrained(place / "base")
    loaded.tokenizer.save_pretrained(place / "base")
    write_jsonl(place / "forget.jsonl", records(FORGET))
    write_jsonl(place / "retain.jsonl", records(RETAIN))
    write_jsonl(place / "other.jsonl", [{"text": text} for text in UNRELATED])
    return (
        *("unlearn", "base", "--forget", "forget.jsonl", "--retain", "retain.jsonl"),
        *("--unrelated", "other.jsonl", "--longest", "8", "--epochs", "2", "--batch-size", "2"),
        *("--relearn-steps", "2", "--out", "out", "--precision", "float32", "--device", "cpu"),
    )


def test_a_model_a_page_and_what_is_said(call, refused, files, place):
    result = call(*files, "--reference", "base", "--utility", "retain.jsonl")
    assert result.exit_code == 2 and "another name than 'retain'" in result.output
    write_jsonl(place / "world.jsonl", records(RETAIN))
    result = call(*files, "--reference", "base", "--utility", "world.jsonl")
    assert result.exit_code == 0, result.output
    for told in (
        "npo+kl on base", "updates were made", "Before and after", "Reference", "forget quality",
        "Relearning attack", "What is said: world", "Said after", "note: the tokenizer has no chat",
        "written: out",
    ):  # fmt: skip
        assert told in result.stdout
    for name in ("report.html", "figures.csv", "rows.jsonl", "curve.csv", "model", "result.json"):
        assert (place / "out" / name).exists()
    assert load_unlearned("out", device="cpu").kind == "model"
    again = call(*files, "--reference", "base", "--utility", "world.jsonl")
    assert again.exit_code == 0 and again.stdout == result.stdout
    assert "holds another run" in refused(*files, "--seed", "3")


@pytest.mark.parametrize(
    ("options", "kind"),
    [(("--lora", "2"), "adapter"), (("--method", "uld", "--layers", "1"), "assistant")],
)
def test_adapters_and_assistants(call, files, place, options, kind):
    pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")
    result = call(*files, *options, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout[result.stdout.index("{") :])
    assert found["steps"] == 4 and found["written"] == "out" and found["rows"][0]["set"] == "forget"
    read = load_unlearned("out", device="cpu")
    assert read.kind == kind and len(read.generate(["2+3?"], longest=3)[0]) <= 3
    assert (place / "out" / kind).is_dir()


def test_errors_are_one_line(call, refused, files, place):
    write_jsonl(place / "same.jsonl", records(FORGET)[:1])
    plain = [one for one in files if one not in ("--retain", "retain.jsonl")]
    assert "row 0 (row 0 of what to forget)" in refused(*plain, "--retain", "same.jsonl")
    assert "needs texts to keep" in refused(*plain)
    assert "nothing named" in refused("unlearn", "absent", *files[2:])
    assert not (place / "out").exists() or not list((place / "out").glob("model"))
    (place / "full").mkdir()
    (place / "full/mine.txt").write_text("kept")
    assert "holds other files" in refused(*files, "--out", "full")


def test_it_is_among_the_commands():
    assert unlearn in COMMANDS
