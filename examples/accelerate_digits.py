"""A custom loop with Accelerate: pass tbmetrics what `prepare` returns. The task is that of `tbmetrics demo`.

pip install 'tbmetrics[accelerate]'
python examples/accelerate_digits.py
tensorboard --logdir runs/accelerate
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from tbmetrics import TBMetrics
from tbmetrics.demo.model import NumberTransformer
from tbmetrics.demo.numbers import Splits, class_groups, load_splits
from tbmetrics.demo.training import cross_entropy, evaluate


def train(log_dir: Path, *, splits: Splits | None = None, epochs: int = 10, accumulation: int = 2) -> TBMetrics:
    """Train one run; each optimizer step accumulates `accumulation` batches."""
    torch.manual_seed(0)
    splits = splits or load_splits()
    model = NumberTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    loaders = DataLoader(splits.training, batch_size=64, shuffle=True), DataLoader(splits.validation, batch_size=500)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), gradient_accumulation_steps=accumulation)
    model, optimizer, training, validation = accelerator.prepare(model, optimizer, *loaders)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=class_groups(splits.training)) as tb:
        for _ in tb.epochs(range(epochs)):
            model.train()
            for images, targets in tb.batches(training):
                with accelerator.accumulate(model):
                    with tb.component("forward_pass"):
                        loss = cross_entropy(model(images), targets)
                    with tb.component("backward_pass"):
                        accelerator.backward(loss)
                    with tb.component("optimizer_step"):
                        optimizer.step()
                        optimizer.zero_grad()
                tb.log_scalar("loss", loss.detach())
            with tb.component("validation"):
                evaluate(model, validation, tb)
    return tb


if __name__ == "__main__":
    tb = train(Path("runs/accelerate"))
    print(f"tensorboard --logdir runs/accelerate   ({tb.global_step} steps)")
