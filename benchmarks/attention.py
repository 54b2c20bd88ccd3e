"""What watching attention costs: sampled and unsampled training steps against plain ones, in turns, paired.

A ViT-tiny at 197 tokens (width 192, 3 heads; 4 layers here). Run: python benchmarks/attention.py [--steps 200]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import AttentionVisualizer


class VisionTransformer(nn.Module):
    """197 tokens of width 192."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        options = {"dropout": 0.0, "activation": F.gelu, "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(192, 3, 768, **options) for _ in range(depth)))
        self.head = nn.Linear(192, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (N, 197, 192) to logits (N, 10)."""
        return self.head(self.blocks(tokens)[:, 0])


def step(model: nn.Module, tokens: torch.Tensor, labels: torch.Tensor) -> float:
    """Seconds of one forward and backward pass."""
    began = time.perf_counter()
    F.cross_entropy(model(tokens), labels).backward()
    model.zero_grad()
    return time.perf_counter() - began


def main() -> None:
    """Prints the paired ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    tokens, labels = torch.randn(arguments.batch, 197, 192), torch.zeros(arguments.batch, dtype=torch.long)
    plain, hooked = VisionTransformer(), VisionTransformer()
    visualizer = AttentionVisualizer(hooked)
    visualizer.register_hooks()
    ratios: dict[str, list[float]] = {"unsampled": [], "sampled": [], "plain again": []}
    for number in range(arguments.steps):
        for kind in ("unsampled", "sampled", "plain again") if number % 2 else ("plain again", "sampled", "unsampled"):
            if kind == "sampled" and number % 4:
                continue
            visualizer._wanted = kind == "sampled"
            base = step(plain, tokens, labels)
            ratios[kind].append(step(plain if kind == "plain again" else hooked, tokens, labels) / base)
    print(f"torch {torch.__version__}, batch {arguments.batch}, plain step {step(plain, tokens, labels):.3f} s")
    for kind, found in ratios.items():
        low, high = statistics.quantiles(found, n=4)[::2]
        print(f"{kind:14}{statistics.median(found):8.3f}   (quartiles {low:.3f} to {high:.3f}, {len(found)} pairs)")


if __name__ == "__main__":
    main()
