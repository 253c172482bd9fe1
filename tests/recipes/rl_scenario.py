"""A toy problem for reinforcement learning: repeat the last token of the prompt, then end.

As in life half of the problems have answers; the others are scored by an evaluator. Every method
learns it in a second, and a run can be interrupted anywhere.
"""

import hashlib
import json

import torch

from gradatim.language.sampling import as_responses, sample
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.easy_to_hard_rl import EasyToHardRL
from gradatim.recipes.expert_iteration import RestEM
from gradatim.recipes.iterative_dpo import IterativeDPO
from gradatim.recipes.policy_improvement import Sampling
from gradatim.recipes.ppo import PPO
from tests.training import scenario

PROMPTS = [[1], [2], [3], [4, 1], [5, 2], [6, 3]]
EASY, END = 3, 7
SAMPLING = Sampling(copies=16, longest=5, stop=[END])


def policy():
    torch.manual_seed(7)
    return SmallDecoder(8, hidden_size=16, layers=1, window=3, embedding_size=8)


def right_tokens(prompts, responses):
    """Tokens that repeat the prompt's last one, or the end."""
    wanted = torch.tensor([prompt[-1] for prompt in prompts])[responses.prompt]
    return (responses.tokens == wanted[:, None]) | (responses.tokens == END)


def share(prompts, responses):
    """The share of right tokens: what the evaluator scores."""
    hits = right_tokens(prompts, responses) & responses.mask
    return hits.sum(dim=1) / responses.lengths


def verify(responses):
    """Whether the first token repeats the prompt's last one, where an answer is available."""
    wanted = torch.tensor([prompt[-1] for prompt in PROMPTS])[responses.prompt]
    right = (responses.tokens[:, 0] == wanted).float()
    return right.masked_fill(responses.prompt >= EASY, torch.nan)


class Steps:
    """The same evaluator, step by step: each token is a step."""

    def segment(self, tokens, mask):
        return torch.where(mask, torch.arange(tokens.shape[1]), -1)

    def steps(self, prompts, responses):
        right = right_tokens(prompts, responses)
        return torch.where(right, 3.0, -3.0).where(responses.mask, 0.0), responses.mask

    def __call__(self, prompts, responses):
        return share(prompts, responses)


def adam(rate):
    return lambda parameters: torch.optim.Adam(parameters, rate)


def methods(rounds=3, optimizer=adam):
    return {
        "rest_em": RestEM(
            rounds=rounds, keep=8, threshold=0.3, steps=12, batch_size=16, optimizer=optimizer(0.02)
        ),
        "iterative_dpo": IterativeDPO(
            rounds=rounds, pairs=8, gap=0.1, steps=12, batch_size=16, optimizer=optimizer(0.01)
        ),
        "ppo": PPO(rounds=rounds, problems=4, epochs=2, batch_size=16, optimizer=optimizer(0.01)),
    }


def demonstrations():
    return [[1], [2]], as_responses([[1, END], [2, END]])


def train(folder, name, *, rounds=3, evaluator=None, method=None, model=None, **options):
    """Run a method and return the policy and a digest of all that it ended with."""
    model = policy() if model is None else model
    method = methods(rounds)[name] if method is None else method
    sampling = options.pop("sampling", SAMPLING)
    recipe = EasyToHardRL(model, evaluator or Steps(), method, sampling=sampling)
    options = {"verify": verify, "prompts": PROMPTS, "seed": 3, **options}
    log = recipe.fit(
        demonstrations=demonstrations(), checkpoint=folder, precision="float32", **options
    )
    digest = hashlib.sha256(json.dumps(log).encode())
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return model, digest.hexdigest(), log


def reward(model, seed=0):
    """The evaluator's score of fresh responses to all problems."""
    found = sample(model, PROMPTS, copies=60, longest=5, stop=[END], seed=seed)
    return share(PROMPTS, found)


def run_into(folder, name, kill_call=None):
    """Train in a process of its own, which kills itself at a call of what writes checkpoints."""
    torch.set_num_threads(1)
    if kill_call is not None:
        scenario.kill_at_call(kill_call)
    (folder / "digest.txt").write_text(train(folder / "run", name)[1])
