"""What training dynamics cost: a vision transformer trained plainly, tracked, and with what people write instead.

Every variant trains the same model; variants take turns step by step in one process, and each one's step is compared
with the plain step of the same turn. Run: python benchmarks/training_dynamics.py [--steps 100] [--small]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from tbmetrics import GradientTracker, TBMetrics
from tbmetrics.training_dynamics.step_sample import StepSample

HISTOGRAMS_EVERY = 100


class VisionTransformer(nn.Module):
    """Patches of 16 × 16, pre-norm blocks, mean over patches; about 10 M parameters by default."""

    def __init__(self, dim: int = 384, depth: int = 5, heads: int = 6, classes: int = 1000) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 16, 16)
        self.blocks = nn.Sequential(*(self._block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    @staticmethod
    def _block(dim: int, heads: int) -> nn.Module:
        return nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, F.gelu, batch_first=True, norm_first=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) to logits (N, classes)."""
        return self.head(self.norm(self.blocks(self.embed(images).flatten(2).transpose(1, 2))).mean(1))


@dataclass
class Variant:
    """A way to train: a model of its own, and what is done around each step."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    after_backward: Callable[[int], None] = lambda step: None
    close: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)

    def step(self, number: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One timed training step."""
        synchronise(images.device)
        began = time.perf_counter()
        F.cross_entropy(self.model(images), labels).backward()
        self.after_backward(number)
        self.optimizer.step()
        self.optimizer.zero_grad()
        synchronise(images.device)
        self.seconds.append(time.perf_counter() - began)


def synchronise(device: torch.device) -> None:
    """Waits for the device, so that a step's time is its own."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def plain(name: str, make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], folder: str) -> Variant:
    """No instrumentation."""
    return Variant(name, *make())


def tracked(every: int, detail_every: int, **options: object) -> Callable[..., Variant]:
    """tbmetrics' GradientTracker in a session, written to event files."""

    def build(name: str, make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], folder: str) -> Variant:
        model, optimizer = make()
        tracker = GradientTracker(model, optimizer, every=every, detail_every=detail_every, **options)  # type: ignore[arg-type]
        tb = TBMetrics(
            f"{folder}/{name}",
            model=model,
            optimizer=optimizer,
            gradients=tracker,
            resources=False,
            profiler=False,
            overhead_budget=None,
        )
        tb.start_epoch(0)
        return Variant(name, model, optimizer, close=tb.finalize)

    return build


def add_histogram(every: int) -> Callable[..., Variant]:
    """`SummaryWriter.add_histogram` on every gradient and weight."""

    def build(name: str, make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], folder: str) -> Variant:
        model, optimizer = make()
        writer = SummaryWriter(f"{folder}/{name}")

        def write(step: int) -> None:
            if step == 1 or step % every == 0:
                for parameter_name, parameter in model.named_parameters():
                    writer.add_histogram(f"gradients/{parameter_name}", parameter.grad, step)
                    writer.add_histogram(f"weights/{parameter_name}", parameter, step)

        return Variant(name, model, optimizer, write, writer.close)

    return build


def item_hooks(name: str, make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], folder: str) -> Variant:
    """A hook on every parameter that takes its gradient's norm with `.item()`, as trackers are usually written."""
    model, optimizer = make()
    norms: dict[str, list[float]] = {}
    for parameter_name, parameter in model.named_parameters():
        kept = norms.setdefault(parameter_name, [])
        parameter.register_hook(lambda gradient, kept=kept: kept.append(gradient.norm().item()))
    return Variant(name, model, optimizer)


def wandb_watch(every: int) -> Callable[..., Variant] | None:
    """`wandb.watch(log="all")`, offline; None where wandb is not installed."""
    try:
        import wandb
    except ImportError:
        return None

    def build(name: str, make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], folder: str) -> Variant:
        os.environ.update(WANDB_SILENT="true", WANDB_MODE="offline", WANDB_ERROR_REPORTING="false")
        model, optimizer = make()
        run = wandb.run or wandb.init(project="bench", dir=folder, mode="offline")
        run.watch(model, log="all", log_freq=every, idx=every)
        return Variant(name, model, optimizer, lambda step: run.log({f"step {every}": step}), wandb.finish)

    return build


def histogram_pass(model: nn.Module, folder: str, repeats: int) -> tuple[float, float]:
    """Median seconds of one pass of histograms over all parameters, ours and `add_histogram`'s, in turn."""
    writer = SummaryWriter(f"{folder}/pass")
    parameters = dict(model.named_parameters())
    device = next(iter(parameters.values())).device
    ours, theirs = [], []
    for step in range(repeats):
        synchronise(device)
        began = time.perf_counter()
        sample = StepSample(detailed=True)
        sample.take_histograms("weights", parameters.items())
        list(sample.histograms())
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        for name, parameter in parameters.items():
            writer.add_histogram(name, parameter, step)
        theirs.append(time.perf_counter() - began)
    writer.close()
    return statistics.median(ours), statistics.median(theirs)


def main() -> None:
    """Prints one table: each variant's step over the plain step of the same turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--small", action="store_true", help="a small model, to try the script")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(2)
    sizes = {"dim": 64, "depth": 2, "heads": 2} if arguments.small else {}
    if device.type == "cuda":
        sizes = {"dim": 768, "depth": 12, "heads": 12}

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = VisionTransformer(**sizes).to(device)
        if device.type == "cuda":
            model = model.to(torch.bfloat16)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-4)

    builders = {
        "plain": plain,
        "plain again": plain,
        "(a) norms every step": tracked(1, 10**9, activations=False, on_nonfinite="ignore"),
        "(b) and histograms every 100": tracked(1, HISTOGRAMS_EVERY, activations=False, on_nonfinite="ignore"),
        "tbmetrics' defaults": tracked(10, 100),
        "checked at every step": tracked(1, HISTOGRAMS_EVERY, on_nonfinite="raise"),
        "add_histogram every 100": add_histogram(HISTOGRAMS_EVERY),
        ".item() hooks": item_hooks,
        "wandb.watch every 100": wandb_watch(100),
        "wandb.watch every 1000 (default)": wandb_watch(1000),
    }
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(arguments.batch, 3, 224, 224, generator=generator).to(
        device, next(make()[0].parameters()).dtype
    )
    labels = torch.randint(0, 1000, (arguments.batch,), generator=generator).to(device)
    with tempfile.TemporaryDirectory() as folder:
        variants = [build(name, make, folder) for name, build in builders.items() if build is not None]
        for number in range(1, arguments.steps + 1):
            turn = variants[number % len(variants) :] + variants[: number % len(variants)]
            for variant in turn:
                variant.step(number, images, labels)
        for variant in variants:
            variant.close()
        report(variants, device)
        ours, theirs = histogram_pass(variants[0].model, folder, 15)
        print(f"\none pass of histograms over all parameters: add_histogram / ours = {theirs / ours:.0f}x")


def report(variants: list[Variant], device: torch.device) -> None:
    """The table: median of the paired ratios, and the ratio of the totals, which holds the sampled steps."""
    base = variants[0].seconds[2:]
    parameters = sum(p.numel() for p in variants[0].model.parameters())
    print(f"{device}, torch {torch.__version__}, {parameters / 1e6:.1f} M parameters")
    print(f"plain step: {statistics.median(base):.3f} s")
    print(f"{'':36}{'median ratio':>14}{'ratio of totals':>18}")
    for variant in variants[1:]:
        seconds = variant.seconds[2:]
        paired = statistics.median(s / b for s, b in zip(seconds, base, strict=True))
        print(f"{variant.name:36}{paired:14.4f}{sum(seconds) / sum(base):18.4f}")


if __name__ == "__main__":
    main()
