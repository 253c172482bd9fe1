"""``gradatim run SLUG --model M --task T``, with a tiny random checkpoint."""

import inspect
import json

import pandas as pd
import pytest

from gradatim.cli.run import run
from gradatim.studies.data.tasks import Task, load_task
from gradatim.studies.real_models import RUNS, RealModelOptions
from gradatim.workflows.easy_to_hard_candidates import Sampling
from gradatim.workflows.easy_to_hard_settings import EasyToHardSettings
from tests.language.tiny_models import character_tokenizer, tiny_model
from tests.workflows.test_easy_to_hard import EvenVerifier, problems

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

SLUG = "easy-to-hard-generalization"
SIZES = ("--train-problems", "12", "--per-level", "4", "--candidates", "4", "--longest", "24")
ASKED = ("run", SLUG, "--model", "model", "--task", "even", *SIZES, "--temperature", "1")


@pytest.fixture
def model(place, monkeypatch):
    """A checkpoint in ``./model``, and a task that random text solves half of the time."""
    tiny_model(initializer_range=0.3).save_pretrained(place / "model")
    character_tokenizer().save_pretrained(place / "model")

    def load(name, **options):
        if name == "even":
            return Task(name, problems(), 2, EvenVerifier())
        return load_task(name, **options)

    monkeypatch.setattr("gradatim.studies.real_easy_to_hard.load_task", load)
    return place / "model"


def test_prints_tables_writes_them_and_goes_on(call, refused, model, place, monkeypatch):
    result = call(*ASKED, "--out", "out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "Easy and hard problems"
    assert "weighted vote (prm)" in result.stdout and "Area under ROC" in result.stdout
    assert lines[-1] == "report: out/report.html" and (place / "out/report.html").is_file()
    assert f"{SLUG} sampling easy solutions [1/1]" in result.stderr
    first = pd.read_parquet(place / "out/solutions.parquet")
    assert len(first) == 4 * 4 * 4
    record = json.loads((place / "out/run.json").read_text())
    assert record["settings"]["task"] == "even" and record["settings"]["easy"] == 2

    def no_sampling(*_, **__):
        raise AssertionError("sampled again")

    monkeypatch.setattr("gradatim.workflows.easy_to_hard_candidates.sample", no_sampling)
    again = call(*ASKED, "--out", "out", "--json")
    assert again.exit_code == 0, again.output
    told = json.loads(again.stdout)
    assert told["report"] == "out/report.html" and told["counts"]["problems"] == 16
    assert {row["rule"] for row in told["by_part"]} >= {"majority", "best_of_n:orm", "oracle"}
    assert pd.read_parquet(place / "out/solutions.parquet").equals(first)

    line = refused(*ASKED, "--out", "out", "--easy", "3")
    assert "other settings (easy)" in line and "--overwrite" in line


def test_results_of_other_settings_are_replaced_if_told_so(call, model, place):
    (place / "runs" / SLUG).mkdir(parents=True)
    (place / "runs" / SLUG / "run.json").write_text("{}")
    assert "no readable settings" in call(*ASKED).stderr
    result = call(*ASKED, "--overwrite", "--easy", "3", "--hard", "4", "--separator", r"\n\n")
    assert result.exit_code == 0, result.output
    record = json.loads((place / "runs" / SLUG / "run.json").read_text())
    assert (record["settings"]["easy"], record["settings"]["separator"]) == (3, "\n\n")


def test_what_does_not_go_together(refused, place):
    real = ("--model", "model", "--task", "math")
    for arguments, message in (
        ((SLUG, "--model", "smollm2"), "--model: expected --task with it"),
        ((SLUG, "--task", "math"), "--task: expected --model with it"),
        ((SLUG, "--per-level", "3"), "--per-level: only together with --model and --task"),
        ((SLUG, "--no-chat"), "--chat: only together with --model and --task"),
        ((SLUG, *real, "--budget", "demo"), "--budget: not together with --model and --task"),
        ((SLUG, *real, "--fresh"), "--fresh: not together with"),
        ((SLUG, "npo", *real), "--model: expected one paper, got 2"),
        (("npo", *real), "npo: its study has no run with a real model"),
        (("nppo", *real), "Did you mean npo"),
    ):
        assert message in refused("run", *arguments)
    assert not list(place.iterdir())


def test_bad_values(call, refused, model, place):
    def line(*options):
        return refused("run", SLUG, "--model", "model", "--task", "even", "--out", "out", *options)

    assert "task: expected one of math, math-500, gsm8k" in line("--task", "mth")
    assert "candidates: expected a number in [1, inf), got 0" in line("--candidates", "0")
    assert "temperature: expected a number in (0, inf), got 0" in line("--temperature", "0")
    assert "expected easy ones, of level 0 or lower" in line("--easy", "0")
    assert "hard: expected a level above easy=2, got 1" in line("--hard", "1")
    assert not (place / "out").exists()
    assert "source: nothing named 'modl' is on this machine" in line("--model", "modl")
    after_loading = call(*ASKED, "--out", "out", "--separator", "")
    assert after_loading.exit_code == 2
    assert after_loading.stderr.splitlines()[-1].startswith("error: separator: expected some text")
    assert not (place / "out" / "run.json").exists()


def test_an_interrupt_tells_what_is_kept(call, model, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gradatim.studies.real_easy_to_hard.evaluate_easy_to_hard", interrupted)
    result = call(*ASKED, "--out", "out")
    assert result.exit_code == 130
    assert "interrupted: what was sampled is kept in out" in result.stderr


def test_defaults_agree():
    taken = inspect.signature(run).parameters
    options = {
        name: parameter.default
        for name, parameter in taken.items()
        if name in RealModelOptions.__dataclass_fields__
    }
    options["separator"] = options["separator"].replace("\\n", "\n")
    assert RealModelOptions(**options) == RealModelOptions()
    settings, asked = EasyToHardSettings(), RealModelOptions()
    assert settings.sampling == Sampling(asked.candidates, asked.longest, asked.temperature)
    assert (settings.train_problems, settings.test_per_level) == (100, 25)
    assert set(RUNS) == {SLUG}
