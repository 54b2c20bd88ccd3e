"""The callbacks and Accelerate in jobs of two processes: results are those of one process, each sample counted once."""

import os

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from tbmetrics import ClassGroups, TBMetrics, read_run
from tbmetrics.records import class_table_tag
from tests.processes import run_ranks

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore", "error::tbmetrics.errors.TBMetricsWarning")]

GROUPS = ClassGroups.from_counts({"digit": {"a": 900, "b": 50, "c": 5, "d": 2}})
SAMPLES = 37  # no multiple of anything: samplers repeat some


def _data(n):
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % 4
    return TensorDataset(torch.randn(n, 8, generator=generator) + labels[:, None] * 0.3, labels)


def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def _weights(model):
    """As arrays, which travel between processes whole."""
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


def _in_job(rank, ranks):
    """As a launcher sets a process's surroundings."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29555")


def _check(log_dir, weights):
    """The last table in the log is scikit-learn's, of a model with `weights`, on every sample."""
    model = _net()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    images, labels = _data(SAMPLES).tensors
    decided = model(images).argmax(1).numpy()
    history = read_run(log_dir)
    assert history.problems == []
    table = history.tables[class_table_tag("digit")]
    assert table.steps.tolist() == [0, 1]
    assert [int(row.column("support").sum()) for row in table] == [SAMPLES, SAMPLES]
    np.testing.assert_allclose(table[-1].column("recall"), recall_score(labels.numpy(), decided, average=None))


def _lightning(rank, ranks, folder):
    _in_job(rank, ranks)
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import TensorBoardLogger
    from pytorch_lightning.strategies import DDPStrategy

    from tbmetrics.integrations.lightning import TBMetricsCallback

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = _net()

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            return {"logits": self.net(batch[0]), "labels": batch[1]}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, callback = Module(), TBMetricsCallback(classes=GROUPS, overhead_budget=None)
    trainer = pl.Trainer(
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="run"),
        callbacks=[callback],
        accelerator="cpu",
        devices=ranks,
        strategy=DDPStrategy(process_group_backend="gloo"),
        max_epochs=2,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(_data(40), batch_size=5), DataLoader(_data(SAMPLES), batch_size=4))
    assert trainer.world_size == ranks
    return callback.session.log_dir, callback.session.get_metrics()["class_performance"], _weights(module.net)


def test_lightning(tmp_path):
    pytest.importorskip("pytorch_lightning")
    (log_dir, first, weights), (other_log_dir, second, _) = run_ranks(_lightning, 2, str(tmp_path))
    assert log_dir == other_log_dir == str(tmp_path / "run" / "version_0")
    assert first == second
    _check(log_dir, weights)


class _Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = _net()

    def forward(self, inputs, labels=None):
        logits = self.net(inputs)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def _transformers(rank, ranks, folder):
    _in_job(rank, ranks)
    from transformers import Trainer, TrainingArguments

    from tbmetrics.integrations.transformers import TBMetricsCallback

    callback, model = TBMetricsCallback(classes=GROUPS, overhead_budget=None), _Model()
    train, evaluation = (
        [{"inputs": x, "labels": y} for x, y in zip(*_data(n).tensors, strict=True)] for n in (40, SAMPLES)
    )
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=2,
        per_device_train_batch_size=5,
        per_device_eval_batch_size=4,
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to="tensorboard",
        use_cpu=True,
        disable_tqdm=True,
        ddp_backend="gloo",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=evaluation,
        compute_metrics=callback.compute_metrics,
        callbacks=[callback],
    )
    trainer.train()
    assert arguments.world_size == ranks
    return callback.session.log_dir, callback.session.get_metrics()["class_performance"], _weights(model.net)


def test_transformers(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    (log_dir, first, weights), (_, second, _) = run_ranks(_transformers, 2, str(tmp_path))
    assert first == second
    _check(log_dir, weights)
    assert (tmp_path / "checkpoint-8" / "tbmetrics.pt").exists()


def _accelerate(rank, ranks, folder, gathered):
    _in_job(rank, ranks)
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = _net()
    images, labels = _data(SAMPLES).tensors
    numbered = TensorDataset(images, labels, torch.arange(SAMPLES))
    model, optimizer, train, validation = accelerator.prepare(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        DataLoader(_data(40), batch_size=5),
        DataLoader(numbered, batch_size=4),
    )
    with TBMetrics(folder, model=model, optimizer=optimizer, classes=GROUPS, overhead_budget=None) as tb:
        for _ in tb.epochs(range(2)):
            for inputs, targets in tb.batches(train):
                accelerator.backward(F.cross_entropy(model(inputs), targets))
                optimizer.step()
                optimizer.zero_grad()
            with torch.no_grad():
                for inputs, targets, numbers in validation:
                    if not gathered:
                        tb.update(model(inputs), targets, indices=numbers)
                        continue
                    logits, targets = accelerator.gather_for_metrics((model(inputs), targets))
                    if tb.writes:
                        tb.update(logits, targets)
    assert accelerator.num_processes == ranks
    return folder, tb.get_metrics()["class_performance"], _weights(accelerator.unwrap_model(model))


@pytest.mark.parametrize("gathered", [False, True])
def test_accelerate(tmp_path, gathered):
    pytest.importorskip("accelerate")
    (log_dir, first, weights), (_, second, _) = run_ranks(_accelerate, 2, str(tmp_path), gathered)
    assert first == second
    _check(log_dir, weights)
