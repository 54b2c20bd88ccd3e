"""The long-tailed digits in Lightning: add one callback and change nothing else.

pip install 'tbmetrics[lightning]'
python examples/lightning_digits.py
tensorboard --logdir runs/lightning
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from digits_longtail import Batch, PromptTransformer, class_groups, cross_entropy, load_splits
from torch.utils.data import DataLoader

from tbmetrics.integrations.lightning import TBMetricsCallback

try:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import TensorBoardLogger
except ModuleNotFoundError:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import TensorBoardLogger


class DigitsModule(pl.LightningModule):
    def __init__(self, num_classes: dict[str, int]) -> None:
        super().__init__()
        self.model = PromptTransformer(num_classes)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        images, targets = batch
        losses = cross_entropy(self.model(images), targets)
        loss = losses["digit"] + losses["shape"]
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        images, targets = batch
        return {"logits": self.model(images), "labels": targets}  # read by the callback

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.05)


def train(log_dir: Path, *, epochs: int = 10, seed: int = 0) -> TBMetricsCallback:
    """Train one run; its event files are next to those of the logger."""
    pl.seed_everything(seed)
    train_set, validation_set = load_splits(seed)
    groups = class_groups(train_set)
    module = DigitsModule({attribute: len(classes) for attribute, classes in groups.items()})
    callback = TBMetricsCallback(classes=groups)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(log_dir, name="digits"),
        callbacks=[callback],
        log_every_n_steps=5,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(train_set, batch_size=16, shuffle=True)
    trainer.fit(module, loader, DataLoader(validation_set, batch_size=100))
    return callback


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/lightning"))
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    session = train(arguments.log_dir, epochs=arguments.epochs).session
    print(f"tensorboard --logdir {arguments.log_dir}   ({session.log_dir if session else ''})")


if __name__ == "__main__":
    main()
