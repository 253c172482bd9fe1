"""Lightning with ``CurriculumLoader``: a convolutional net on 2,000 digits of MNIST, 4 epochs."""

import logging
from typing import Any

import torch
from common import RANDOM
from fit_digits import BATCH, DIGITS, digits

from gradatim.curriculum.orders import hard_to_easy
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.integrations.torch_loader import CurriculumLoader
from gradatim.training import ShuffledBatches
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.self_paced import SelfPaced

TITLE = "Lightning, test accuracy"
SEEDS = range(10, 15)
RATES = (2e-3, 4e-3, 8e-3, 1.6e-2)
RATE = 4e-3
EPOCHS = 4
PLANS: dict[str, dict[str, Any]] = {
    "pacing root, once an epoch": {
        "pacing": Pacing("root", start=0.2, end=0.8),
        "replacement": False,
        "epochs": EPOCHS,
    },
    "softmax over ranks, warming": {"weights": lambda t: rank_softmax(0.2 + 2 * t)},
    "hard to easy, every epoch": {"order": hard_to_easy},
}
SELF_PACED = "self-paced, the easiest 75%"
ARMS = [RANDOM, *PLANS, SELF_PACED]


def run(arm: str, seed: int, rate: float = RATE) -> dict[str, float]:
    """Test accuracy from clean labels and from labels of which 30% are false."""
    return {
        f"{name} labels": _accuracy(arm, seed, noise, rate)
        for name, noise in (("clean", 0.0), ("30% false", 0.3))
    }


def _accuracy(arm: str, seed: int, noise: float, rate: float) -> float:
    import lightning

    class Module(lightning.LightningModule):
        """A small convolutional net, which tells the losses of its batch where that is wanted."""

        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Conv2d(1, 8, 5, stride=2), torch.nn.ReLU(),
                torch.nn.Conv2d(8, 16, 5, stride=2), torch.nn.ReLU(),
                torch.nn.Flatten(), torch.nn.Linear(256, 10),
            )  # fmt: skip

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            images, labels = batch
            losses = torch.nn.functional.cross_entropy(self.net(images), labels, reduction="none")
            if isinstance(plan, SelfPaced):
                plan.record(loader.index, losses.detach())
            return losses.mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=rate)

    x, y, test_x, test_y, difficulty = digits(seed, noise)
    images, test = (torch.from_numpy(a).reshape(-1, 1, 28, 28) for a in (x, test_x))
    plan = _plan(arm, seed, difficulty)
    data = torch.utils.data.TensorDataset(images, torch.from_numpy(y))
    loader = CurriculumLoader(data, plan, epochs=EPOCHS)
    torch.manual_seed(seed)
    module = Module()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    with torch.no_grad():
        found = module.net(test).argmax(dim=1).numpy()
    return float((found == test_y).mean())


def _plan(arm: str, seed: int, difficulty: Any) -> Any:
    if arm == RANDOM:
        return ShuffledBatches(DIGITS, BATCH, seed=seed)
    if arm == SELF_PACED:
        return SelfPaced(DIGITS, BATCH, pacing=lambda t: 0.75, momentum=0.5, seed=seed)
    return CurriculumBatches(difficulty, BATCH, seed=seed, **PLANS[arm])
