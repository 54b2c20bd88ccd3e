"""The log directory: it can be written, what is written comes back, and TensorBoard shows all of what is there."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding
from tbmetrics.doctor.retention import retention
from tbmetrics.errors import InputError
from tbmetrics.events.places import is_url

LITTLE_BYTES = 2**30
_STEPS = 3


def writable(logdir: str) -> Iterator[Finding]:
    """A run can be begun in it, and there is room."""
    if is_url(logdir):
        from tbmetrics.events.remote import file_system, scheme_of

        layer = type(file_system(logdir)).__name__
        yield Finding("log directory", OK, f"{scheme_of(logdir)}:// goes through TensorBoard's {layer}")
        return
    try:
        with _temporary_run(logdir) as place:
            free = shutil.disk_usage(place).free
    except OSError as error:
        message = f"{logdir!r} cannot be written ({error.strerror or error})"
        yield Finding("log directory", FAILED, message, "choose one that you may write to, or make room")
        return
    details = {"path": os.path.abspath(logdir), "free_bytes": free}
    if free < LITTLE_BYTES:
        message = f"{logdir!r} has {free / 2**20:,.0f} MiB left"
        advice = "make room: records that cannot be written are dropped, and counted in tbmetrics/dropped_records"
        yield Finding("log directory", WARNING, message, advice, details)
    else:
        yield Finding("log directory", OK, f"{logdir!r} can be written, {free / 2**30:,.0f} GiB free", details=details)


def round_trip(logdir: str | None) -> Iterator[Finding]:
    """A short run is written, and read back by tbmetrics and by TensorBoard."""
    import google_crc32c

    try:
        with _temporary_run(logdir) as place:
            wrong = _written_and_read(place)
    except (OSError, InputError) as error:
        yield Finding("round trip", FAILED, f"nothing was written ({error})", "see the log directory above")
        return
    if wrong:
        advice = "what is trained here would not be seen; a network disk that shows files late does this"
        yield Finding("round trip", FAILED, wrong, advice)
    else:
        where = "a temporary directory" if logdir is None else repr(logdir)
        yield Finding("round trip", OK, f"a run in {where} is read back by tbmetrics and by TensorBoard")
    if google_crc32c.implementation != "c":
        advice = "pip install --force-reinstall google-crc32c (a wheel with its C part)"
        yield Finding("round trip", WARNING, "checksums are computed in pure Python, many times slower", advice)


def _written_and_read(place: str) -> str:
    """What did not come back as it was written; empty where all did."""
    import torch
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    from tbmetrics import TBMetrics, read_run
    from tbmetrics.records import class_table_tag

    options = {"resources": False, "profiler": False, "overhead_budget": None, "process_group": False}
    with TBMetrics(place, classes={"doctor": [900, 50, 3]}, **options) as tb:  # type: ignore[arg-type]
        for epoch in tb.epochs(range(_STEPS)):
            tb.log_scalar("doctor", float(epoch))
            tb.update(torch.eye(3), torch.tensor([0, 1, epoch]))
            tb.step()
    tag = class_table_tag("doctor")
    history = read_run(place)
    if history.problems:
        return history.problems[0]
    ours = len(history.tables.get(tag, ())), len(history.scalars.get("doctor", ()))
    if ours != (_STEPS, _STEPS):
        return f"{ours} of {_STEPS} tables and scalars were read back by tbmetrics"
    accumulator = EventAccumulator(place, {"tensors": 0}).Reload()
    found = set(accumulator.Tags()["tensors"])
    theirs = [len(accumulator.Tensors(name)) if name in found else 0 for name in (tag, "doctor")]
    return (
        "" if theirs == [_STEPS, _STEPS] else f"{theirs} of {_STEPS} tables and scalars were read back by TensorBoard"
    )


def runs(logdir: str) -> Iterator[Finding]:
    """The runs that are there: undamaged, and within what TensorBoard keeps."""
    from tbmetrics import read_logdir

    if not is_url(logdir) and not Path(logdir).is_dir():
        return
    try:
        found = read_logdir(logdir)
    except InputError as error:
        if "holds no event files" in str(error):
            return
        yield Finding("runs", FAILED, str(error), "check its name and your credentials")
        return
    damaged = [f"{run}: {problem}" for run, history in found.items() for problem in history.problems]
    for problem in damaged[:5]:
        advice = "tbmetrics steps over it; TensorBoard shows nothing that this file holds after it"
        yield Finding("runs", FAILED, problem, advice)
    if not found:
        yield Finding("runs", OK, f"{logdir!r} holds no run yet")
        return
    if not damaged:
        yield Finding("runs", OK, f"{len(found)} {'run' if len(found) == 1 else 'runs'}, every record whole")
    yield from retention(logdir, found)


@contextmanager
def _temporary_run(logdir: str | None) -> Iterator[str]:
    """A directory below `logdir` that is gone afterwards, as are those that had to be made for it."""
    if logdir is not None and is_url(logdir):
        from tbmetrics.events.remote import remove

        place = f"{logdir}/tbmetrics-doctor-{uuid.uuid4().hex[:8]}"
        try:
            yield place
        finally:
            remove(place)
        return
    if logdir is None:
        with tempfile.TemporaryDirectory(prefix="tbmetrics-doctor-") as folder:
            yield folder
        return
    missing = [path for path in (Path(logdir), *Path(logdir).parents) if not path.exists()]
    try:
        Path(logdir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="tbmetrics-doctor-", dir=logdir) as folder:
            yield folder
    finally:
        for path in missing:
            if path.is_dir():
                path.rmdir()
