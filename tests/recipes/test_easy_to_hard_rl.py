"""Easy-to-hard reinforcement learning improves rewards, and survives what may go wrong."""

import multiprocessing
import shutil
import signal

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.sampling import sample
from gradatim.recipes import easy_to_hard_rl
from gradatim.recipes.easy_to_hard_rl import METHODS, EasyToHardRL
from gradatim.recipes.expert_iteration import RestEM
from gradatim.recipes.iterative_dpo import IterativeDPO
from gradatim.recipes.policy_improvement import NonFiniteRewardError, Sampling
from gradatim.recipes.ppo import PPO
from gradatim.training.checkpoint import list_checkpoints, load_checkpoint
from tests.recipes import rl_scenario as scene

every_method = pytest.mark.parametrize("name", list(METHODS))
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.recipes.rl_scenario"])


class Interrupted(BaseException):
    """What is raised where a process would be killed."""


class AtCall:
    """Calls a function, and raises at a certain call."""

    def __init__(self, function, number):
        self.function, self.number, self.calls = function, number, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == self.number:
            raise Interrupted
        return self.function(*arguments, **options)


@pytest.fixture(scope="module")
def undisturbed():
    """The digest of each method's run that nothing interrupts."""
    return {name: scene.train(None, name)[1] for name in METHODS}


def same(weights, others):
    return all(torch.equal(weights[name], others[name]) for name in others)


@every_method
@pytest.mark.parametrize("evaluator", [scene.Steps(), scene.share], ids=["steps", "whole"])
def test_rewards_rise(name, evaluator):
    before = scene.reward(scene.policy())
    rounds = {"rest_em": 3, "iterative_dpo": 6, "ppo": 20}[name]
    model, _, log = scene.train(None, name, rounds=rounds, evaluator=evaluator)
    after = scene.reward(model)
    error = (before.var() / len(before) + after.var() / len(after)).sqrt()
    assert after.mean() - before.mean() > 6 * error
    hard = slice(60 * scene.EASY, None)  # where no answer is available
    assert after[hard].mean() > before[hard].mean() + 0.1
    assert len(log) == rounds and all(isinstance(v, float) for row in log for v in row.values())
    assert log[-1]["score"] > log[0]["score"]


@every_method
def test_a_function_of_its_arguments_and_the_seed(name, undisturbed):
    torch.manual_seed(123)
    model = scene.policy()
    torch.rand(5)
    assert scene.train(None, name, model=model)[1] == undisturbed[name]
    assert scene.train(None, name, seed=4)[1] != undisturbed[name]


@every_method
def test_checkpoints_do_not_change_the_run(name, tmp_path, undisturbed):
    assert scene.train(tmp_path, name)[1] == undisturbed[name]
    assert [path.name for path in tmp_path.iterdir()] == ["rounds"]
    before = [path.stat().st_mtime_ns for path in list_checkpoints(tmp_path / "rounds")]
    assert scene.train(tmp_path, name)[1] == undisturbed[name]  # finished: loads its result
    assert before == [path.stat().st_mtime_ns for path in list_checkpoints(tmp_path / "rounds")]


@every_method
@pytest.mark.parametrize("call", [1, 3])
def test_interrupted_while_it_judges(name, call, tmp_path, undisturbed):
    steps = scene.Steps()
    point = "steps" if name == "ppo" else "__call__"
    breaking = type("Breaking", (scene.Steps,), {point: AtCall(getattr(steps, point), call)})()
    with pytest.raises(Interrupted):
        scene.train(tmp_path, name, evaluator=breaking)
    assert len(list_checkpoints(tmp_path / "rounds")) == min(call - 1, 2)
    assert scene.train(tmp_path, name)[1] == undisturbed[name]


@every_method
@pytest.mark.parametrize("call", [5, 12, 14])
def test_interrupted_inside_the_training_of_a_round(name, call, tmp_path, undisturbed):
    updates = AtCall(lambda: None, call)

    def breaking(rate):
        def make(parameters):
            optimizer = torch.optim.Adam(parameters, rate)
            optimizer.register_step_pre_hook(lambda *_: updates())
            return optimizer

        return make

    with pytest.raises(Interrupted):
        scene.train(tmp_path, name, method=scene.methods(optimizer=breaking)[name])
    assert scene.train(tmp_path, name)[1] == undisturbed[name]
    assert [path.name for path in tmp_path.iterdir()] == ["rounds"]


@every_method
@pytest.mark.parametrize("call", [1, 3])
def test_interrupted_between_a_round_and_what_is_cleared_after_it(
    name, call, tmp_path, undisturbed, monkeypatch
):
    save = easy_to_hard_rl.save_checkpoint
    calls = AtCall(lambda: None, call)

    def saving(*arguments, **options):
        save(*arguments, **options)
        calls()

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(easy_to_hard_rl, "save_checkpoint", saving)
        scene.train(tmp_path, name)
    assert scene.train(tmp_path, name)[1] == undisturbed[name]
    assert [path.name for path in tmp_path.iterdir()] == ["rounds"]


@pytest.mark.parametrize(
    ("name", "call"), [("rest_em", 3), ("rest_em", 14), ("iterative_dpo", 9), ("ppo", 6)]
)
def test_killed_while_a_checkpoint_is_written(name, call, tmp_path, undisturbed):
    codes = []
    for kill_call in (call, None):
        process = FORK.Process(target=scene.run_into, args=(tmp_path, name, kill_call))
        process.start()
        process.join()
        codes.append(process.exitcode)
    assert codes == [-signal.SIGKILL, 0]
    assert (tmp_path / "digest.txt").read_text() == undisturbed[name]


@every_method
def test_more_rounds_go_on_where_fewer_ended(name, tmp_path, undisturbed):
    scene.train(tmp_path, name, rounds=1)
    assert scene.train(tmp_path, name, rounds=3)[1] == undisturbed[name]
    with pytest.raises(InputError, match="has done 3 rounds, this run has 2"):
        scene.train(tmp_path, name, rounds=2)


@every_method
def test_a_checkpoint_does_not_need_the_policy_that_the_run_began_with(name, tmp_path, undisturbed):
    scene.train(tmp_path, name, rounds=1)
    other = scene.policy()
    torch.nn.init.normal_(other.head.weight)
    assert scene.train(tmp_path, name, model=other)[1] == undisturbed[name]


def test_rest_em_tunes_the_first_policy_in_every_round():
    rates = iter([0.1, 0.0])
    tune = lambda parameters: torch.optim.SGD(parameters, next(rates))  # noqa: E731
    method = RestEM(rounds=2, threshold=0.3, steps=3, optimizer=tune)
    scores = []

    def evaluator(prompts, responses):
        scores.append(scene.share(prompts, responses))
        return scores[-1]

    model, _, _ = scene.train(None, "rest_em", method=method, evaluator=evaluator)
    assert same(model.state_dict(), scene.policy().state_dict())  # what a rate of 0 makes of it
    assert not torch.equal(scores[0], scores[1])  # but the second round sampled from the tuned one


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed = 3, this run has 4"),
        ({"prompts": [*scene.PROMPTS[:-1], [6, 2]]}, "digest of prompts"),
        ({"prompts": scene.PROMPTS[:-1]}, "number of prompts = 6, this run has 5"),
        ({"sampling": Sampling(copies=16, longest=5, stop=[7], temperature=0.9)},
         "sampling.temperature = 1.0, this run has 0.9"),
        ({"method": RestEM(rounds=1, keep=3)}, "method.keep = 8, this run has 3"),
        ({"name": "ppo"}, "method = RestEM, this run has PPO"),
    ],
)  # fmt: skip
def test_other_settings_are_refused(change, named, tmp_path):
    scene.train(tmp_path, "rest_em", rounds=1)
    model = scene.policy()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=f"was made with {named}"):
        scene.train(tmp_path, **{"name": "rest_em", "rounds": 1, "model": model, **change})
    assert same(model.state_dict(), start)


@every_method
@pytest.mark.parametrize("bad", [float("nan"), -float("inf")])
def test_rewards_that_are_not_finite_stop_the_run_and_leave_the_last_good_policy(
    name, bad, tmp_path, undisturbed
):
    class Failing(scene.Steps):
        """Its second answer holds a number that is not finite."""

        def __init__(self):
            self.calls = 0

        def spoil(self, values):
            self.calls += 1
            if self.calls == 2:
                values = values.float().clone()
                values[5] = bad
            return values

        def steps(self, prompts, responses):
            logits, mask = super().steps(prompts, responses)
            return self.spoil(logits), mask

        def __call__(self, prompts, responses):
            return self.spoil(super().__call__(prompts, responses))

    model = scene.policy()
    with pytest.raises(NonFiniteRewardError, match=r"evaluator: .*for response 5 \("):
        scene.train(tmp_path, name, evaluator=Failing(), model=model)
    newest = list_checkpoints(tmp_path / "rounds")
    assert [path.name for path in newest] == ["step-000000001"]
    weights, _ = load_checkpoint(newest[0])
    assert same(model.state_dict(), weights)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert scene.train(tmp_path, name)[1] == undisturbed[name]  # and can be mended and go on


@every_method
@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            lambda r: torch.full((len(r),), 0.5),
            r"expected 1 \(right\), 0 \(wrong\) or NaN .*0.5 for",
        ),
        (lambda r: torch.full((len(r),), torch.inf), "got inf for response 0"),
        (lambda r: -torch.ones(len(r)), r"got -1 for response 0 \(\d+ of \d+\)"),
        (lambda r: torch.ones(len(r), 1), r"verify: expected one number for each of the \d+"),
        (lambda r: torch.tensor(1.0), r"verify: expected one number .* got shape \[\]"),
        (lambda r: torch.ones(len(r) - 1), "verify: expected one number"),
    ],
)
def test_answers_that_are_wrong_in_their_own_way(name, answers, message):
    model = scene.policy()
    with pytest.raises(InputError, match=message) as caught:
        scene.train(None, name, model=model, verify=answers)
    assert "finite" not in str(caught.value)
    assert same(model.state_dict(), scene.policy().state_dict())


@pytest.mark.parametrize("convert", [list, lambda values: values.numpy(), lambda v: v.double()])
def test_answers_may_be_lists_arrays_or_other_numbers(convert, undisturbed):
    def answers(responses):
        return convert(scene.verify(responses))

    assert scene.train(None, "rest_em", verify=answers)[1] == undisturbed["rest_em"]


@pytest.mark.parametrize("name", ["rest_em", "iterative_dpo"])
def test_scores_of_another_shape(name):
    with pytest.raises(InputError, match=r"evaluator: expected one number for each of the \d+"):
        scene.train(None, name, evaluator=lambda prompts, responses: torch.ones(3))


def test_arguments():
    model = scene.policy()
    assert isinstance(EasyToHardRL(model, scene.share).method, PPO)
    assert isinstance(EasyToHardRL(model, scene.share, "rest_em").method, RestEM)
    with pytest.raises(InputError, match="method: expected one of rest_em, iterative_dpo, ppo"):
        EasyToHardRL(model, scene.share, "grpo")
    with pytest.raises(InputError, match="prompts: expected at least one problem"):
        EasyToHardRL(model, scene.share).fit([], scene.verify)
    with pytest.raises(InputError, match="precision: expected one of float32"):
        EasyToHardRL(model, scene.share).fit([[1]], scene.verify, precision="float8")
    for wrong in ({"copies": 0}, {"longest": 0}, {"temperature": 0.0}, {"batch_rows": 0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}: expected"):
            Sampling(**wrong)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_ppo_reads_and_trains_in_one_precision(precision):
    changes = []

    class Watched(PPO):
        def step(self, model, batch, state):
            if state.step == 0:
                new, values = model(batch["ids"], batch["mask"])
                inside = batch["response"]
                changes.append((new - batch["old"])[inside].abs().max())
                changes.append((values - batch["old_values"])[inside].abs().max())
            return super().step(model, batch, state)

    method = Watched(rounds=2, problems=4, batch_size=16, optimizer=scene.adam(0.01))
    recipe = EasyToHardRL(scene.policy(), scene.Steps(), method, sampling=scene.SAMPLING)
    recipe.fit(scene.PROMPTS, scene.verify, precision=precision)
    assert len(changes) == 4
    assert max(changes) < {"float32": 1e-5, "bfloat16": 2e-2}[precision]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Llama", "rest_em"), ("Llama", "iterative_dpo"), ("Llama", "ppo"), ("GPT-2", "rest_em")],
)  # the last has dropout
def test_a_model_of_transformers(kind, name, tmp_path):
    pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")
    from gradatim.evaluators.reward_models import LikelihoodRewardModel
    from gradatim.evaluators.scorers import ProcessReward
    from gradatim.language.transformers_lm import TransformersLM
    from tests.language.tiny_models import tiny_model

    evaluator = ProcessReward(
        LikelihoodRewardModel(TransformersLM(tiny_model(kind)), scale=0.1, shift=0.5),
        lambda tokens, mask: torch.where(mask, torch.arange(tokens.shape[1]) // 2, -1),
        aggregate="min",
    )
    small = {"rounds": 2, "batch_size": 4, "optimizer": scene.adam(1e-3)}
    method = {
        "rest_em": RestEM(threshold=0.0, steps=3, **small),
        "iterative_dpo": IterativeDPO(gap=0.0, steps=3, **small),
        "ppo": PPO(problems=2, **small),
    }[name]

    def run(folder):
        model = TransformersLM(tiny_model(kind))
        recipe = EasyToHardRL(
            model, evaluator, method, sampling=Sampling(copies=4, longest=4, stop=[0, 9])
        )
        unknown = lambda responses: torch.full((len(responses),), torch.nan)  # noqa: E731
        log = recipe.fit([[1, 2], [3, 4, 5], [6]], unknown, checkpoint=folder)
        return model, log

    model, log = run(tmp_path / "a")
    start = TransformersLM(tiny_model(kind)).state_dict()
    assert not same(model.state_dict(), start)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(list_checkpoints(tmp_path / "b" / "rounds")[-1])
    resumed, again = run(tmp_path / "b")
    assert again == log and same(resumed.state_dict(), model.state_dict())
    assert sample(model, [[1]], longest=2).tokens.shape == (1, 2)
