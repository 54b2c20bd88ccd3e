"""A plain PyTorch loop: three lines of tbmetrics around it. The task is that of `tbmetrics demo`.

pip install tbmetrics
python examples/plain_loop.py
tbmetrics board runs/plain
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from tbmetrics import ClassGroups, TBMetrics
from tbmetrics.demo.model import NumberTransformer
from tbmetrics.demo.numbers import NAMES, Splits, load_splits, loader


def train(log_dir: Path, *, splits: Splits | None = None, epochs: int = 8) -> TBMetrics:
    """Train one run, and keep the model of the epoch with the best recall of the tail."""
    torch.manual_seed(0)
    splits = splits or load_splits()
    training, validation = loader(splits.training, 64, shuffle=True), loader(splits.validation, 500)
    groups = ClassGroups.from_labels({"number": splits.training.targets["number"]}, names={"number": NAMES["number"]})
    model = NumberTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=groups) as tb:
        for _ in tb.epochs(range(epochs)):
            model.train()
            for images, targets in tb.batches(training):
                loss = F.cross_entropy(model(images)["number"], targets["number"])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                tb.log_scalar("loss", loss.detach())
            model.eval()
            with torch.no_grad():
                for images, targets in validation:
                    tb.update(model(images)["number"], targets["number"])
            if tb.is_best("recall", group="tail"):
                torch.save(model.state_dict(), log_dir / "best.pt")
    return tb


if __name__ == "__main__":
    best = train(Path("runs/plain")).best("recall", group="tail")
    print(f"best recall of the tail: {best.value:.2f} in epoch {best.step}; now: tbmetrics board runs/plain")
