"""Small logs of every kind, and helpers to read the files of an export."""

import json

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from tbmetrics import ClassGroups, TBMetrics
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import Scalar

EVERYTHING = ["png", "svg", "pdf", "json", "csv", "html"]
HOSTILE = "../<img src=x onerror=alert(1)>/%2e Ünïcode 🦔"


def train(directory, *, attribute="digit", epochs=2, names=("a", "b", "c"), seed=0):
    """A run with one attribute and a loss."""
    groups = ClassGroups.from_counts({attribute: dict(zip(names, (900, 50, 3), strict=True))})
    generator = torch.Generator().manual_seed(seed)
    with TBMetrics(directory, classes=groups, hparams={"lr": 0.1}) as tb:
        for _ in tb.epochs(range(epochs)):
            tb.update(torch.randn(30, 3, generator=generator), torch.arange(30) % 2)
            tb.log_scalar("loss", 0.5)


def train_two_runs(root):
    """An ordinary run, and one whose names are hostile."""
    train(root / "one")
    train(root / "two", attribute=HOSTILE, names=(HOSTILE, "$b$", 'c,"d"\n'))
    return root


def train_a_model(directory, *, epochs=2):
    """A run with classes, gradients and resources."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    groups = ClassGroups.from_counts({"digit": {"a": 900, "b": 50, "c": 3}})
    with TBMetrics(directory, model=model, optimizer=optimizer, classes=groups) as tb:
        for _ in tb.epochs(range(epochs)):
            model(torch.eye(3)).sum().backward()
            optimizer.step()
            tb.update(model(torch.eye(3)), torch.arange(3))
            tb.log_scalar("loss", 1.0)


def write_plain(directory, *, steps=4):
    """A log of a plain `SummaryWriter` with every kind of summary."""
    random = np.random.default_rng(0)
    writer = SummaryWriter(str(directory))
    for step in range(steps):
        writer.add_scalar("train/loss", 1 / (step + 1), step)
        writer.add_scalar("train/lr", 0.1, step)
        writer.add_scalar("nothing", float("nan"), step)
        writer.add_histogram("weights/fc", random.normal(size=200), step)
        writer.add_image("samples/grid", (random.uniform(size=(3, 8, 9)) * 255).astype(np.uint8), step)
        labels = random.integers(0, 2, 50)
        writer.add_pr_curve("pr/cats", labels, np.clip(labels * 0.3 + random.uniform(size=50) * 0.7, 0, 1), step)
    writer.add_text("notes", "# hello <script>", 0)
    writer.close()


def grow(directory, tag="loss", *, steps=(50, 51)):
    """Add points of a scalar to a run, in a further file."""
    writer = EventWriter(directory)
    for step in steps:
        writer.write([Scalar(tag, 0.25)], step=step)
    writer.close()


def files(root):
    """Relative path → content."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def names(root, paths):
    """Paths relative to the export."""
    return {p.relative_to(root).as_posix() for p in paths}


def read_json(*parts):
    """A JSON file."""
    path = parts[0].joinpath(*parts[1:])
    return json.loads(path.read_text(encoding="utf-8"))
