"""The long-tailed digits in a custom loop with Accelerate: pass tbmetrics what `prepare` returns.

pip install accelerate
python examples/accelerate_digits.py
tensorboard --logdir runs/accelerate
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from digits_longtail import PromptTransformer, class_groups, cross_entropy, load_splits, validate
from torch.utils.data import DataLoader

from tbmetrics import TBMetrics


def train(log_dir: Path, *, epochs: int = 10, seed: int = 0, accumulation: int = 2) -> TBMetrics:
    """Train one run; each optimizer step accumulates `accumulation` batches."""
    torch.manual_seed(seed)
    train_set, validation_set = load_splits(seed)
    groups = class_groups(train_set)
    model = PromptTransformer({attribute: len(classes) for attribute, classes in groups.items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), gradient_accumulation_steps=accumulation)
    model, optimizer, train_loader, validation_loader = accelerator.prepare(
        model, optimizer, DataLoader(train_set, batch_size=16, shuffle=True), DataLoader(validation_set, batch_size=100)
    )
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=groups) as tb:
        for _ in tb.epochs(range(epochs)):
            model.train()
            for images, targets in tb.batches(train_loader):
                with accelerator.accumulate(model):
                    with tb.component("forward_pass"):
                        losses = cross_entropy(model(images), targets)
                        loss = losses["digit"] + losses["shape"]
                    with tb.component("backward_pass"):
                        accelerator.backward(loss)
                    with tb.component("optimizer_step"):
                        optimizer.step()
                        optimizer.zero_grad()
                tb.log_scalar("loss", loss.detach())
            with tb.component("validation"):
                validate(model, validation_loader, tb)
    return tb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/accelerate"))
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    tb = train(arguments.log_dir, epochs=arguments.epochs)
    print(f"tensorboard --logdir {arguments.log_dir}   ({tb.global_step} steps)")


if __name__ == "__main__":
    main()
