"""A DPOTrainer a stage: which pairs it sees, against which reference, and after a kill."""

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="needs trl: pip install 'gradatim[llm]'")

from datasets import Dataset

from gradatim.core.errors import InputError
from gradatim.integrations.preference_stages import train_in_stages
from tests.integrations.trl_scenario import COMMON
from tests.language.tiny_models import character_tokenizer, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

PROMPTS = 4
GROUP = np.repeat(np.arange(PROMPTS), 3)
DIFFICULTY = np.tile([-3.0, -2.0, -1.0], PROMPTS) + np.linspace(0, 0.9, 3 * PROMPTS)


class Interrupted(BaseException):
    """What is raised where a process would be killed."""


def model():
    made = tiny_model()
    made.generation_config.eos_token_id = 1
    return made


def pairs() -> Dataset:
    """Three pairs a prompt; the length of the rejected completion tells which."""
    return Dataset.from_list(
        [
            {"prompt": f"{chr(97 + prompt)}=", "chosen": "11", "rejected": "2" * (1 + number)}
            for prompt in range(PROMPTS)
            for number in range(3)
        ]
    )


class Lab:
    """Makes trainers, and notes the data, the loss of the first update and the references."""

    def __init__(self, folder, *, kill=None, **arguments):
        self.folder, self.kill, self.arguments = folder, kill, arguments
        self.rejected, self.references, self.updates = [], [], 0
        self.starts, self.trainers = [], []

    def __call__(self, model, reference, data, stage):
        from transformers import TrainerCallback
        from trl import DPOConfig, DPOTrainer

        lab = self

        class Note(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                lab.updates += 1
                if lab.updates == lab.kill:
                    raise Interrupted

        self.rejected.append(data["rejected"])
        self.references.append(reference)
        self.starts.append(
            (weights(model), None if reference is None else weights(reference))
        )  # fmt: skip
        settings = {**COMMON, "num_train_epochs": 1, "per_device_train_batch_size": 2}
        settings |= {"logging_strategy": "steps", "logging_steps": 1, **self.arguments}
        trainer = DPOTrainer(
            model=model,
            ref_model=reference,
            args=DPOConfig(output_dir=str(self.folder / f"stage-{stage}"), **settings),
            train_dataset=data,
            processing_class=character_tokenizer(),
            callbacks=[Note()],
        )
        self.trainers.append(trainer)
        return trainer

    def first_losses(self):
        return [trainer.state.log_history[0]["loss"] for trainer in self.trainers]


def weights(model):
    return copy.deepcopy(model.state_dict())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run(lab, made=None, **options):
    made = model() if made is None else made
    log = train_in_stages(lab, made, pairs(), DIFFICULTY, **{"group": GROUP, **options})
    return weights(made), log


def test_each_stage_takes_a_pair_of_each_prompt_and_the_last_model_as_the_reference(tmp_path):
    lab = Lab(tmp_path)
    final, log = run(lab)
    assert [sorted(set(stage)) for stage in lab.rejected] == [["2"], ["22"], ["222"]]
    assert [row["pairs"] for row in log] == [4, 4, 4]
    assert [row["updates"] for row in log] == [2, 2, 2]
    assert [row["difficulty"] for row in log] == pytest.approx(
        [DIFFICULTY[stage::3].mean() for stage in range(3)]
    )
    assert lab.first_losses() == pytest.approx([np.log(2)] * 3, abs=1e-4)
    assert all(same(policy, reference) for policy, reference in lab.starts)
    assert not same(lab.starts[0][0], lab.starts[1][0])
    assert not same(lab.starts[2][0], final)
    assert all(reference is not trainer.model for reference, trainer in
               zip(lab.references, lab.trainers, strict=True))  # fmt: skip


def test_a_fixed_reference_stays_the_first_model(tmp_path):
    lab = Lab(tmp_path)
    run(lab, refresh_reference=False)
    assert all(same(reference, model().state_dict()) for _, reference in lab.starts)
    losses = lab.first_losses()
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert min(abs(loss - np.log(2)) for loss in losses[1:]) > 1e-3


def test_it_is_what_trainers_one_after_the_other_do(tmp_path):
    final, _ = run(Lab(tmp_path / "ours"))
    by_hand, lab = model(), Lab(tmp_path / "hand")
    for stage in range(3):
        rows = list(range(stage, 3 * PROMPTS, 3))
        reference = model()
        reference.load_state_dict(by_hand.state_dict())
        lab(by_hand, reference, pairs().select(rows), stage).train()
    assert same(final, weights(by_hand))


def test_precomputed_references_are_those_of_the_stage(tmp_path):
    final, _ = run(Lab(tmp_path / "plain"))
    precomputed, _ = run(Lab(tmp_path / "early", precompute_ref_log_probs=True))
    for name, value in final.items():
        torch.testing.assert_close(precomputed[name], value, rtol=1e-4, atol=1e-5)


def test_without_groups_all_pairs_are_cut_by_difficulty(tmp_path):
    lab = Lab(tmp_path)
    _, log = run(lab, group=None, stages=2)
    assert [row["pairs"] for row in log] == [6, 6]
    order = np.argsort(DIFFICULTY)
    assert sorted(lab.rejected[0]) == sorted(pairs().select(order[:6])["rejected"])


def adapted():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(model(), config)


def test_adapters_need_no_second_model(tmp_path):
    pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")
    lab, made = Lab(tmp_path), adapted()
    before = weights(made)
    run(lab, made)
    assert lab.references == [None] * 3
    assert lab.first_losses() == pytest.approx([np.log(2)] * 3, abs=1e-4)
    assert set(made.peft_config) == {"default"}
    after = weights(made)
    assert same({n: v for n, v in after.items() if "lora" not in n},
                {n: v for n, v in before.items() if "lora" not in n})  # fmt: skip
    assert not same(after, before)
    with pytest.raises(InputError, match="refresh_reference: expected True for a model with adap"):
        run(lab, made, refresh_reference=False)


@pytest.mark.parametrize("kind", ["whole", "adapter"])
@pytest.mark.parametrize("kill", [1, 2, 3, 4, 6])
def test_a_run_that_was_killed_goes_on(kind, kill, tmp_path):
    make = model if kind == "whole" else adapted
    options = {"save_strategy": "steps", "save_steps": 1}
    final, log = run(Lab(tmp_path / "a", **options), make(), folder=tmp_path / "kept-a")
    with pytest.raises(Interrupted):
        run(Lab(tmp_path / "b", kill=kill, **options), make(), folder=tmp_path / "kept-b")
    lab = Lab(tmp_path / "b", **options)
    resumed, again = run(lab, make(), folder=tmp_path / "kept-b")
    assert same(resumed, final)
    assert len(lab.trainers) == 3 - (kill - 1) // 2
    assert [row["pairs"] for row in again] == [row["pairs"] for row in log]
    lab = Lab(tmp_path / "b", **options)
    assert same(run(lab, make(), folder=tmp_path / "kept-b")[0], final)
    assert lab.trainers == []


def test_a_new_run_does_not_take_up_another_ones_checkpoints(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1}
    final, _ = run(Lab(tmp_path, **options), folder=tmp_path / "kept")
    again, _ = run(Lab(tmp_path, **options), folder=tmp_path / "other")
    assert same(again, final)
    with pytest.raises(InputError, match="was made with refreshed = True, this run has False"):
        run(Lab(tmp_path), folder=tmp_path / "kept", refresh_reference=False)


def test_errors(tmp_path):
    lab, made = Lab(tmp_path), model()
    with pytest.raises(InputError, match="one number for each of the 12 pairs, got 3"):
        train_in_stages(lab, made, pairs(), [1, 2, 3])
    with pytest.raises(InputError, match=r"stages: expected at most 3, .*got 4"):
        run(lab, stages=4)
    with pytest.raises(InputError, match="finite"):
        train_in_stages(lab, made, pairs(), np.full(12, np.nan))
    with pytest.raises(InputError, match="a trainer of the model it was given"):
        run(lambda model, reference, data, stage: lab(tiny_model(), reference, data, stage))
    with pytest.raises(InputError, match="a trainer on the 4 pairs it was given, got 3"):
        run(lambda model, reference, data, stage: lab(model, reference, data.select([0, 1, 2]), 0))
