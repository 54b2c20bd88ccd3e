"""What a vision transformer looks at, with fused kernels and any number of layers, beside its training.

python examples/attention_of_vit.py
tensorboard --logdir runs/attention     (Images: training_dynamics/attention/…)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tbmetrics import AttentionVisualizer, TBMetrics


class TinyViT(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, classes): a class token and 64 patches of 4×4 pixels."""

    def __init__(self, classes: int = 3, dim: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, kernel_size=4, stride=4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, nhead=4, dim_feedforward=64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), tokens], dim=1) + self.position
        return self.classifier(self.encoder(tokens)[:, 0])


def squares(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a bright square in one of three rows, which is the class."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.rand(n, 3, 32, 32, generator=generator) * 0.3, torch.arange(n) % 3
    columns = torch.randint(0, 24, (n,), generator=generator)
    for image, label, column in zip(images, labels.tolist(), columns.tolist(), strict=True):
        image[:, 10 * label + 2 : 10 * label + 10, column : column + 8] += 0.7
    return images, labels


def train(log_dir: Path, epochs: int = 5) -> TBMetrics:
    """Train, and look at four fixed images in each epoch."""
    torch.manual_seed(0)
    (images, labels), (validation, truth) = squares(240, seed=1), squares(60, seed=2)
    model = TinyViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    attention = AttentionVisualizer(model, probe=validation[:4])
    classes = {"row": {"top": 200, "middle": 60, "bottom": 10}}
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=classes, attention=attention) as tb:
        for _ in tb.epochs(range(epochs)):
            for batch in tb.batches(torch.randperm(len(images)).split(40)):
                nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
                optimizer.zero_grad()
            tb.update(model(validation).detach(), truth)
    return tb


if __name__ == "__main__":
    print(f"tensorboard --logdir {train(Path('runs/attention')).log_dir}")
