"""Small trainings: models and batches, one loop, checkpoints, and what must hold after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups, GradientTracker, TBMetrics

Batch = tuple[torch.Tensor, torch.Tensor]

GROUPS = ClassGroups.from_counts({"x": [900, 50, 5]})
BATCHES = 4


def make_model() -> tuple[nn.Sequential, torch.optim.SGD]:
    """A model with dropout, so that a tracker that draws random numbers would change the training; its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def parallel_model(kind: str | None) -> nn.Module:
    """A model in this process ("ddp" or "fsdp2": in a job of several ranks), always with the same weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp2":
        from torch.distributed.fsdp import fully_shard

        for module in (model[0], model[2], model):
            fully_shard(module)
    return model


def make_batches(epoch: int, n_batches: int = BATCHES, shape: tuple[int, ...] = (6,)) -> Iterator[Batch]:
    """Batches of 12 samples of three classes; every epoch has its own."""
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(n_batches):
        yield torch.randn(12, *shape, generator=generator), torch.randint(0, 3, (12,), generator=generator)


def open_session(log_dir: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, **options: Any) -> TBMetrics:
    """A session that measures everything as often as possible."""
    options = {"overhead_budget": None, "classes": GROUPS, **options}
    if "gradients" not in options:
        options["gradients"] = GradientTracker(model, optimizer, every=1, detail_every=2)
    return TBMetrics(log_dir, model=model, optimizer=optimizer, **options)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    tb: TBMetrics | None = None,
    after_step: Callable[[], object] | None = None,
) -> None:
    """Train on `batches` once, with cross-entropy; `tb`, if given, measures it."""
    for inputs, labels in batches if tb is None else tb.batches(batches):
        optimizer.zero_grad()
        logits = model(inputs)
        if tb is not None:
            tb.observe(logits, labels)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        if tb is not None:
            tb.log_scalar("loss", loss.detach())
        if after_step is not None:
            after_step()


def validate(model: nn.Module, batches: Iterable[Batch], tb: TBMetrics | None = None) -> None:
    """Pass `batches` through the model in evaluation mode; `tb`, if given, measures it."""
    model.eval()
    with torch.no_grad():
        for inputs, labels in batches:
            logits = model(inputs)
            if tb is not None:
                tb.update(logits, labels)
    model.train()


def run_epoch(
    tb: TBMetrics | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    after_step: Callable[[], object] | None = None,
) -> None:
    """One epoch of training and its validation; without `tb` the same training, not measured."""
    train(model, optimizer, make_batches(epoch), tb, after_step)
    validate(model, make_batches(1000 + epoch), tb)


def unmeasured_parameters(epochs: int) -> list[torch.Tensor]:
    """The parameters after a training that nothing measures."""
    model, optimizer = make_model()
    for epoch in range(epochs):
        run_epoch(None, model, optimizer, epoch)
    return [p.detach().clone() for p in model.parameters()]


def assert_same_parameters(model: nn.Module, expected: Iterable[torch.Tensor]) -> None:
    """Bit by bit."""
    for parameter, expected_parameter in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter, expected_parameter)


def count_hooks(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Number of hooks on the modules and parameters of a model, and on its optimizer."""
    owners = (*model.modules(), *([] if optimizer is None else [optimizer]))
    hooks = [value for owner in owners for name, value in vars(owner).items() if name.endswith("_hooks")]
    hooks += [value for p in model.parameters() for value in (p._backward_hooks, p._post_accumulate_grad_hooks)]
    return sum(len(value or ()) for value in hooks)


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, tb: TBMetrics, **more: Any
) -> None:
    """Write the states of a training to `path`, with `more` beside them; a kill leaves the old or the new file."""
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "tbmetrics": tb.state_dict()}
    partial = Path(f"{path}.partial")
    torch.save({**states, "random": torch.get_rng_state(), **more}, partial)
    partial.replace(path)


def load_checkpoint(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, tb: TBMetrics
) -> dict[str, Any]:
    """Restore what `save_checkpoint` wrote; returns it."""
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    tb.load_state_dict(checkpoint["tbmetrics"])
    torch.set_rng_state(checkpoint["random"])
    return checkpoint
