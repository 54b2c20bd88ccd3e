"""Cost of tracking attention: sampled and unsampled training steps compared with plain ones.

Four layers of a ViT-tiny at 196 tokens (width 192, 3 heads).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.measuring import Comparison, Results, Run, in_turns, seconds, two_threads
from benchmarks.models import SIDE, VisionTransformer
from tbmetrics import AttentionVisualizer


def measure(run: Run) -> Results:
    """Time a forward and backward pass: plain, hooked and sampled."""
    device = two_threads()
    torch.manual_seed(0)
    batch = run.choose(2, 8)
    images, labels = torch.randn(batch, 3, SIDE, SIDE, device=device), torch.zeros(batch, dtype=torch.long).to(device)
    plain, hooked = (VisionTransformer(192, 4, 3, 10).to(device) for _ in range(2))
    visualizer = AttentionVisualizer(hooked)
    visualizer.register_hooks()

    def step(model: nn.Module, *, sampled: bool = False) -> float:
        visualizer._passes.is_due = sampled
        return 1e3 * seconds(partial(_pass, model, images, labels), device)

    ways = {
        "plain step": partial(step, plain),
        "plain again": partial(step, plain),
        "a step that is not sampled": partial(step, hooked),
        "a sampled step": partial(step, hooked, sampled=True),
    }
    values = in_turns(ways, run.choose(8, 100))
    watched = ("a step that is not sampled", "a sampled step")
    about = f"four layers of a ViT-tiny, 196 tokens, batches of {batch}, {device}"
    return [Comparison("a forward and backward pass", "ms", "plain step", values, watched=watched, about=about)]


def _pass(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    F.cross_entropy(model(images), labels).backward()
    model.zero_grad()
