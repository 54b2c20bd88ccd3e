"""TBMetrics in small real loops: both styles, every way out of a loop, faults, resume, disabled."""

import logging

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from tbmetrics import ClassGroups, InputError, TBMetrics, Tracker, read_run
from tbmetrics.records import Scalar, class_table_tag, scalar_tag
from tbmetrics.records.history import TimedRecord

COUNTS = {"a": 900, "b": 300, "c": 50, "d": 30, "e": 5, "f": 2}
GROUPS = ClassGroups.from_counts({"digit": COUNTS})


def _data(seed=0, n=120, classes=6):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    inputs = torch.randn(n, 8, generator=generator) + labels[:, None] * 0.3
    return inputs, labels


def _loader(seed=0):
    inputs, labels = _data(seed)
    return [(inputs[i : i + 30], labels[i : i + 30]) for i in range(0, 120, 30)]


def _problem(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Linear(8, 6)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def _run_readme_loop(tb, model, optimizer, epochs, loader):
    for epoch in tb.epochs(epochs):
        for inputs, labels in tb.batches(loader):
            with tb.component("forward_pass"):
                loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            with tb.component("backward_pass"):
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tb.log_scalars({"loss": loss.detach(), "epoch": epoch})
        with torch.no_grad():
            for inputs, labels in loader:
                tb.update(model(inputs), labels)


def _accumulator(directory):
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def test_the_loop_of_the_readme_writes_what_scikit_learn_computes(tmp_path):
    model, optimizer = _problem()
    with TBMetrics(tmp_path / "run", model=model, optimizer=optimizer, classes=GROUPS) as tb:
        _run_readme_loop(tb, model, optimizer, range(3), _loader())
        metrics = tb.get_metrics()

    inputs, labels = _data()
    logits = model(inputs).detach().double().numpy()
    predicted, truth = logits.argmax(1), labels.numpy()
    f1 = f1_score(truth, predicted, average=None, labels=range(6), zero_division=0)
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    ap = [average_precision_score(truth == c, probabilities[:, c]) for c in range(6)]

    of_class = metrics["class_performance"]["class_metrics"]["digit"]
    assert [of_class[name]["support"] for name in COUNTS] == [20] * 6
    np.testing.assert_allclose(
        [of_class[name]["recall"] for name in COUNTS], recall_score(truth, predicted, average=None)
    )
    np.testing.assert_allclose([of_class[name]["ap"] for name in COUNTS], ap, rtol=1e-5)

    read = read_run(tmp_path / "run")
    assert read.problems == []
    table = read.tables[class_table_tag("digit")].at(2)
    np.testing.assert_allclose(np.nan_to_num(table.column("f1")), f1, rtol=1e-6)
    seen = _accumulator(tmp_path / "run")
    tail_recall = seen.Scalars(scalar_tag("digit", "recall", "tail"))
    assert [point.step for point in tail_recall] == [0, 1, 2]
    assert tail_recall[-1].value == pytest.approx(recall_score(truth, predicted, average=None)[4:].mean(), rel=1e-6)
    losses = seen.Scalars("loss")
    assert [point.step for point in losses] == list(range(1, 13))


def test_plain_verbs_and_context_managers_give_the_same_records(tmp_path):
    def plain(tb, loader):
        for epoch in range(2):
            tb.start_epoch(epoch)
            for batch in loader:
                tb.start_component("work")
                tb.end_component("work")
                tb.step()
                tb.update(batch[0][:, :6], batch[1])
            tb.end_epoch(batch_size=30, num_samples=120)
            tb.end_epoch()
        tb.finalize()

    def managed(tb, loader):
        with tb:
            for _ in tb.epochs(range(2)):
                for batch in tb.batches(loader):
                    with tb.component("work"):
                        pass
                    tb.update(batch[0][:, :6], batch[1])

    steps = {}
    for style in (plain, managed):
        tb = TBMetrics(tmp_path / style.__name__, classes=GROUPS)
        style(tb, _loader())
        history = read_run(tmp_path / style.__name__)
        kept = {t: s for t, s in history.scalars.items() if t.startswith("class_performance")}
        steps[style.__name__] = {t: (s.steps.tolist(), s.values.tolist()) for t, s in kept.items()}
        assert tb.global_step == 8
    assert repr(steps["plain"]) == repr(steps["managed"])  # repr: NaN equals itself


def test_break_ends_the_epoch_once(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS) as tb:
        for epoch in tb.epochs(range(5)):
            for inputs, labels in tb.batches(_loader()):
                tb.update(inputs[:, :6], labels)
                break
            if epoch == 1:
                break
    assert tb.history.tables[class_table_tag("digit")].steps.tolist() == [0, 1]


def test_the_users_exception_passes_unchanged_and_what_was_measured_is_on_disk(tmp_path):
    model, optimizer = _problem()
    error = KeyError("the user's own")

    def failing_training():
        with TBMetrics(tmp_path, optimizer=optimizer, classes=GROUPS) as tb:
            for _ in tb.epochs(range(3)):
                for inputs, labels in tb.batches(_loader()):
                    tb.update(model(inputs).detach(), labels)
                raise error

    with pytest.raises(KeyError) as caught:
        failing_training()
    assert caught.value is error
    assert not optimizer._optimizer_step_post_hooks
    assert read_run(tmp_path).tables[class_table_tag("digit")].steps.tolist() == [0]


def test_the_metrics_say_of_which_epoch_they_are(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS) as tb:
        for epoch in tb.epochs(range(3)):
            if epoch < 2:
                tb.update(5 * torch.eye(6), torch.arange(6))
    assert tb.get_metrics()["class_performance"]["epochs"] == {"digit": 1}


class _Drawing(Tracker):
    """Draws at the end of each epoch and of the session, as long as there is time."""

    name = "drawing"

    def __init__(self):
        self.drawn = []

    def records(self, epoch):
        yield TimedRecord(epoch, 1.0, Scalar("measured", 1.0))
        if not self.is_interrupted:
            self.drawn.append(epoch)

    def closing(self):
        self.drawn.append("closing")
        return ()


def test_an_interrupted_run_writes_its_records_and_draws_nothing(tmp_path):
    tracker = _Drawing()

    def train():
        with TBMetrics(tmp_path, trackers=[tracker], classes=GROUPS) as tb:
            for epoch in tb.epochs(range(3)):
                tb.update(5 * torch.eye(6), torch.arange(6))
                if epoch == 1:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert tracker.drawn == [0]
    history = read_run(tmp_path)
    assert history.scalars["measured"].steps.tolist() == [0, 1]
    assert history.tables[class_table_tag("digit")].steps.tolist() == [0, 1]


def test_after_a_break_what_was_not_drawn_is_drawn_at_the_end(tmp_path):
    tracker = _Drawing()
    with TBMetrics(tmp_path, trackers=[tracker]) as tb:
        for _ in tb.epochs(range(3)):
            break
        for _ in tb.epochs(range(1, 2)):
            pass
    assert tracker.drawn == [1, "closing"]


def test_an_update_after_the_last_epoch_is_an_epoch_of_its_own(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS) as tb:
        for _ in tb.epochs(range(2)):
            pass
        inputs, labels = _data()
        tb.update(inputs[:, :6], labels)
    assert read_run(tmp_path).tables[class_table_tag("digit")].steps.tolist() == [2]


class _Faulty(Tracker):
    name = "faulty"

    def after_step(self, step):
        raise RuntimeError(f"broken at {step}")

    def records(self, epoch):
        yield TimedRecord(epoch, 0.0, Scalar("before/fault", 1.0))
        raise RuntimeError("broken records")


def test_a_faulty_tracker_leaves_training_bit_identical(tmp_path, caplog):
    weights = {}
    for name, trackers in (("with", [_Faulty()]), ("without", [])):
        model, optimizer = _problem()
        with (
            caplog.at_level(logging.WARNING, logger="tbmetrics"),
            TBMetrics(tmp_path / name, model=model, optimizer=optimizer, classes=GROUPS, trackers=trackers) as tb,
        ):
            _run_readme_loop(tb, model, optimizer, range(2), _loader())
        weights[name] = model.weight.detach().clone()
    assert torch.equal(weights["with"], weights["without"])
    assert caplog.text.count("tracker 'faulty' failed;") == 1
    assert "switched off" in caplog.text
    assert "faulty: RuntimeError" in read_run(tmp_path / "with").texts["tbmetrics/results"][0].markdown


def test_strict_raises_the_trackers_fault(tmp_path):
    tb = TBMetrics(tmp_path, trackers=[_Faulty()], strict=True)
    with pytest.raises(RuntimeError, match="broken at 1"):
        tb.step()
    tb.trackers = ()
    tb.finalize()


def test_training_with_tbmetrics_is_bit_identical_to_training_without(tmp_path):
    results = []
    for enabled in (True, False):
        model, optimizer = _problem()
        with TBMetrics(
            tmp_path / str(enabled), model=model, optimizer=optimizer, classes=GROUPS, enabled=enabled
        ) as tb:
            _run_readme_loop(tb, model, optimizer, range(2), _loader())
        results.append((model.weight.detach().clone(), torch.get_rng_state()))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_disabled_is_a_no_op_with_the_same_api(tmp_path):
    model, optimizer = _problem()
    with TBMetrics(tmp_path / "off", model=model, optimizer=optimizer, classes=GROUPS, enabled=False) as tb:
        _run_readme_loop(tb, model, optimizer, range(2), _loader())
        tb.observe(None, None)
        tb.flush()
        assert tb.get_metrics() == {}
    assert not (tmp_path / "off").exists()
    assert not optimizer._optimizer_step_post_hooks


def test_resume_continues_steps_and_later_writes_win(tmp_path):
    model, optimizer = _problem()
    with TBMetrics(tmp_path, optimizer=optimizer, classes=GROUPS) as tb:
        _run_readme_loop(tb, model, optimizer, range(4), _loader())
    model, optimizer = _problem(1)
    with TBMetrics(tmp_path, optimizer=optimizer, classes=GROUPS) as tb:
        _run_readme_loop(tb, model, optimizer, range(2, 5), _loader(1))
        assert tb.global_step == 20
    read = read_run(tmp_path)
    loss, f1 = read.scalars["loss"], read.scalars[scalar_tag("digit", "f1", "all")]
    assert loss.steps.tolist() == list(range(1, 21))
    assert f1.steps.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(
        loss.values[8:].astype(np.float32), tb.history.scalars["loss"].values.astype(np.float32)
    )
    seen = _accumulator(tmp_path)
    assert [p.step for p in seen.Scalars("loss")] == list(range(1, 21))


def test_initial_step_is_taken_as_given(tmp_path):
    with TBMetrics(tmp_path, initial_step=500) as tb:
        for _ in tb.epochs(range(5, 6)):
            for _ in tb.batches(_loader()):
                pass
    assert tb.global_step == 504


def test_hparams_reach_the_hparams_tab_with_the_final_metrics(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS, hparams={"lr": 0.1, "loss": "focal", "ema": True}) as tb:
        inputs, labels = _data()
        tb.update(inputs[:, :6], labels)
    read = read_run(tmp_path)
    assert dict(read.hparams.hparams) == {"lr": 0.1, "loss": "focal", "ema": True}
    assert "_hparams_/session_start_info" in _accumulator(tmp_path).summary_metadata


def test_a_users_own_writer_is_used_and_left_open(tmp_path):
    writer = SummaryWriter(str(tmp_path))
    with TBMetrics(writer, classes=GROUPS) as tb:
        inputs, labels = _data()
        tb.update(inputs[:, :6], labels)
        tb.log_scalar("loss", 0.5)
    writer.add_scalar("mine", 1.0, 1)
    writer.close()
    scalars = _accumulator(tmp_path).Tags()["scalars"]
    assert {"mine", "loss", scalar_tag("digit", "f1", "tail")} <= set(scalars)


def test_several_attributes_by_dictionary(tmp_path):
    groups = ClassGroups.from_counts({"digit": COUNTS, "shape": {"loop": 500, "stroke": 4}})
    inputs, labels = _data()
    shapes = (inputs[:, :2] > 0).int()
    with TBMetrics(tmp_path, classes=groups) as tb:
        tb.update({"digit": inputs[:, :6], "shape": inputs[:, 6:]}, {"digit": labels, "shape": shapes})
    assert set(read_run(tmp_path).class_lists) == {"digit", "shape"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: TBMetrics(d, optimizer="adam"), "optimizer must be a torch.optim.Optimizer.*got str"),
        (lambda d: TBMetrics(d, trackers=[_Faulty(), _Faulty()]), "two trackers share a name"),
        (lambda d: TBMetrics(d).update(torch.ones(1, 2), torch.ones(1)), "needs classes"),
        (lambda d: TBMetrics(d).log_scalar("loss", torch.ones(2)), "reduce it first"),
        (lambda d: TBMetrics(f"{__file__}/run").start(), "test_session.py/run"),
        (lambda d: TBMetrics(d, classes={}), "no attributes|no classes"),
    ],
)
def test_mistakes_raise_at_once_and_say_what_to_do(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path)


def test_a_finished_session_says_so(tmp_path):
    tb = TBMetrics(tmp_path).start()
    tb.finalize()
    tb.finalize()
    with pytest.raises(InputError, match="finished; make a new one"):
        tb.start()


def test_only_rank_zero_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    with TBMetrics(tmp_path / "rank1", classes=GROUPS, process_group=False) as tb:
        inputs, labels = _data()
        tb.update(inputs[:, :6], labels)
    assert not (tmp_path / "rank1").exists()
    assert tb.history.class_lists


def test_nothing_is_written_for_an_epoch_without_validation(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS) as tb:
        for _ in tb.epochs(range(2)):
            pass
    assert not [tag for tag in tb.history.scalars if tag.startswith("class_performance")]


def test_every_tag_has_one_point_a_step(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS, hparams={"lr": 0.1}) as tb:
        for _ in tb.epochs(range(3)):
            tb.update(torch.eye(len(GROUPS["digit"])), torch.arange(len(GROUPS["digit"])))
    seen = _accumulator(tmp_path)
    for tag in seen.Tags()["scalars"]:
        steps = [event.step for event in seen.Scalars(tag)]
        assert len(steps) == len(set(steps)), tag


class _Validated(Tracker):
    name = "validated"

    def __init__(self):
        self.seen = []

    def validate(self, batch):
        self.seen.append((batch.logits, batch.labels))


@pytest.mark.parametrize("classes", [None, {"x": [9, 2]}])
def test_a_tracker_of_ones_own_is_shown_validation_batches(tmp_path, classes):
    tracker = _Validated()
    batch = torch.zeros(4, 2), torch.tensor([0, 1, 1, 0])
    with TBMetrics(tmp_path, classes=classes, trackers=[tracker], resources=False) as tb:
        for _ in tb.epochs(range(2)):
            tb.update(*batch)
    assert [(a is batch[0], b is batch[1]) for a, b in tracker.seen] == [(True, True)] * 2


def test_update_without_anything_that_looks_at_it_says_what_to_give(tmp_path):
    with TBMetrics(tmp_path, trackers=[Tracker()]) as tb, pytest.raises(InputError, match="update\\(\\) needs classes"):
        tb.update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
