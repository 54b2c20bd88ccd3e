"""What Accelerate prepares can be given to TBMetrics: its optimizer, its model, its loaders."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from tbmetrics import GradientTracker, TBMetrics

accelerate = pytest.importorskip("accelerate")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore", "error::tbmetrics.errors.TBMetricsWarning")]


def test_accumulated_steps_and_their_gradients_are_those_of_the_optimizer(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    data = TensorDataset(torch.randn(40, 8), torch.arange(40) % 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, batch_size=10))
    tracker = GradientTracker(model, optimizer, every=1, detail_every=1)
    norms = []
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, gradients=tracker, overhead_budget=None) as tb:
        for _ in tb.epochs(range(2)):
            for inputs, labels in tb.batches(loader):
                with accelerator.accumulate(model):
                    accelerator.backward(F.cross_entropy(model(inputs), labels))
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), 0.2)
                        norms.append(float(sum((p.grad.double() ** 2).sum() for p in model.parameters()).sqrt()))
                    optimizer.step()
                    optimizer.zero_grad()
    assert tb.global_step == 4
    measured = tb.history.scalars["training_dynamics/gradient_norm"]
    assert measured.steps.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(measured.values, norms, rtol=1e-4)
    assert max(norms) <= 0.2001
    assert [row["num_samples"] for row in tb.resources.epoch_data] == [40, 40]


def test_its_checkpoints_hold_the_session(tmp_path):
    def train(first, until):
        torch.manual_seed(0)
        model = torch.nn.Linear(8, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        accelerator = accelerate.Accelerator(cpu=True)
        data = TensorDataset(torch.randn(30, 8), torch.arange(30) % 3)
        model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, batch_size=10))
        tracker = GradientTracker(model, optimizer, every=1, detail_every=1)
        options = {"classes": {"digit": [900, 50, 3]}, "gradients": tracker, "resources": False}
        with TBMetrics(tmp_path / "log", model=model, optimizer=optimizer, overhead_budget=None, **options) as tb:
            accelerator.register_for_checkpointing(tb)
            if first:
                accelerator.load_state(tmp_path / f"epoch{first - 1}")
            for epoch in tb.epochs(range(first, until)):
                for inputs, labels in tb.batches(loader):
                    accelerator.backward(F.cross_entropy(model(inputs), labels))
                    optimizer.step()
                    optimizer.zero_grad()
                    tb.update(model(inputs).detach(), labels)
                tb.end_epoch()
                accelerator.save_state(tmp_path / f"epoch{epoch}")
        return tb

    def measured(tb):
        return {
            tag: (series.steps.tolist(), np.asarray(series.values).tolist())
            for tag, series in tb.history.scalars.items()
            if tag.startswith(("class_performance/", "training_dynamics/", "tbmetrics/optimizer_step"))
        }

    whole = measured(train(0, 3))
    resumed = train(2, 3)
    assert resumed.global_step == 9
    assert len(whole) > 20
    np.testing.assert_equal(measured(resumed), whole)
