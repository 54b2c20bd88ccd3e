"""A small real training that the tests of faults break in all ways, and processes to break it in."""

import multiprocessing
import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups, GradientTracker, TBMetrics

GROUPS = ClassGroups.from_counts({"x": [900, 50, 5]})
BATCHES = 4

#: Processes are forked from one that has imported torch once; it has no threads.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["torch", "tbmetrics.session.session", "tests.faults.loop"])


def make_model():
    """With dropout, so that a tracker that draws random numbers would change the training."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(BATCHES):
        yield torch.randn(12, 6, generator=generator), torch.randint(0, 3, (12,), generator=generator)


def session(log_dir, model, optimizer, **options):
    """Everything is measured, as often as possible."""
    options = {"overhead_budget": None, "classes": GROUPS, **options}
    if "gradients" not in options:
        options["gradients"] = GradientTracker(model, optimizer, every=1, detail_every=2)
    return TBMetrics(log_dir, model=model, optimizer=optimizer, **options)


def run_epoch(tb, model, optimizer, epoch, after_step=lambda: None):
    """One epoch of training and its validation; without `tb` the same training, not measured."""
    for x, labels in batches(epoch) if tb is None else tb.batches(batches(epoch)):
        optimizer.zero_grad()
        logits = model(x)
        if tb is not None:
            tb.observe(logits, labels)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        if tb is not None:
            tb.log_scalar("loss", loss.detach())
        after_step()
    model.eval()
    with torch.no_grad():
        for x, labels in batches(1000 + epoch):
            logits = model(x)
            if tb is not None:
                tb.update(logits, labels)
    model.train()


def bare(epochs):
    """The parameters after a training that nothing measures."""
    model, optimizer = make_model()
    for epoch in range(epochs):
        run_epoch(None, model, optimizer, epoch)
    return [p.detach().clone() for p in model.parameters()]


def assert_same(model, expected):
    """Bit by bit."""
    for ours, theirs in zip(model.parameters(), expected, strict=True):
        assert torch.equal(ours, theirs)


def assert_free(model):
    """No hook is left on any module or parameter."""
    for module in model.modules():
        assert not any(len(hooks) for name, hooks in vars(module).items() if name.endswith("_hooks")), module
    assert all(not p._backward_hooks and not p._post_accumulate_grad_hooks for p in model.parameters())


def train_from_checkpoint(log_dir, checkpoint, until, flushed=None, started=None):
    """Trains up to epoch `until`, from the checkpoint where there is one; writes it after each epoch.

    Args:
        flushed: shared array; [0] becomes the step up to which `tb.flush()` has returned.
        started: event that is set when training begins.
    """
    torch.set_num_threads(1)
    model, optimizer = make_model()
    first = 0
    with session(log_dir, model, optimizer, strict=True) as tb:
        if os.path.exists(checkpoint):
            saved = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            tb.load_state_dict(saved["tbmetrics"])
            torch.set_rng_state(saved["random"])
            first = saved["epoch"] + 1
        if started is not None:
            started.set()

        def note():
            if flushed is not None and tb.global_step % 3 == 0:
                tb.log_scalar("flushed", float(tb.global_step))
                tb.flush()
                flushed[0] = tb.global_step

        for epoch in tb.epochs(range(first, until)):
            run_epoch(tb, model, optimizer, epoch, note)
            tb.end_epoch()
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "tbmetrics": tb.state_dict()}
            partial = Path(f"{checkpoint}.partial")
            torch.save({**parts, "random": torch.get_rng_state(), "epoch": epoch}, partial)
            partial.replace(checkpoint)
    return tb
