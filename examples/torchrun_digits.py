"""Several processes with DistributedDataParallel: the session is the same on every rank. The task is that of the demo.

pip install tbmetrics
torchrun --nproc-per-node 2 examples/torchrun_digits.py
tbmetrics board runs/torchrun
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from tbmetrics import ClassGroups, TBMetrics
from tbmetrics.demo.model import NumberTransformer
from tbmetrics.demo.numbers import NAMES, NumberImages, load_splits


def share_of(images: NumberImages, batch_size: int, *, shuffle: bool) -> DataLoader[tuple[torch.Tensor, ...]]:
    """This rank's share of the pictures: images, labels, and the place of each in the whole set."""
    data = TensorDataset(images.images, images.targets["number"], torch.arange(len(images)))
    return DataLoader(data, batch_size=batch_size, sampler=DistributedSampler(data, shuffle=shuffle))


def train(log_dir: Path, epochs: int = 8) -> float:
    """Train one run on all ranks; return the recall of the tail, which every rank knows."""
    dist.init_process_group("gloo")
    splits = load_splits()
    training = share_of(splits.training, 32, shuffle=True)
    validation = share_of(splits.validation, 500, shuffle=False)
    groups = ClassGroups.from_labels({"number": splits.training.targets["number"]}, names={"number": NAMES["number"]})
    torch.manual_seed(0)
    model = DistributedDataParallel(NumberTransformer(), find_unused_parameters=True)  # the head for digits is unused
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=groups) as tb:
        for epoch in tb.epochs(range(epochs)):
            training.sampler.set_epoch(epoch)
            model.train()
            for images, labels, _ in tb.batches(training):
                F.cross_entropy(model(images)["number"], labels).backward()
                optimizer.step()
                optimizer.zero_grad()
            model.eval()
            with torch.no_grad():
                for images, labels, indices in validation:
                    tb.update(model(images)["number"], labels, indices=indices)  # repeated samples count once
    dist.destroy_process_group()
    return tb.get_metrics()["class_performance"]["type_metrics"]["number"]["tail"]["recall"]


if __name__ == "__main__":
    recall = train(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/torchrun"), *map(int, sys.argv[2:]))
    print(f"recall of the tail: {recall:.2f}")
