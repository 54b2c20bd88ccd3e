"""The Trainer of Transformers with a tiny vision transformer. The task is that of `tbmetrics demo`.

pip install 'tbmetrics[transformers]'
python examples/transformers_digits.py
tensorboard --logdir runs/transformers
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from tbmetrics import ClassGroups
from tbmetrics.demo.numbers import NumberImages, Splits, class_groups, load_splits
from tbmetrics.integrations.transformers import TBMetricsCallback


class NumbersForViT(Dataset[dict[str, Any]]):
    """The numbers under the argument names of the model's `forward`."""

    def __init__(self, numbers: NumberImages) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, targets = self.numbers[index]
        return {"pixel_values": image, "labels": targets["number"]}


def tiny_vit() -> ViTForImageClassification:
    """A randomly initialized vision transformer with 32 patches of 2×2 pixels."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    return ViTForImageClassification(
        ViTConfig(image_size=(8, 16), patch_size=2, num_channels=1, num_labels=100, **sizes)
    )


def train(log_dir: Path, *, splits: Splits | None = None, epochs: int = 10, seed: int = 0) -> TBMetricsCallback:
    """Train one run; its event files are next to those of the Trainer."""
    set_seed(seed)
    splits = splits or load_splits()
    metrics = TBMetricsCallback(classes=ClassGroups({"number": class_groups(splits.training)["number"]}))
    arguments = TrainingArguments(
        output_dir=str(log_dir),
        num_train_epochs=epochs,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=500,
        learning_rate=3e-3,
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=5,
        report_to="tensorboard",
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        seed=seed,
    )
    Trainer(
        model=tiny_vit(),
        args=arguments,
        train_dataset=NumbersForViT(splits.training),
        eval_dataset=NumbersForViT(splits.validation),
        compute_metrics=metrics.compute_metrics,  # receives the logits of the whole evaluation
        callbacks=[metrics],
    ).train()
    return metrics


if __name__ == "__main__":
    session = train(Path("runs/transformers")).session
    print(f"tensorboard --logdir runs/transformers   ({session.log_dir if session else ''})")
