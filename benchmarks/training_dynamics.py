"""Cost of training dynamics: training a vision transformer plainly, tracked, and with common alternatives.

All variants train the same model and take turns step by step in one process; each step is compared with the plain step
of the same turn.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from benchmarks.measuring import Comparison, Results, Run, in_turns, seconds, two_threads
from benchmarks.models import SIDE, VisionTransformer
from tbmetrics import GradientTracker, TBMetrics
from tbmetrics.training_dynamics.gradients.step_sample import StepSample

HISTOGRAMS_EVERY = 100


@dataclass
class Variant:
    """A way to train: its own copy of the model, and callbacks."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    after_backward: Callable[[int], None] = lambda step: None
    close: Callable[[], None] = lambda: None
    steps: int = 0

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Train one step; return its milliseconds."""
        self.steps += 1
        return 1e3 * seconds(partial(self._step, images, labels), images.device)

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        F.cross_entropy(self.model(images), labels).backward()
        self.after_backward(self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad()


def plain(name: str, make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], folder: str) -> Variant:
    """No instrumentation."""
    return Variant(name, *make())


def tracked(every: int | None = None, detail_every: int | None = None, **options: object) -> Callable[..., Variant]:
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
    """A hook on every parameter that reads the norm of its gradient with `.item()`, the usual way to track it."""
    model, optimizer = make()
    norms: defaultdict[str, list[float]] = defaultdict(list)

    def record_norm(parameter_name: str, gradient: torch.Tensor) -> None:
        norms[parameter_name].append(gradient.norm().item())

    for parameter_name, parameter in model.named_parameters():
        parameter.register_hook(partial(record_norm, parameter_name))
    return Variant(name, model, optimizer)


def wandb_watch(every: int) -> Callable[..., Variant]:
    """`wandb.watch(log="all")`, offline."""

    def build(name: str, make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], folder: str) -> Variant:
        import wandb

        os.environ.update(WANDB_SILENT="true", WANDB_MODE="offline", WANDB_ERROR_REPORTING="false")
        model, optimizer = make()
        run = wandb.run or wandb.init(project="bench", dir=folder, mode="offline")
        run.watch(model, log="all", log_freq=every, idx=every)
        return Variant(name, model, optimizer, lambda step: run.log({f"step {every}": step}), wandb.finish)

    return build


PLAIN = "plain step"
OURS = {
    "norms every step": tracked(1, 10**9, activations=False, on_nonfinite="ignore"),
    "norms every step, histograms every 100": tracked(1, HISTOGRAMS_EVERY, activations=False, on_nonfinite="ignore"),
    "`GradientTracker`'s defaults": tracked(),
    'everything checked at every step (`on_nonfinite="raise"`)': tracked(1, HISTOGRAMS_EVERY, on_nonfinite="raise"),
}
PEERS = {
    "plain again": plain,
    "`SummaryWriter.add_histogram` of all, every 100": add_histogram(HISTOGRAMS_EVERY),
    "a hook with `.item()` on every parameter": item_hooks,
}


def measure(run: Run) -> Results:
    """Compare steps of all variants, then a pass of histograms over all parameters."""
    device = two_threads()
    size = run.choose((64, 2, 2), (768, 12, 12) if device.type == "cuda" else (384, 5, 6))

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        model = VisionTransformer(*size, 1000).to(device, dtype)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-4)

    builders = {PLAIN: plain, **OURS, **PEERS}
    if run.has("wandb"):
        builders |= {f'wandb\'s `watch(log="all")`, every {n}': wandb_watch(n) for n in (100, 1000)}
    with tempfile.TemporaryDirectory() as folder:
        variants = {name: build(str(i), make, folder) for i, (name, build) in enumerate(builders.items())}
        about, values = _steps(run, variants)
        passes = in_turns(_histogram_passes(make()[0], folder), run.choose(5, 15))
    return [
        Comparison("a training step", "ms", PLAIN, values, watched=tuple(OURS), about=about),
        Comparison("histograms of all parameters", "ms", "`add_histogram`", passes, inverse=True, watched=("ours",)),
    ]


def _steps(run: Run, variants: dict[str, Variant]) -> tuple[str, dict[str, list[float]]]:
    """Describe what is trained, and return the milliseconds of each variant."""
    first = variants[PLAIN].model
    like = next(first.parameters())
    batch = run.choose(2, 4)
    images = torch.randn(batch, 3, SIDE, SIDE).to(like)
    labels = torch.randint(0, 1000, (batch,)).to(like.device)
    ways = {name: partial(variant.step, images, labels) for name, variant in variants.items()}
    values = in_turns(ways, run.choose(8, 103), warm_up=2)
    for variant in variants.values():
        variant.close()
    parameters = sum(p.numel() for p in first.parameters())
    return f"vision transformer of {parameters / 1e6:.1f} M parameters, batches of {batch}, {like.device.type}", values


def _histogram_passes(model: nn.Module, folder: str) -> dict[str, Callable[[], float]]:
    """Functions that measure the milliseconds of a pass over all parameters, by way."""
    writer = SummaryWriter(f"{folder}/pass")
    parameters = dict(model.named_parameters())
    device = next(iter(parameters.values())).device

    def ours() -> None:
        sample = StepSample(detailed=True)
        sample.take_histograms("weights", list(parameters), list(parameters.values()))
        list(sample.histograms())

    def theirs() -> None:
        for name, parameter in parameters.items():
            writer.add_histogram(name, parameter)

    def milliseconds(way: Callable[[], None]) -> float:
        measured = 1e3 * seconds(way, device)
        writer.flush()  # its thread would write what one way gave it while the other is measured
        return measured

    return {"`add_histogram`": partial(milliseconds, theirs), "ours": partial(milliseconds, ours)}
