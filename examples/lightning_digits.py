"""Lightning: add one callback and change nothing else. The task is that of `tbmetrics demo`.

pip install 'tbmetrics[lightning]'
python examples/lightning_digits.py
tensorboard --logdir runs/lightning
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tbmetrics.demo.model import NumberTransformer
from tbmetrics.demo.numbers import Batch, Splits, class_groups, load_splits, loader
from tbmetrics.demo.training import cross_entropy
from tbmetrics.integrations.lightning import TBMetricsCallback

try:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import TensorBoardLogger
except ModuleNotFoundError:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import TensorBoardLogger


class NumbersModule(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = NumberTransformer()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        images, targets = batch
        loss = cross_entropy(self.model(images), targets)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        images, targets = batch
        return {"logits": self.model(images), "labels": targets}  # read by the callback

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.05)


def train(log_dir: Path, *, splits: Splits | None = None, epochs: int = 10, seed: int = 0) -> TBMetricsCallback:
    """Train one run; its event files are next to those of the logger."""
    pl.seed_everything(seed)
    splits = splits or load_splits()
    callback = TBMetricsCallback(classes=class_groups(splits.training))
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(log_dir, name="numbers"),
        callbacks=[callback],
        log_every_n_steps=5,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(NumbersModule(), loader(splits.training, 64, shuffle=True), loader(splits.validation, 500))
    return callback


if __name__ == "__main__":
    session = train(Path("runs/lightning")).session
    print(f"tensorboard --logdir runs/lightning   ({session.log_dir if session else ''})")
