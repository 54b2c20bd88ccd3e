"""The long-tailed digits with the Transformers Trainer and a tiny vision transformer, without downloads.

pip install 'tbmetrics[transformers]'
python examples/transformers_digits.py
tensorboard --logdir runs/transformers
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from digits_longtail import LabelledDigits, class_groups, load_splits
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from tbmetrics import ClassGroups
from tbmetrics.integrations.transformers import TBMetricsCallback


class DigitsForViT(Dataset[dict[str, Any]]):
    """The digits under the argument names of the model's `forward`."""

    def __init__(self, digits: LabelledDigits) -> None:
        self.digits = digits

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, targets = self.digits[index]
        return {"pixel_values": image, "labels": targets["digit"]}


def tiny_vit() -> ViTForImageClassification:
    """A randomly initialized vision transformer with 16 patches of 2×2 pixels."""
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    config = ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=10, **sizes)
    return ViTForImageClassification(config)


def train(log_dir: Path, *, epochs: int = 10, seed: int = 0) -> TBMetricsCallback:
    """Train one run; its event files are next to those of the Trainer."""
    set_seed(seed)
    train_set, validation_set = load_splits(seed)
    digit = class_groups(train_set)["digit"]
    groups = ClassGroups.from_counts({"digit": dict(zip(digit.names, digit.counts.tolist(), strict=True))})
    metrics = TBMetricsCallback(classes=groups)
    arguments = TrainingArguments(
        output_dir=str(log_dir),
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=100,
        learning_rate=1e-3,
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
        train_dataset=DigitsForViT(train_set),
        eval_dataset=DigitsForViT(validation_set),
        compute_metrics=metrics.compute_metrics,  # receives the logits of the whole evaluation
        callbacks=[metrics],
    ).train()
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/transformers"))
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    session = train(arguments.log_dir, epochs=arguments.epochs).session
    print(f"tensorboard --logdir {arguments.log_dir}   ({session.log_dir if session else ''})")


if __name__ == "__main__":
    main()
