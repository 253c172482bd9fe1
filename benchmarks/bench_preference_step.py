"""A training step of DPO and of NPO beside TRL, at a vocabulary of 49,152: prints JSON lines.

Run with ``python benchmarks/bench_preference_step.py``. A step is forward and backward of a small
Llama with the widths of SmolLM2-135M on 8 sequences of 256 tokens; the optimizer is the same for
all and left out. Log-probabilities under the reference are ready, on both sides.

- DPO beside ``DPOTrainer.compute_loss``, which scores tokens in chunks through TRL's fused output
  layer and takes figures for its log on the way.
- NPO, which TRL does not have, beside the same loss behind that fused output layer alone, and
  behind ``selective_log_softmax`` of all logits. The faster of the two is the peer.
- Values: the loss and all gradients of a step, beside those of the peer.
- Memory: each arm alone in a process of its own. What counts is the peak beyond that of a step
  whose loss takes no logits: weights, gradients and the body's activations are in both. Large
  blocks go back to the system at once (``MALLOC_MMAP_THRESHOLD_``), so that the peak is that of
  living tensors.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from gradatim.language.log_probabilities import sequence_log_probabilities
from gradatim.language.transformers_lm import TransformersLM
from gradatim.objectives.unlearning import npo
from gradatim.recipes.iterative_dpo import PreferenceTuning

VOCABULARY, ROWS, LENGTH, LAYERS, BETA = 49_152, 8, 256, 4, 0.1
ROUNDS, TIME_LIMIT = 3, 1.1
ALL_LOGITS = 4 * ROWS * LENGTH * VOCABULARY
Loss = Callable[[], torch.Tensor]


class Arms:
    """One model and one batch, and a step's loss by every way to it."""

    def __init__(self) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM
        from trl.trainer.utils import add_fused_lm_head

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536,
            num_hidden_layers=LAYERS, num_attention_heads=9, num_key_value_heads=3,
            tie_word_embeddings=True, bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        self.model = LlamaForCausalLM(config).train()
        self.ours = TransformersLM(self.model)
        add_fused_lm_head(self.model)
        draw = torch.Generator().manual_seed(1)
        self.ids = torch.randint(3, VOCABULARY, (ROWS, LENGTH), generator=draw)
        self.mask = torch.ones_like(self.ids)
        self.response = self.mask.clone()
        self.response[:, 0] = 0
        expected = -(LENGTH - 1) * torch.tensor(float(VOCABULARY)).log()
        self.reference = expected + torch.randn(ROWS, generator=draw)

    def losses(self) -> dict[str, Loss]:
        """The loss of each arm, and one that reads no logits."""
        trainer = self._trainer()
        pairs = self._pairs()
        tuning, mask = PreferenceTuning(BETA), self.mask.bool()
        chosen, rejected = self.reference.chunk(2)
        inputs = {
            "input_ids": self.ids, "attention_mask": self.mask, "completion_mask": self.response,
            "ref_chosen_logps": chosen, "ref_rejected_logps": rejected,
        }  # fmt: skip

        def own_dpo() -> torch.Tensor:
            loss = tuning.step(self.ours, pairs, None)  # type: ignore[arg-type]
            return loss.sum / loss.count

        def own_npo() -> torch.Tensor:
            response = self.response.bool()
            values = sequence_log_probabilities(self.ours, self.ids, mask, response)
            return npo(values, self.reference, beta=BETA)

        def body() -> torch.Tensor:
            states = self.ours(self.ids, mask)
            return states.sum() + (self.model.lm_head.weight * 0.5).sum()

        return {
            "body": body,
            "dpo": own_dpo,
            "DPOTrainer": lambda: trainer.compute_loss(self.model, dict(inputs)),
            "npo": own_npo,
            "fused head": lambda: self._npo(self._fused()),
            "selective_log_softmax": lambda: self._npo(self._selective()),
        }

    def _pairs(self) -> dict[str, torch.Tensor]:
        chosen, rejected = self.reference.chunk(2)
        columns = {"ids": self.ids, "mask": self.mask.bool(), "response": self.response.bool()}
        pairs = {"chosen_reference": chosen, "rejected_reference": rejected}
        for name, values in columns.items():
            pairs[f"chosen_{name}"], pairs[f"rejected_{name}"] = values.chunk(2)
        return pairs

    def _npo(self, values: torch.Tensor) -> torch.Tensor:
        return -(2 / BETA) * functional.logsigmoid(-BETA * (values - self.reference)).mean()

    def _fused(self) -> torch.Tensor:
        labels = self.ids.masked_fill(self.response == 0, -100)
        output = self.model(
            input_ids=self.ids, attention_mask=self.mask, labels=labels, fused_lm_head=True
        )
        found: torch.Tensor = output.log_probs.sum(dim=1)
        return found

    def _selective(self) -> torch.Tensor:
        from trl.trainer.utils import selective_log_softmax

        logits = self.model(input_ids=self.ids, attention_mask=self.mask, use_cache=False).logits
        values = selective_log_softmax(logits[:, :-1], self.ids[:, 1:])
        found: torch.Tensor = (values * self.response[:, 1:]).sum(dim=1)
        return found

    def _trainer(self) -> Any:
        from datasets import Dataset
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast
        from trl import DPOConfig, DPOTrainer

        words = models.WordLevel({"<pad>": 0, "a": 1, "<unk>": 2}, unk_token="<unk>")
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(words), pad_token="<pad>", eos_token="<pad>"
        )
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args = DPOConfig(
                folder, beta=BETA, precompute_ref_log_probs=True, use_cpu=True, report_to="none",
                gradient_checkpointing=False, bf16=False, disable_tqdm=True,
            )  # fmt: skip
            data = Dataset.from_list([{"prompt": "a", "chosen": "a", "rejected": "a"}])
            return DPOTrainer(self.model, args=args, train_dataset=data, processing_class=tokenizer)

    def gradients(self, loss: Loss) -> tuple[float, list[torch.Tensor]]:
        """The value, and the gradients of all weights."""
        self.model.zero_grad()
        value = loss()
        value.backward()
        return float(value.detach()), [weight.grad.clone() for weight in self.model.parameters()]


def difference(arms: Arms, one: Loss, other: Loss) -> tuple[float, float]:
    """The relative difference of the values, and the largest of the gradients of any weight.

    Rounding of a sum of 255 log-probabilities in float32 is up to 1e-4, which beta hands on to the
    weight of a pair: gradients are equal to some 1e-5 at best.
    """
    (value, mine), (expected, theirs) = arms.gradients(one), arms.gradients(other)
    pairs = zip(mine, theirs, strict=True)
    apart = [float((a - b).norm() / b.norm()) for a, b in pairs]
    return abs(value - expected) / abs(expected), max(apart)


def seconds(arms: Arms, loss: Loss) -> float:
    """How long a step takes."""
    arms.model.zero_grad()
    began = time.perf_counter()
    loss().backward()
    return time.perf_counter() - began


def peak(name: str) -> float:
    """Bytes at the peak of one arm's step, beyond what there was before, in an own process."""
    run = subprocess.run(
        [sys.executable, __file__, "--peak", name],
        capture_output=True,
        text=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    return float(run.stdout.splitlines()[-1])


def print_peak(name: str) -> None:
    """Print the further memory of a step of one arm."""
    arms = Arms()
    loss = arms.losses()[name]
    loss().backward()  # what is made once, and buffers of libraries
    arms.model.zero_grad()
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before = memory("VmRSS")
    loss().backward()
    print(memory("VmHWM") - before)


def memory(name: str) -> int:
    """A figure of this process's memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024


def line(
    name: str,
    ours: str,
    peer: str,
    times: dict[str, list[float]],
    peaks: dict[str, float],
    apart: tuple[float, float],
) -> None:
    """Print one comparison, with memory."""
    extra, extra_of_peer = (peaks[one] - peaks["body"] for one in (ours, peer))
    ratio = statistics.median(p / o for o, p in zip(times[ours], times[peer], strict=True))
    most = ALL_LOGITS / 4
    fits = extra <= most and extra <= extra_of_peer
    print(
        json.dumps(
            {
                "benchmark": f"{name}, a step of {ROWS} x {LENGTH} tokens, {VOCABULARY:,} words",
                "ours_s": statistics.median(times[ours]),
                "peer": f"TRL, {peer}",
                "peer_s": statistics.median(times[peer]),
                "ratio": ratio,
                "limit": f"at most {TIME_LIMIT} times the peer's time; extra memory at most "
                f"{most / 1e6:.0f} MB and the peer's; values equal to 1e-5",
                "within": 1 / ratio <= TIME_LIMIT and fits and apart[0] <= 1e-5,
                "extra_memory": f"{extra / 1e6:.0f} MB",
                "of_the_peer": f"{extra_of_peer / 1e6:.0f} MB",
                "all_logits": f"{ALL_LOGITS / 1e6:.0f} MB",
                "difference_of_values": f"{apart[0]:.1e}",
                "of_gradients": f"{apart[1]:.1e}",
            }
        ),
        flush=True,
    )


def main() -> None:
    """Equality, then times in turn, then memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", metavar="ARM", help="one arm alone")
    given = parser.parse_args()
    torch.set_num_threads(2)
    if given.peak:
        print_peak(given.peak)
        return
    arms = Arms()
    losses = arms.losses()
    del losses["body"]
    apart = {
        "dpo": difference(arms, losses["dpo"], losses["DPOTrainer"]),
        "npo": difference(arms, losses["npo"], losses["selective_log_softmax"]),
    }
    times: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(ROUNDS):
        for name, loss in losses.items():
            times[name].append(seconds(arms, loss))
    del arms, losses
    peaks = {name: peak(name) for name in ("body", *times)}
    line("DPO", "dpo", "DPOTrainer", times, peaks, apart["dpo"])
    peers = ("fused head", "selective_log_softmax")
    fastest = min(peers, key=lambda name: statistics.median(times[name]))
    for peer in dict.fromkeys(("fused head", fastest)):
        line("NPO", "npo", peer, times, peaks, apart["npo"])


if __name__ == "__main__":
    main()
