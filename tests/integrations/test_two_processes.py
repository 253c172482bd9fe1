"""Two processes under ``accelerate launch`` share one order, and resume exactly."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.training.curriculum_batches import CurriculumBatches
from tests.integrations.trainer_scenario import DIFFICULTY, EXAMPLES
from tests.integrations.two_processes import LOADING


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", "0", "-m", "tests.integrations.two_processes", str(out),
    ]  # fmt: skip
    on_processors = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, env=on_processors)
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("kind", ["shards", "split", "dispatch"])
def test_together_they_see_the_plan(told, kind):
    plan = CurriculumBatches(DIFFICULTY, 8, weights=lambda t: rank_softmax(0.05 + t), seed=42)
    pairs = zip(told[0][kind]["seen"], told[1][kind]["seen"], strict=True)
    wanted = [plan.batch(k // 3, k % 3, k / 6).tolist() for k in range(6)]
    assert [one + two for one, two in pairs] == wanted


def test_losses_of_both_count(told):
    first, second = (one["self-paced"]["seen"] for one in told)
    assert {i for batch in first[:3] + second[:3] for i in batch} == set(range(EXAMPLES))
    assert len({i for batch in first[3:] + second[3:] for i in batch}) <= EXAMPLES // 2


@pytest.mark.parametrize("kind", LOADING)
def test_they_resume_exactly(told, kind):
    for one in told:
        assert one[kind]["again"] == one[kind]["seen"][2:]
        assert one[kind]["same bits"]
