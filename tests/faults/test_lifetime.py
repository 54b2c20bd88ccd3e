"""Sessions within and after each other, on one model or one directory; exceptions; what is left when they are gone."""

import copy
import gc
import logging
import os
import pickle
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from tbmetrics import GradientTracker, InputError, TBMetrics, Tracker, read_run
from tests.processes import context, run_together
from tests.training import (
    assert_same_parameters,
    count_hooks,
    make_model,
    open_session,
    run_epoch,
    unmeasured_parameters,
)

pytestmark = pytest.mark.slow

STEPS = list(range(1, 9))
ROOT = Path(__file__).parents[2]


def test_a_session_within_another_measures_the_same_model_too(tmp_path):
    model, optimizer = make_model()
    with open_session(tmp_path / "outer", model, optimizer, strict=True) as outer, \
            open_session(tmp_path / "inner", model, optimizer, strict=True) as inner:  # fmt: skip
        for epoch in outer.epochs(range(2)):
            inner.start_epoch(epoch)
            run_epoch(outer, model, optimizer, epoch)
            inner.end_epoch()
    assert_same_parameters(model, unmeasured_parameters(2))
    assert count_hooks(model) == 0
    norms = [read_run(tmp_path / name).scalars["training_dynamics/gradient_norm"] for name in ("outer", "inner")]
    assert norms[0].steps.tolist() == norms[1].steps.tolist() == STEPS
    assert norms[0].values.tolist() == norms[1].values.tolist()


def test_one_session_cannot_be_entered_twice_after_its_end_and_says_so(tmp_path):
    model, optimizer = make_model()
    tb = open_session(tmp_path, model, optimizer)
    with tb:
        with tb:  # still open: the same session
            run_epoch(tb, model, optimizer, 0)
        with pytest.raises(InputError, match="make a new one to go on"):
            tb.start()
    assert count_hooks(model) == 0
    assert read_run(tmp_path).scalars["loss"].steps.size == 4


def test_sessions_after_each_other_on_one_directory_are_one_run(tmp_path):
    model, optimizer = make_model()
    for first in (0, 1):
        with open_session(tmp_path, model, optimizer, strict=True) as tb:
            for epoch in tb.epochs(range(first, first + 1)):
                run_epoch(tb, model, optimizer, epoch)
    assert_same_parameters(model, unmeasured_parameters(2))
    history = read_run(tmp_path)
    assert history.scalars["loss"].steps.tolist() == STEPS
    assert history.tables["longtail/x"].steps.tolist() == [0, 1]


def test_two_writers_on_one_directory_leave_two_whole_files(tmp_path):
    (model, optimizer), (other, others) = make_model(), make_model()
    with open_session(tmp_path, model, optimizer) as a, open_session(tmp_path, other, others) as b:
        for epoch in a.epochs(range(2)):
            b.start_epoch(epoch)
            run_epoch(a, model, optimizer, epoch)
            run_epoch(b, other, others, epoch)
    assert len(list(tmp_path.glob("*tfevents*"))) == 2
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["loss"].steps.tolist() == STEPS  # of each step the later write
    assert history.tables["longtail/x"].steps.tolist() == [0, 1]


def _train_beside(log_dir, tag, barrier):
    model, optimizer = make_model()
    barrier.wait()
    with open_session(log_dir, model, optimizer, strict=True) as tb:
        for epoch in tb.epochs(range(2)):
            run_epoch(tb, model, optimizer, epoch, lambda: tb.log_scalar(tag, float(tb.global_step)))
            barrier.wait()


def test_two_processes_on_one_directory_leave_two_whole_files(tmp_path):
    barrier = context.Barrier(2)
    run_together([(_train_beside, (str(tmp_path), tag, barrier)) for tag in ("a", "b")])
    files = sorted(tmp_path.glob("*tfevents*"))
    assert len(files) == 2
    own = []
    for number, file in enumerate(files):
        alone = tmp_path / f"alone{number}"
        alone.mkdir()
        shutil.copy(file, alone)
        history = read_run(alone)
        assert history.problems == []
        own += [tag for tag in ("a", "b") if tag in history.scalars]
        assert history.scalars[own[-1]].steps.tolist() == STEPS
    assert sorted(own) == ["a", "b"]
    history = read_run(tmp_path)  # where one came to find the other's file, it goes on with that run
    assert history.problems == []
    assert history.scalars["loss"].steps.tolist() == STEPS
    assert history.tables["longtail/x"].steps.tolist() == [0, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, GeneratorExit, MemoryError])
def test_an_exception_passes_unchanged_and_leaves_a_whole_log_and_no_hooks(tmp_path, error):
    model, optimizer = make_model()
    raised = error("the user's")

    def interrupt():
        if tb.global_step == 6:
            raise raised

    with pytest.raises(error) as caught, open_session(tmp_path, model, optimizer) as tb:  # noqa: PT012
        for epoch in tb.epochs(range(3)):
            run_epoch(tb, model, optimizer, epoch, interrupt)
    assert caught.value is raised
    assert count_hooks(model) == 0
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["loss"].steps.tolist() == STEPS[:6]
    assert history.tables["longtail/x"].steps[0] == 0


def _leave_without_goodbye(log_dir):
    torch.set_num_threads(1)
    model, optimizer = make_model()
    tb = open_session(log_dir, model, optimizer).start()
    for epoch in tb.epochs(range(2)):
        run_epoch(tb, model, optimizer, epoch)
        tb.flush()
    os._exit(7)


@pytest.mark.parametrize(("samples", "recorded"), [(20, [0]), (60, [0, 1])])
def test_a_validation_that_was_interrupted_is_recorded_only_if_it_is_whole(tmp_path, caplog, samples, recorded):
    labels = torch.arange(60) % 3

    def train():
        with TBMetrics(tmp_path, classes={"x": [900, 50, 5]}) as tb:
            for epoch in tb.epochs(range(2)):
                rows = labels[: 60 if epoch == 0 else samples]
                tb.update(5 * torch.eye(3)[rows], rows)
                if epoch:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert read_run(tmp_path).tables["longtail/x"].steps.tolist() == recorded
    said = "the validation of epoch 1 was interrupted after 20 of 60 samples and is not recorded" in caplog.text
    assert said == (recorded == [0])


@pytest.mark.parametrize("validates", [True, False])
def test_a_run_with_classes_and_no_validation_says_so(tmp_path, caplog, validates):
    with TBMetrics(tmp_path, classes={"x": [900, 50, 5]}) as tb:
        tb.log_scalar("loss", 1.0)
        if validates:
            tb.update(torch.eye(3), torch.arange(3))
    assert ("classes were given, but no validation" in caplog.text) != validates


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no start")])
def test_what_fails_while_a_session_is_opened_leaves_no_hooks(tmp_path, error):
    """Python does not leave a `with` whose entering failed."""
    model, optimizer = make_model()

    class Failing(Tracker):
        name = "failing"

        def start(self):
            raise error

    with pytest.raises(type(error)), open_session(tmp_path, model, optimizer, trackers=[Failing()], strict=True) as tb:
        pass
    tb = open_session(tmp_path, model, optimizer, trackers=[Failing()], strict=True)
    with pytest.raises(type(error)):
        tb.start_epoch(0)
    assert count_hooks(model) == 0
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks
    with pytest.raises(InputError, match="finished"):
        tb.start()
    read_run(tmp_path)


def test_os_exit_loses_nothing_that_was_flushed(tmp_path):
    process = context.Process(target=_leave_without_goodbye, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == 7
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["loss"].steps[-1] >= 4


FORGETFUL = """
import sys
from tests.training import make_model, open_session, run_epoch

model, optimizer = make_model()
tb = open_session(sys.argv[1], model, optimizer)
tb.start_epoch(0)
run_epoch(tb, model, optimizer, 0)
"""


def test_a_session_that_nobody_closed_is_written_when_the_process_ends(tmp_path):
    subprocess.run([sys.executable, "-c", FORGETFUL, str(tmp_path)], check=True, cwd=ROOT)
    assert read_run(tmp_path).scalars["loss"].steps.tolist() == STEPS[:4]


@pytest.mark.parametrize("counted", ["optimizer", "backward"])
def test_a_session_that_is_forgotten_keeps_neither_the_model_nor_anything_measured_from_the_disk(tmp_path, counted):
    model, optimizer = make_model()
    gradients = True if counted == "optimizer" else GradientTracker(model, every=1)
    tb = open_session(tmp_path, model, optimizer, attention=True, diagnostics=True, gradients=gradients)
    tb.start_epoch(0)
    run_epoch(tb, model, optimizer, 0)
    tb.flush()
    seen = weakref.ref(model), weakref.ref(optimizer), weakref.ref(tb)
    del model, optimizer, tb, gradients
    gc.collect()
    assert [ref() for ref in seen] == [None, None, None]
    assert read_run(tmp_path).scalars["loss"].steps.tolist() == STEPS[:4]


def test_a_hooked_model_is_copied_and_pickled_and_its_copies_are_free(tmp_path):
    model, optimizer = make_model()
    with open_session(tmp_path, model, optimizer, attention=True, diagnostics=True, strict=True) as tb:
        for epoch in tb.epochs(range(2)):
            run_epoch(tb, model, optimizer, epoch)
            twins = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
            state = copy.deepcopy(optimizer.state_dict())
    assert state["param_groups"]
    for twin in twins:
        assert_same_parameters(twin, unmeasured_parameters(2))
        before = tb.history.scalars["training_dynamics/gradient_norm"].steps.size
        twin(torch.randn(4, 6)).sum().backward()
        torch.optim.SGD(twin.parameters(), lr=0.1).step()
        assert tb.history.scalars["training_dynamics/gradient_norm"].steps.size == before


def test_logging_from_several_threads_loses_nothing(tmp_path):
    import threading

    with open_session(tmp_path, *make_model(), gradients=False) as tb:
        threads = [
            threading.Thread(target=lambda i=i: [tb.log_scalar(f"t{i}", float(n), step=n) for n in range(200)])
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    history = read_run(tmp_path)
    for i in range(4):
        assert history.scalars[f"t{i}"].values.tolist() == list(range(200))


def test_nothing_is_said_of_a_session_that_went_well(tmp_path, caplog):
    model, optimizer = make_model()
    with caplog.at_level(logging.WARNING, logger="tbmetrics"), open_session(tmp_path, model, optimizer) as tb:
        for epoch in tb.epochs(range(2)):
            run_epoch(tb, model, optimizer, epoch)
    assert caplog.text == ""
