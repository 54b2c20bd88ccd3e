"""SIGTERM: what was measured is written, and the process ends as it would have."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from tbmetrics import TBMetrics, read_run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

_TRAINING = """
    import os, signal, sys
    import torch
    from tbmetrics import ClassGroups, TBMetrics
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    {before}
    tb = TBMetrics(sys.argv[1], model=model, optimizer=optimizer, classes=ClassGroups.from_counts([9, 9]))
    tb.start_epoch(3)
    for step in range(7):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        tb.log_scalar("loss", float(step))
    tb.update(torch.eye(2), torch.arange(2))
    os.kill(os.getpid(), signal.SIGTERM)
    {after}
"""


def _run(tmp_path, before="", after="print('goes on')"):
    code = textwrap.dedent(_TRAINING).format(before=before, after=after)
    return subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_a_preempted_job_writes_its_open_epoch_and_ends_by_the_signal(tmp_path):
    ended = _run(tmp_path)
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "")
    history = read_run(tmp_path)
    assert history.scalars["loss"].values.tolist() == list(range(7))
    assert history.tables["longtail/class"].steps.tolist() == [3]
    assert "tbmetrics/results" in history.texts


@pytest.mark.slow
def test_a_program_with_a_handler_of_its_own_goes_on_and_what_was_measured_is_on_disk(tmp_path):
    ended = _run(
        tmp_path,
        before="signal.signal(signal.SIGTERM, lambda *_: print('saving', flush=True))",
        after="print('goes on', tb.is_open, flush=True); os._exit(5)",
    )
    assert (ended.returncode, ended.stdout) == (5, "saving\ngoes on True\n")
    assert read_run(tmp_path).scalars["loss"].values.tolist() == list(range(7))


def test_sessions_leave_the_handler_as_it_was(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with TBMetrics(tmp_path / "a"), TBMetrics(tmp_path / "b"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ZeroDivisionError), TBMetrics(tmp_path / "c"):
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGTERM) is before
    with TBMetrics(tmp_path / "d", enabled=False):
        assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with TBMetrics(tmp_path) as tb:
            os.kill(os.getpid(), signal.SIGTERM)
            assert tb.is_open
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_handler_under_two_sessions_is_called_once_and_both_flush(tmp_path):
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with TBMetrics(tmp_path / "a") as a, TBMetrics(tmp_path / "b") as b:
            a.log_scalar("x", torch.tensor(1.0))
            b.log_scalar("y", 2)
            os.kill(os.getpid(), signal.SIGTERM)
            assert calls == [signal.SIGTERM]
            assert read_run(tmp_path / "a").scalars["x"].values.tolist() == [1.0]
            assert read_run(tmp_path / "b").scalars["y"].values.tolist() == [2.0]
    finally:
        signal.signal(signal.SIGTERM, before)
