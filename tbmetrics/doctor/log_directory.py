"""The log directory: it can be written and read back, its runs are whole, and TensorBoard shows every step."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding
from tbmetrics.errors import InputError
from tbmetrics.events.places import is_url, quoted
from tbmetrics.records.history import History

LITTLE_BYTES = 2**30
_STEPS = 3
#: TensorBoard's plugin → the attribute of a history with its tags.
_KINDS = {
    "scalars": "scalars",
    "images": "images",
    "histograms": "histograms",
    "pr_curves": "pr_curves",
    "text": "texts",
}
#: Steps that the Python loader keeps of a plugin that it does not name.
_OTHERS = 10


def writable(logdir: str) -> Iterator[Finding]:
    """A run can be started in the directory, and there is room."""
    if is_url(logdir):
        from tbmetrics.events.remote import file_system, scheme_of

        layer = type(file_system(logdir)).__name__
        yield Finding("log directory", OK, f"{scheme_of(logdir)}:// goes through TensorBoard's {layer}")
        return
    is_new = not os.path.exists(logdir)
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
        state = "does not exist yet and can be made" if is_new else "can be written"
        message = f"{logdir!r} {state}, {free / 2**30:,.0f} GiB free"
        yield Finding("log directory", OK, message, details=details)


def round_trip(logdir: str | None) -> Iterator[Finding]:
    """A short run is written, and read back by tbmetrics and by TensorBoard."""
    import google_crc32c

    try:
        with _temporary_run(logdir) as place:
            problem = _round_trip_problem(place)
    except (OSError, InputError) as error:
        yield Finding("round trip", FAILED, f"nothing was written ({error})", "see the log directory above")
        return
    if problem:
        advice = "what is trained here would not be seen; a network disk that shows files late does this"
        yield Finding("round trip", FAILED, problem, advice)
    else:
        where = "a temporary directory" if logdir is None else repr(logdir)
        yield Finding("round trip", OK, f"a run in {where} is read back by tbmetrics and by TensorBoard")
    if google_crc32c.implementation != "c":
        advice = "pip install --force-reinstall google-crc32c (a wheel with its C part)"
        yield Finding("round trip", WARNING, "checksums are computed in pure Python, many times slower", advice)


def _round_trip_problem(place: str) -> str:
    """How a short run read back differs from what was written; empty if it does not."""
    import torch
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    from tbmetrics import TBMetrics, read_run
    from tbmetrics.records import class_table_tag

    options = {"resources": False, "profiler": False, "overhead_budget": None, "process_group": False}
    tb = TBMetrics(place, classes={"doctor": [900, 50, 3]}, **options).start()  # type: ignore[arg-type]
    try:
        for epoch in tb.epochs(range(_STEPS)):
            tb.log_scalar("doctor", float(epoch))
            tb.update(torch.eye(3), torch.tensor([0, 1, epoch]))
            tb.step()
    finally:
        tb.finalize()  # without the line of a `with` block that says how to look at the run
    tag = class_table_tag("doctor")
    history = read_run(place)
    if history.problems:
        return history.problems[0]
    ours = len(history.tables.get(tag, ())), len(history.scalars.get("doctor", ()))
    if ours != (_STEPS, _STEPS):
        return f"{ours} of {_STEPS} tables and scalars were read back by tbmetrics"
    accumulator = EventAccumulator(place, {"tensors": 0}).Reload()
    tensors = set(accumulator.Tags()["tensors"])
    read_by_tensorboard = [len(accumulator.Tensors(name)) if name in tensors else 0 for name in (tag, "doctor")]
    if read_by_tensorboard != [_STEPS, _STEPS]:
        return f"{read_by_tensorboard} of {_STEPS} tables and scalars were read back by TensorBoard"
    return ""


def runs(logdir: str) -> Iterator[Finding]:
    """The runs in the directory are undamaged, and TensorBoard shows all of their steps."""
    from tbmetrics import read_logdir

    if not is_url(logdir) and not Path(logdir).is_dir():
        return
    try:
        histories = read_logdir(logdir)
    except InputError as error:
        if "holds no event files" in str(error):
            return
        yield Finding("runs", FAILED, str(error), "check its name and your credentials")
        return
    damaged = [f"{run}: {problem}" for run, history in histories.items() for problem in history.problems]
    for problem in damaged[:5]:
        advice = "tbmetrics steps over it; TensorBoard shows nothing that this file holds after it"
        yield Finding("runs", FAILED, problem, advice)
    if not histories:
        yield Finding("runs", OK, f"{logdir!r} holds no run yet")
        return
    if not damaged:
        yield Finding("runs", OK, f"{len(histories)} {'run' if len(histories) == 1 else 'runs'}, every record whole")
    yield from _retention(logdir, histories)


def _retention(logdir: str, runs: Mapping[str, History]) -> Iterator[Finding]:
    """TensorBoard keeps a sample of long tags: which steps of `runs` it leaves out, and the flag that shows all."""
    limits = _default_limits()
    longest = {plugin: _longest(runs, kind) for plugin, kind in _KINDS.items()}
    details = {
        "kept": {plugin: limits.get(plugin, _OTHERS) for plugin in longest},
        "steps": {plugin: steps for plugin, (steps, _) in longest.items()},
    }
    beyond = {plugin: tag for plugin, tag in longest.items() if tag[0] > limits.get(plugin, _OTHERS)}
    if not beyond:
        yield Finding("retention", OK, "TensorBoard shows every step", details=details)
        return
    samples = "; ".join(
        f"{limits.get(plugin, _OTHERS):,} of {steps:,} {plugin} steps ({tag} of {run})"
        for plugin, (steps, (run, tag)) in beyond.items()
    )
    flag = ",".join(f"{plugin}={steps}" for plugin, (steps, _) in beyond.items())
    advice = f"tensorboard --logdir {quoted(logdir)} --samples_per_plugin {flag}   (tbmetrics export leaves out none)"
    yield Finding("retention", WARNING, f"TensorBoard keeps a sample: {samples}", advice, details)


def _default_limits() -> dict[str, int]:
    """Steps per tag that TensorBoard's loaders keep, by plugin."""
    from tensorboard.backend.event_processing import data_ingester

    limits: dict[str, int] = dict(data_ingester.DEFAULT_TENSOR_SIZE_GUIDANCE)
    return limits


def _longest(runs: Mapping[str, History], kind: str) -> tuple[int, tuple[str, str]]:
    """Steps of the longest tag, and its run and name."""
    sizes: list[tuple[int, tuple[str, str]]] = []
    for run, history in runs.items():
        by_tag: dict[str, Any] = getattr(history, kind)
        sizes += [(len(series), (run, tag)) for tag, series in by_tag.items()]
    return max(sizes, key=lambda size: size[0], default=(0, ("", "")))


@contextmanager
def _temporary_run(logdir: str | None) -> Iterator[str]:
    """A directory below `logdir`; it is removed afterwards, with the parents that were made for it."""
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
