"""The Lightning callback in real fits: what it measures, where it writes, and every way out."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, recall_score
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from tbmetrics import ClassGroups, GradientTracker, InputError, TBMetrics, read_run
from tbmetrics.records import class_table_tag

pl = pytest.importorskip("pytorch_lightning")
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger  # noqa: E402

from tbmetrics.integrations.lightning import TBMetricsCallback, model_of  # noqa: E402

# Lightning warns of its own surroundings (workers, devices); what tbmetrics says still fails a test.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore", "error::tbmetrics.errors.TBMetricsWarning")]

COUNTS = {"a": 900, "b": 50, "c": 5, "d": 2}
GROUPS = ClassGroups.from_counts({"digit": COUNTS})


def _data(seed, n=60):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    return TensorDataset(torch.randn(n, 8, generator=generator) + labels[:, None] * 0.3, labels)


TRAIN, VALIDATION = DataLoader(_data(0), batch_size=10), DataLoader(_data(1, 36), batch_size=8)


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self.seen, self.norms = [], {}

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        if not self.trainer.sanity_checking:
            self.seen.append((logits, batch[1]))
        return {"logits": logits, "labels": batch[1]}

    def on_before_optimizer_step(self, optimizer):
        gradients = [p.grad.double() for p in self.parameters()]
        self.norms[self.trainer.global_step + 1] = float(sum((g**2).sum() for g in gradients).sqrt())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def last_validation(self):
        logits, labels = (torch.cat(parts).numpy() for parts in zip(*self.seen[-len(VALIDATION) :], strict=True))
        return logits.argmax(1), labels


def _trainer(tmp_path, callback, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "max_epochs": 2}
    options = {"logger": TensorBoardLogger(tmp_path, name="run"), "log_every_n_steps": 1, **quiet, **options}
    return pl.Trainer(default_root_dir=tmp_path, callbacks=[callback], **options)


def _callback(**options):
    return TBMetricsCallback(**{"classes": GROUPS, "resources": False, "overhead_budget": None, **options})


def _every_step(module):
    return GradientTracker(model_of(module), every=1, detail_every=1)


def _supports(history):
    table = history.tables[class_table_tag("digit")]
    return {int(step): int(row.column("support").sum()) for step, row in zip(table.steps, table, strict=True)}


def test_validation_is_what_scikit_learn_computes_and_lies_beside_the_loggers_file(tmp_path):
    module, callback = Module(), TBMetricsCallback(classes=GROUPS)
    trainer = _trainer(tmp_path, callback)
    trainer.fit(module, TRAIN, VALIDATION)

    directory = tmp_path / "run" / "version_0"
    assert callback.session.log_dir == str(directory)
    assert len(list(directory.glob("events.out.tfevents.*"))) == 2
    history = read_run(directory)
    assert history.problems == []
    decided, labels = module.last_validation()
    table = history.tables[class_table_tag("digit")][-1]
    np.testing.assert_allclose(
        table.column("recall"), recall_score(labels, decided, average=None, zero_division=0), rtol=1e-6
    )
    expected = f1_score(labels, decided, average=None, zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(table.column("f1")), expected, rtol=1e-6)
    assert _supports(history) == {0: 36, 1: 36}  # the sanity check is not in it
    assert history.scalars["tbmetrics/optimizer_step"].values.tolist() == [6, 12]
    assert history.scalars["train_loss"].steps.tolist() == list(range(12))
    assert callback.session.history.scalars.keys().isdisjoint({"train_loss", "epoch"})  # nothing is logged twice
    rows = callback.session.resources.epoch_data
    assert [(row["epoch"], row["num_samples"], row["batch_size"]) for row in rows] == [(0, 60, 10), (1, 60, 10)]
    components = {tag.split("/")[-1] for tag in history.scalars if tag.startswith("resource_usage/component_seconds/")}
    assert {"data_loading", "forward_pass", "backward_pass", "optimizer_step", "validation"} <= components


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.01}])
def test_gradients_are_those_that_the_optimizer_steps_with(tmp_path, options):
    module = Module()
    callback = _callback(gradients=_every_step(module))
    trainer = _trainer(tmp_path, callback, **options)
    trainer.fit(module, TRAIN, VALIDATION)
    measured = callback.session.history.scalars["training_dynamics/gradient_norm"]
    assert measured.steps.tolist() == list(range(1, trainer.global_step + 1))
    limit = options.get("gradient_clip_val", np.inf)
    expected = [min(norm, limit) for _, norm in sorted(module.norms.items())]
    np.testing.assert_allclose(measured.values, expected, rtol=1e-4)
    assert callback.session.history.histograms["activations/1"].steps.size  # of the module's only child


def test_manual_optimization_is_measured_too(tmp_path):
    class Manual(Module):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(F.cross_entropy(self.net(batch[0]), batch[1]))
            optimizer.step()

    module = Manual()
    callback = _callback(gradients=_every_step(module))
    _trainer(tmp_path, callback, max_epochs=1).fit(module, TRAIN, VALIDATION)
    measured = callback.session.history.scalars["training_dynamics/gradient_norm"]
    np.testing.assert_allclose(measured.values, [norm for _, norm in sorted(module.norms.items())], rtol=1e-4)
    assert callback.session.global_step == 6


def test_training_is_what_it_is_without_the_callback(tmp_path):
    weights = []
    for callbacks in ([], [TBMetricsCallback(classes=GROUPS)]):
        module = Module()
        trainer = _trainer(tmp_path, pl.Callback())
        trainer.callbacks += callbacks
        trainer.fit(module, TRAIN, VALIDATION)
        weights.append(torch.cat([p.detach().reshape(-1) for p in module.parameters()]))
    assert torch.equal(*weights)


def test_each_of_several_validations_in_an_epoch_counts_once(tmp_path):
    callback = _callback()
    _trainer(tmp_path, callback, val_check_interval=0.5).fit(Module(), TRAIN, VALIDATION)
    assert _supports(callback.session.history) == {0: 36, 1: 36, 2: 36, 3: 36}


def test_epochs_without_validation_end_too(tmp_path):
    callback = _callback()
    _trainer(tmp_path, callback, max_epochs=4, check_val_every_n_epoch=2).fit(Module(), TRAIN, VALIDATION)
    assert _supports(callback.session.history) == {1: 36, 3: 36}
    steps = callback.session.history.scalars["tbmetrics/optimizer_step"]
    assert (steps.steps.tolist(), steps.values.tolist()) == ([0, 1, 2, 3], [6, 12, 18, 24])


def test_training_without_validation_and_without_classes(tmp_path):
    module = Module()
    module.validation_step = None
    callback = TBMetricsCallback()
    _trainer(tmp_path, callback, max_epochs=1).fit(module, TRAIN)
    assert callback.session.class_performance is None
    assert "training_dynamics/gradient_norm" in callback.session.history.scalars


def test_a_resumed_run_goes_on_where_the_checkpoint_was(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    trainer = _trainer(tmp_path, _callback(), logger=logger, val_check_interval=0.5)
    trainer.fit(Module(), TRAIN, VALIDATION)
    checkpoint = trainer.checkpoint_callback.best_model_path
    again = _callback()
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    trainer = _trainer(tmp_path, again, logger=logger, val_check_interval=0.5, max_epochs=3)
    trainer.fit(Module(), TRAIN, VALIDATION, ckpt_path=checkpoint)
    assert again.session.global_step == trainer.global_step == 18
    history = read_run(tmp_path / "run" / "version_0")
    assert _supports(history) == dict.fromkeys(range(6), 36)
    assert history.scalars["train_loss"].steps.tolist() == list(range(18))  # nothing of the logger's is superseded


def _measured(history):
    """Everything that does not depend on the clock."""
    return {
        tag: (series.steps.tolist(), np.asarray(series.values).tolist())
        for tag, series in history.scalars.items()
        if tag.startswith(("class_performance/", "training_dynamics/", "tbmetrics/optimizer_step"))
    }


SAME = DataLoader(TensorDataset(*(t[:10].repeat(6, *[1] * (t.ndim - 1)) for t in _data(0).tensors)), batch_size=10)


def _fit(tmp_path, epochs, checkpoint=None, **keeping):
    """On the same batch over and over, for Lightning begins an epoch's loader anew after a checkpoint within it."""
    module = Module()
    callback = _callback(gradients=_every_step(module))
    keep = pl.callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", **keeping)
    trainer = _trainer(tmp_path, callback, logger=TensorBoardLogger(tmp_path, version=0), max_epochs=epochs)
    trainer.callbacks.append(keep)
    trainer.fit(module, SAME, VALIDATION, ckpt_path=checkpoint)
    return callback.session


@pytest.mark.parametrize(("saved_at", "keeping"), [(12, {}), (9, {"every_n_train_steps": 3})])
def test_a_resumed_run_measures_what_an_uninterrupted_one_does(tmp_path, saved_at, keeping):
    whole = _fit(tmp_path / "whole", 3)
    _fit(tmp_path / "resumed", 2, **keeping)
    checkpoint = tmp_path / "resumed" / f"step={saved_at}.ckpt"
    state = torch.load(checkpoint, weights_only=True)["callbacks"]["TBMetricsCallback"]["session"]
    assert (state["global_step"], state["open_epoch"]) == (saved_at, None if saved_at % 6 == 0 else 1)
    resumed = _fit(tmp_path / "resumed", 3, checkpoint, **keeping)
    expected = _measured(whole.history)
    assert len(expected) > 20
    np.testing.assert_equal(_measured(resumed.history), expected)
    np.testing.assert_equal(_measured(read_run(resumed.log_dir)), _measured(read_run(whole.log_dir)))


def test_a_checkpoint_between_the_last_batch_and_validation_moves_no_epoch(tmp_path):
    _fit(tmp_path, 2, every_n_train_steps=6)
    resumed = _fit(tmp_path, 3, tmp_path / "step=6.ckpt", every_n_train_steps=6)
    steps = resumed.history.scalars["tbmetrics/optimizer_step"]
    assert (steps.steps.tolist(), steps.values.tolist()) == ([0, 1, 2], [6, 12, 18])
    assert {1: 36, 2: 36}.items() <= _supports(resumed.history).items()


def test_a_checkpoint_saved_after_training_is_gone_on_from_too(tmp_path):
    trainer = _trainer(tmp_path, _callback())
    trainer.fit(Module(), TRAIN, VALIDATION)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = _callback()
    _trainer(tmp_path, again, max_epochs=3).fit(Module(), TRAIN, VALIDATION, ckpt_path=tmp_path / "last.ckpt")
    assert _supports(again.session.history) == {0: 36, 1: 36, 2: 36}


def test_fitting_again_goes_on(tmp_path):
    callback = _callback()
    trainer = _trainer(tmp_path, callback)
    trainer.fit(Module(), TRAIN, VALIDATION)
    first = callback.session
    trainer.fit_loop.max_epochs = 3
    trainer.fit(Module(), TRAIN, VALIDATION)
    assert callback.session is not first
    assert list(_supports(callback.session.history)) == [2]


@pytest.mark.parametrize("error", [RuntimeError("the user's own"), KeyboardInterrupt()])
def test_exceptions_pass_and_leave_a_whole_log_and_no_hooks(tmp_path, error):
    class Failing(Module):
        def training_step(self, batch, batch_idx):
            if self.trainer.current_epoch == 1:
                raise error
            return super().training_step(batch, batch_idx)

    module, callback = Failing(), _callback()
    with pytest.raises(type(error) if isinstance(error, RuntimeError) else SystemExit):
        _trainer(tmp_path, callback).fit(module, TRAIN, VALIDATION)
    assert not callback.session.is_open
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert not any(p._post_accumulate_grad_hooks for p in module.parameters())
    assert _supports(read_run(callback.session.log_dir)) == {0: 36}


def test_fast_dev_run_writes_nothing(tmp_path):
    callback = TBMetricsCallback(classes=GROUPS)
    _trainer(tmp_path, callback, fast_dev_run=True).fit(Module(), TRAIN, VALIDATION)
    assert not callback.session.enabled
    assert not list(tmp_path.rglob("*tfevents*"))


@pytest.mark.parametrize(
    ("logger", "where"), [(lambda path: CSVLogger(path, name="csv"), "csv/version_0"), (lambda path: False, ".")]
)
def test_without_a_tensorboard_logger_the_trainers_directory_is_used(tmp_path, logger, where):
    callback = _callback()
    _trainer(tmp_path, callback, logger=logger(tmp_path), max_epochs=1).fit(Module(), TRAIN, VALIDATION)
    assert _supports(read_run(tmp_path / where / "tensorboard")) == {0: 36}


def test_a_directory_or_the_loggers_own_writer_can_be_given(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="run")
    _trainer(tmp_path, _callback(log_dir=logger.experiment), logger=logger, max_epochs=1).fit(
        Module(), TRAIN, VALIDATION
    )
    logger.experiment.close()
    directory = tmp_path / "run" / "version_0"
    assert len(list(directory.glob("events.out.tfevents.*"))) == 1
    history = read_run(directory)
    assert _supports(history) == {0: 36}
    assert "train_loss" in history.scalars


def test_one_of_several_validation_loaders_is_chosen(tmp_path):
    class Two(Module):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            return super().validation_step(batch, batch_idx)

    callback = _callback(dataloader=1)
    _trainer(tmp_path, callback, max_epochs=1).fit(Two(), TRAIN, [DataLoader(_data(2, 8)), VALIDATION])
    assert _supports(callback.session.history) == {0: 36}


def test_outputs_tells_logits_and_labels_apart(tmp_path):
    class Plain(Module):
        def validation_step(self, batch, batch_idx):
            return self.net(batch[0])

    callback = _callback(outputs=lambda outputs, batch: ({"digit": outputs}, {"digit": batch[1]}))
    _trainer(tmp_path, callback, max_epochs=1).fit(Plain(), TRAIN, VALIDATION)
    assert _supports(callback.session.history) == {0: 36}


def test_labels_may_be_those_of_the_batch(tmp_path):
    class LogitsOnly(Module):
        def validation_step(self, batch, batch_idx):
            return {"logits": self.net(batch[0])}

    callback = _callback()
    _trainer(tmp_path, callback, max_epochs=1).fit(LogitsOnly(), TRAIN, VALIDATION)
    assert _supports(callback.session.history) == {0: 36}


def test_outputs_without_logits_say_what_to_return(tmp_path):
    class Silent(Module):
        def validation_step(self, batch, batch_idx):
            return {"loss": F.cross_entropy(self.net(batch[0]), batch[1])}

    with pytest.raises(
        InputError, match=r"validation_step or test_step gave no logits but the entries 'loss'; let it return"
    ):
        _trainer(tmp_path, _callback(), max_epochs=1).fit(Silent(), TRAIN, VALIDATION)


class _Silent(Module):
    """Returns nothing from its validation."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)


class _Wrong(Module):
    """Has more outputs than there are classes."""

    def validation_step(self, batch, batch_idx):
        return {"logits": torch.cat([self.net(batch[0])] * 2, dim=1), "labels": batch[1]}


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (_Silent, {}, "gave no logits but NoneType"),
        (_Wrong, {}, r"\(N, 4\)|4 classes"),
        (Module, {"dataloader": 1}, "dataloader=1 is given, but there are 1 loaders"),
        (Module, {"outputs": lambda outputs, batch: (batch[1], batch[1])}, "logits"),
    ],
)
def test_a_callback_that_cannot_work_says_so_at_the_sanity_check(tmp_path, module, options, message):
    trainer = _trainer(tmp_path, _callback(**options))
    with pytest.raises(InputError, match=message):
        trainer.fit(module(), TRAIN, VALIDATION)
    assert trainer.global_step == 0


def test_group_metrics_choose_checkpoints_and_stop_early(tmp_path):
    name = "longtail/digit/recall/tail"
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / "best", monitor=name, mode="max")
    stopping = pl.callbacks.EarlyStopping(monitor=name, mode="max", patience=1, min_delta=2.0)
    module, callback = Module(), _callback()
    options = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "max_epochs": 5}
    logger = TensorBoardLogger(tmp_path, name="run")
    callbacks = [checkpoint, stopping, callback]
    trainer = pl.Trainer(default_root_dir=tmp_path, logger=logger, callbacks=callbacks, **options)
    trainer.fit(module, TRAIN, VALIDATION)
    assert trainer.current_epoch == 2  # nothing is better by 2
    predicted, labels = module.last_validation()
    recalls = recall_score(labels, predicted, average=None, zero_division=0)
    assert float(trainer.callback_metrics[name]) == pytest.approx(recalls[[2, 3]].mean())
    assert checkpoint.best_model_score is not None
    assert not [tag for tag in read_run(logger.log_dir).scalars if tag.startswith("longtail/")]


def test_the_test_set_is_an_evaluation_of_its_own(tmp_path):
    class Tested(Module):
        def test_step(self, batch, batch_idx):
            return self.validation_step(batch, batch_idx)

    module, trainer = Tested(), _trainer(tmp_path, _callback())
    trainer.fit(module, TRAIN, VALIDATION)
    trainer.test(module, VALIDATION, verbose=False)
    predicted, labels = module.last_validation()
    recalls = recall_score(labels, predicted, average=None, zero_division=0)
    table = read_run(f"{trainer.logger.log_dir}/test").tables[class_table_tag("digit")]
    assert table.steps.tolist() == [1]
    np.testing.assert_allclose(table[0].column("recall"), recalls, rtol=1e-6)
    assert float(trainer.callback_metrics["longtail/digit/recall/tail"]) == pytest.approx(recalls[[2, 3]].mean())
    assert read_run(trainer.logger.log_dir).tables[class_table_tag("digit")].steps.tolist() == [0, 1]


class _Returning(Module):
    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        return {"loss": F.cross_entropy(logits, batch[1]), "logits": logits, "labels": batch[1]}


class _Observing(Module):
    callback = None

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        self.callback.observe(logits, batch[1])
        return F.cross_entropy(logits, batch[1])


@pytest.mark.parametrize("kind", [_Returning, _Observing])
def test_diagnostics_see_each_training_batch_once(tmp_path, kind):
    callback, module = _callback(diagnostics=True), kind()
    module.callback = callback
    _trainer(tmp_path, callback).fit(module, TRAIN, VALIDATION)
    classes = callback.session.get_metrics()["diagnostics"]["attributes"]["digit"]["classes"]
    assert [classes[name]["samples_seen"] for name in COUNTS] == [30, 30, 30, 30]  # 15 in each of two epochs
    assert all(np.isfinite(c["gradient_ratio"]) for c in classes.values())


def test_diagnostics_without_training_batches_say_once_what_to_return(tmp_path, caplog):
    _trainer(tmp_path, _callback(diagnostics=True)).fit(Module(), TRAIN, VALIDATION)
    (message,) = [record.message for record in caplog.records if "see no training batches" in record.message]
    assert "training_step return {'loss': loss, 'logits': logits" in message


def test_between_the_steps_of_manual_optimization_the_forward_pass_is_timed(tmp_path):
    class Alternating(Module):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(F.cross_entropy(self.net(batch[0]), batch[1]))
                optimizer.step()

        def configure_optimizers(self):
            halves = list(self.parameters())[:2], list(self.parameters())[2:]
            return [torch.optim.SGD(half, lr=0.1) for half in halves]

        def on_before_optimizer_step(self, optimizer):
            pass

    module, callback = Alternating(), _callback(resources=True)
    _trainer(tmp_path, callback).fit(module, TRAIN, VALIDATION)
    rows = callback.session.resources.component_data
    assert {name: rows[name][0]["count"] for name in ("forward_pass", "backward_pass", "optimizer_step")} == {
        "forward_pass": 18, "backward_pass": 12, "optimizer_step": 12
    }  # fmt: skip
    assert not any(optimizer._optimizer_step_post_hooks for optimizer in module.trainer.optimizers)


def test_the_logger_itself_may_be_given_to_a_session(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="run")
    with TBMetrics(logger) as tb:
        tb.log_scalar("loss", 1.0)
    assert read_run(logger.log_dir).scalars["loss"].values.tolist() == [1.0]
    with pytest.raises(InputError, match=r"CSVLogger; give the directory that it writes to"):
        TBMetrics(CSVLogger(tmp_path))


def test_what_the_trainer_decides_is_refused():
    with pytest.raises(InputError, match="the trainer decides optimizer and initial_step"):
        TBMetricsCallback(optimizer=None, initial_step=3)


def test_the_model_is_the_child_that_holds_all_parameters():
    module = Module()
    assert model_of(module) is module.net
    module.head = nn.Linear(2, 2)
    assert model_of(module) is module
    listed = pl.LightningModule()
    listed.parts = nn.ModuleList([nn.Linear(2, 2)])
    assert model_of(listed) is listed


def test_without_lightning_the_extra_is_named():
    code = "import sys; sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "import tbmetrics.integrations.lightning"], capture_output=True, text=True
    )
    assert "ImportError: tbmetrics.integrations.lightning needs Lightning: pip install 'tbmetrics[lightning]'" in (
        done.stderr
    )
