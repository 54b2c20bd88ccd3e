"""The demonstration's model: a small vision transformer in which class prompts attend to the patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tbmetrics.demo.numbers import DIGITS, NUMBERS

ROWS, COLUMNS = 4, 8  # of patches of 2 × 2 pixels


class NumberTransformer(nn.Module):
    """Pictures (N, 1, 8, 16) to logits, `number` (N, 100) and `digits` (N, 10).

    `number` is a linear classifier on the mean patches of both halves. For `digits` each class has a prompt that
    attends to the patches, and its logit comes from what it found.
    """

    def __init__(self, dim: int = 48, heads: int = 4, blocks: int = 1) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, dim, kernel_size=2, stride=2)
        self.position = nn.Parameter(torch.randn(ROWS * COLUMNS, dim) * 0.02)
        layers = (
            nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(blocks)
        )
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(dim)
        self.number = nn.Linear(2 * dim, NUMBERS)
        self.prompts = nn.Parameter(torch.randn(DIGITS, dim) * dim**-0.5)
        self.prompt_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.digit_weight = nn.Parameter(torch.randn(DIGITS, dim) * dim**-0.5)
        self.digit_bias = nn.Parameter(torch.zeros(DIGITS))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of both attributes."""
        patches = self.embed(images).flatten(2).transpose(1, 2) + self.position
        patches = self.norm(self.blocks(patches))
        halves = patches.unflatten(1, (ROWS, 2, COLUMNS // 2)).mean(dim=(1, 3))
        prompts = self.prompts.expand(len(images), -1, -1)
        attended, _ = self.prompt_attention(prompts, patches, patches, need_weights=False)
        digits = (attended * self.digit_weight).sum(dim=-1) + self.digit_bias
        return {"number": self.number(halves.flatten(1)), "digits": digits}
