"""ProfilerTracker: torch's profiler on a few steps, on a schedule or on demand, with traces for TensorBoard."""

from __future__ import annotations

import math
import os
import socket
import time
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch

from tbmetrics.errors import InputError, TBMetricsWarning
from tbmetrics.records import Record, Scalar, Text
from tbmetrics.records.history import TimedRecord
from tbmetrics.resource_usage.profile_report import step_breakdown, top_operators
from tbmetrics.tracking.checks import check_whole_numbers
from tbmetrics.tracking.ranks import Ranks
from tbmetrics.tracking.tracker import Tracker

TAG = "resource_usage/profiler"
#: A file of this name in the run's folder asks for a profile; a number in it is the number of steps.
REQUEST = "PROFILE"
_PREFIX = "tbmetrics_"
_SUFFIX = ".pt.trace.json.gz"
_LOOK_EVERY_SECONDS = 1.0
_STEPS_BETWEEN_LOOKS = 10  # at most, where they are quick
_MOST_STEPS = 1000


class ProfilerTracker(Tracker):
    """Profiles a few optimizer steps and writes the trace to the run's folder.

        profiler = ProfilerTracker(at=(100,))
        with TBMetrics("runs/focal", model=model, optimizer=optimizer, profiler=profiler) as tb:
            ...

    A profile is made after the steps in `at`, every `every` steps, when `profile()` is called, and when a file named
    `PROFILE` appears in the folder (`touch runs/focal/PROFILE`; rank 0 looks for it once a second). One step warms up,
    the next `steps` are recorded.
    The trace `tbmetrics_{host}_{pid}.{time}.pt.trace.json.gz` opens in the PyTorch Profiler tab of TensorBoard
    (`torch-tb-profiler`) and at https://ui.perfetto.dev; the Text tab has the top operators, and scalars have the time
    of a step by category. While no profile is made, a step costs nothing.

    Args:
        log_dir: directory of the traces; None = that of the session.
        steps: optimizer steps in a profile.
        at: optimizer steps after which a profile begins.
        every: begin a profile every so many optimizer steps; None = never.
        keep: traces to keep in the folder; older ones are deleted.
        max_bytes: a larger trace is deleted, with a warning.
        profile_memory: record allocations too.
        record_shapes: record shapes of the operators' inputs.

    Attributes:
        log_dir: as given, or that of the session.
        traces: the files that were written and still exist.
        history: all records of this tracker.

    Raises:
        InputError: an option out of range.
    """

    name = "profiler"

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        steps: int = 5,
        at: Collection[int] = (),
        every: int | None = None,
        keep: int = 3,
        max_bytes: int = 256 * 2**20,
        profile_memory: bool = False,
        record_shapes: bool = False,
    ) -> None:
        check_whole_numbers(at_most=_MOST_STEPS, steps=steps)
        check_whole_numbers(keep=keep, max_bytes=max_bytes)
        if every is not None and every <= steps + 1:
            raise InputError(f"every must be more than steps + 1 (one step warms up), got {every} with steps={steps}")
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.traces: list[Path] = []
        self._steps = steps
        self._at = frozenset(at)
        self._every = every
        self._keep = keep
        self._max_bytes = max_bytes
        self._options: dict[str, Any] = {"profile_memory": profile_memory, "record_shapes": record_shapes}
        self._requested = 0
        self._next_look = 0.0
        self._last_call, self._step_time = -math.inf, math.inf  # seconds
        self._profiler: Any = None
        self._ready: list[TimedRecord] = []
        self._step_seconds: dict[str, float] = {}
        self._step = 0
        self._is_finished = False

    def profile(self, steps: int | None = None) -> None:
        """Request a profile of the next `steps` steps; ignored while a profile is being made.

        Raises:
            InputError: steps out of 1..1000.
        """
        requested = self._steps if steps is None else steps
        check_whole_numbers(at_most=_MOST_STEPS, steps=requested)
        self._requested = requested

    @property
    def next_step(self) -> int:  # type: ignore[override]
        """The step of the next profile that is due, or of the next look for a request."""
        is_quick = _STEPS_BETWEEN_LOOKS * self._step_time < _LOOK_EVERY_SECONDS
        if self._profiler is not None or self._requested or not is_quick:
            return 0
        due = (step for step in self._at if step > self._step)
        regular = () if self._every is None else ((self._step // self._every + 1) * self._every,)
        return min([*due, *regular, self._step + _STEPS_BETWEEN_LOOKS])

    def after_step(self, step: int) -> None:
        """Advance the profile that is being made, or begin one that is due."""
        steps, self._step = max(step - self._step, 1), step
        if self._profiler is not None:
            self._profiler.step()
            if self._is_finished:
                self._end()
            return
        now = time.monotonic()
        self._step_time, self._last_call = (now - self._last_call) / steps, now
        if now >= self._next_look:
            self._look_for_request()
        if step in self._at or (self._every is not None and step % self._every == 0):
            self._requested = self._requested or self._steps
        if self._requested:
            steps, self._requested = self._requested, 0
            self._begin(steps)

    def records(self, epoch: int) -> Iterable[TimedRecord]:
        """Table and step times of the profiles made since the last call, at their optimizer steps."""
        return self.pending()

    def get_metrics(self) -> dict[str, Any]:
        """`{"traces": [file names], "step_seconds": {category: last value}}`."""
        return {"traces": [str(path) for path in self.traces], "step_seconds": dict(self._step_seconds)}

    def stop(self) -> None:
        """End a profile that is being made and write what it has recorded; idempotent."""
        if self._profiler is not None:
            self._end()

    # --------------------------------------------------------------------------------------------- internals

    def _look_for_request(self) -> None:
        self._next_look = time.monotonic() + _LOOK_EVERY_SECONDS
        path = self._folder() / REQUEST
        if not Ranks().writes or not path.exists():
            return
        try:
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            path.unlink()
        except OSError:  # another process took it, or the folder cannot be written
            return
        requested = int(text) if text.isascii() and text.isdigit() else 0
        self._requested = min(requested or self._steps, _MOST_STEPS)

    def _folder(self) -> Path:
        if self.log_dir is None:
            raise InputError("a profiler outside of a session needs a folder: ProfilerTracker(log_dir)")
        return self.log_dir

    def _begin(self, steps: int) -> None:
        if getattr(torch.autograd, "_profiler_enabled", bool)():
            message = "another profiler is running; tbmetrics' profile is left out. Stop it, and call profile() again"
            warnings.warn(message, TBMetricsWarning, stacklevel=3)
            return
        self._is_finished = False
        self._profiler = torch.profiler.profile(
            schedule=torch.profiler.schedule(wait=0, warmup=1, active=steps, repeat=1),
            on_trace_ready=self._write,
            **self._options,
        )
        self._profiler.start()

    def _end(self) -> None:
        profiler, self._profiler = self._profiler, None
        profiler.stop()

    def _write(self, profiler: Any) -> None:
        self._is_finished = True
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_PREFIX}{socket.gethostname()}_{os.getpid()}.{time.time_ns()}{_SUFFIX}"
        temporary = path.with_name(f".{path.name.removesuffix(_SUFFIX)}.tmp.gz")  # TensorBoard ignores this name
        try:
            profiler.export_chrome_trace(str(temporary))
            is_filed = self._file_trace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._report(profiler, path if is_filed else None)

    def _file_trace(self, temporary: Path, path: Path) -> bool:
        size = temporary.stat().st_size
        if size > self._max_bytes:
            message = (
                f"the trace has {size:,} bytes, more than max_bytes={self._max_bytes:,}, and is deleted; "
                "profile fewer steps, or raise max_bytes"
            )
            warnings.warn(message, TBMetricsWarning, stacklevel=3)
            return False
        temporary.replace(path)
        filed = sorted(path.parent.glob(f"{_PREFIX}*{_SUFFIX}"), key=lambda p: p.stat().st_mtime_ns)
        for old in filed[: -self._keep]:
            old.unlink(missing_ok=True)
        self.traces = [trace for trace in (*self.traces, path) if trace.exists()]
        return True

    def _report(self, profiler: Any, path: Path | None) -> None:
        self._step_seconds = step_breakdown(profiler.events())
        location = (
            f"Trace: `{path.name}` in the run's folder. Drag it into [Perfetto](https://ui.perfetto.dev), or open "
            "TensorBoard's PyTorch Profiler tab (`pip install 'tbmetrics[profiler]'`)."
            if path is not None
            else "The trace was larger than `max_bytes` and was deleted."
        )
        table = top_operators(profiler.key_averages())
        records: list[Record] = [Text(f"{TAG}/top_operators", f"{location}\n\n{table}")]
        records += [Scalar(f"{TAG}/step_seconds/{kind}", value) for kind, value in self._step_seconds.items()]
        now = time.time()
        self._ready += [TimedRecord(self._step, now, record) for record in records]
        self._file_if_alone(self.pending)
