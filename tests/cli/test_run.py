import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from gradatim.studies.ledger import Ledger
from tests.cli.conftest import MODULE, SLUG
from tests.studies.synthetic_results import write_ledger

SMOKE = ("run", SLUG, "--budget", "smoke", "--jobs", "2")


def test_run_prints_verdicts_and_writes_a_report(call, study, place):
    result = call(*SMOKE, "--seeds", "10-11")
    assert result.exit_code == 0, result.output
    assert f"{SLUG} [2/2] seed " in result.stderr and "finished in" in result.stderr
    assert "✓ shown" in result.stdout and "ELR memorizes fewer" in result.stdout
    report = Path(result.stdout.splitlines()[-1].removeprefix("report: "))
    assert report == Path("results/report") / f"{SLUG}.smoke.html"
    assert "ELR memorizes fewer" in (place / report).read_text()

    before = (place / f"results/{SLUG}.smoke.jsonl").read_bytes()
    again = call(*SMOKE, "--seeds", "10,11", "--json")
    assert again.exit_code == 0
    assert again.stderr.count("was there already") == 2
    (record,) = json.loads(again.stdout)
    assert record["slug"] == SLUG and len(record["verdicts"]) == 5
    assert record["report"] == str(report)
    assert (place / f"results/{SLUG}.smoke.jsonl").read_bytes() == before


def test_bad_arguments_are_refused_before_anything_runs(refused, study, place):
    for seeds in ("10-", "a", "19-10", "3,3", ""):
        assert "seeds: " in refused("run", SLUG, "--seeds", seeds)
    assert "Did you mean npo" in refused("run", SLUG, "nppo")
    assert "budget: expected one of smoke, demo, full" in refused("run", SLUG, "--budget", "tiny")
    assert "jobs: expected at least 1" in refused("run", SLUG, "--jobs", "0")
    assert "--fresh and --recheck" in refused("run", SLUG, "--fresh", "--recheck")
    assert not list(place.glob("results/*.jsonl"))


def test_output_folder_that_cannot_be_written(refused, study, place):
    (place / "taken").write_text("mine")
    assert "taken" in refused(*SMOKE, "--seeds", "10", "--out", "taken")
    assert (place / "taken").read_text() == "mine"


def test_usage_errors_end_with_code_2(call, place):
    for arguments in (("run",), ("run", SLUG, "--jobs", "many"), ("rnu",), ("papers", "--wat")):
        result = call(*arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output and result.stderr


def test_a_seed_that_fails_is_named_and_the_others_are_kept(call, study, place):
    study(
        "\ndef study(seed, budget, inner=study):\n    assert seed != 11, 'bad luck'\n"
        "    yield from inner(seed, budget)\n"
    )
    result = call(*SMOKE, "--seeds", "10-12")
    assert result.exit_code == 2
    assert "seed 11 failed: AssertionError: bad luck" in result.stderr
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("error: ") and "1 of 3 seeds failed" in error
    assert Ledger.read(f"results/{SLUG}.smoke.jsonl").seeds == (10, 12)


def test_stale_results_are_kept_until_told_otherwise(call, refused, study, place):
    path = write_ledger(place / "results", range(10, 12), "smoke", MODULE).path
    before = path.read_bytes()
    study("\nMORE = 1\n")
    line = refused(*SMOKE, "--seeds", "10-11")
    assert "--fresh" in line and "--recheck" in line
    assert path.read_bytes() == before

    assert call(*SMOKE, "--recheck").exit_code == 0
    assert path.read_bytes().splitlines()[1:] == before.splitlines()[1:]
    assert call(*SMOKE, "--seeds", "10-11").exit_code == 0

    study("\nMORE = 2\n")
    assert call(*SMOKE, "--seeds", "10", "--fresh").exit_code == 0
    assert Ledger.read(path).seeds == (10,)
    assert len(list(path.parent.glob(f"{SLUG}.smoke.jsonl.*"))) == 1


def test_one_study_that_fails_does_not_stop_the_others(call, study, place, monkeypatch):
    (place / "results").mkdir()
    (place / f"results/{SLUG}.smoke.jsonl").write_text("{}\n")
    result = call("run", SLUG, "--budget", "smoke", "--seeds", "10")
    assert result.exit_code == 2
    assert "line 1" in result.stderr


def test_interrupt_tells_what_is_kept(study, place):
    study(
        "\ndef study(seed, budget, inner=study):\n    import time\n"
        "    time.sleep(60 * (seed > 10))\n    yield from inner(seed, budget)\n"
    )
    command = [sys.executable, "-c", "from gradatim.cli import main; main()"]
    arguments = ["run", SLUG, "--budget", "smoke", "--seeds", "10-12", "--jobs", "1"]
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert "seed 10 finished" in first
    assert process.returncode == 130
    assert f"interrupted: seeds 10 are kept in results/{SLUG}.smoke.jsonl" in rest
    assert "Traceback" not in rest
    assert Ledger.read(f"results/{SLUG}.smoke.jsonl").seeds == (10,)
