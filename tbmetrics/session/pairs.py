"""Pairs of a session's verbs: `with`, epochs, batches and components as context managers and iterators."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from multiprocessing import parent_process
from numbers import Integral
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from tbmetrics.errors import InputError
from tbmetrics.events.places import directory_of_runs, how_to_look
from tbmetrics.resource_usage.monitor import DATA_LOADING
from tbmetrics.resource_usage.timers import ComponentBlock
from tbmetrics.session.batch_sizes import batch_size_of
from tbmetrics.session.loops import length_of, with_progress
from tbmetrics.session.verbs import SessionVerbs

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
_NOTHING = nullcontext()

logger = logging.getLogger("tbmetrics")


class SessionPairs(SessionVerbs):
    """The loop helpers of a session; each is a pair of its verbs, so that both styles mix."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._blocks: dict[str, ComponentBlock] = {}
        self._has_warned_of_size = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._fail()
        self.finalize()
        if error is None and self.enabled and self.writes and self.classes is not None and parent_process() is None:
            _say_once(how_to_look(directory_of_runs(self.log_dir)))

    def epochs(self, epochs: Iterable[int]) -> Iterator[int]:
        """Yield each epoch between `start_epoch` and `end_epoch`; `break` and exceptions end it too.

        With several ranks, an epoch left by `break` is ended by the next verb, where all ranks meet.
        """
        number = length_of(epochs)
        if self.resources is not None and number is not None:
            self.resources.expect_epochs(number)
        for epoch in epochs:
            self.start_epoch(epoch)
            try:
                yield epoch
            except GeneratorExit:  # `break`, or a failure of this rank alone, in which case the others never join
                if self._ranks.size == 1:
                    self._end_epoch_undrawn()
                raise
            except BaseException:
                self._is_failing = True
                self.end_epoch()
                raise
            self.end_epoch()

    def _end_epoch_undrawn(self) -> None:
        """End the epoch, and leave drawing to the end of the session: an interrupted one does without."""
        for tracker in self.trackers:
            tracker.is_interrupted = True
        self.end_epoch()
        for tracker in self.trackers:
            tracker.is_interrupted = False

    def batches(
        self,
        loader: Iterable[T],
        *,
        progress: bool = False,
        samples: Callable[[T], int] | None = None,
        tokens: Callable[[T], int] | None = None,
    ) -> Iterator[T]:
        """Yield the loader's batches; measure data-loading time, samples and steps.

        Args:
            loader: any iterable of batches.
            progress: show a progress bar on stderr.
            samples: returns the number of samples in a batch; None finds it in tensors, packed and nested sequences,
                batched graphs, lists of samples, and anything that holds these.
            tokens: returns the number of tokens in a batch, for tokens per second.
        """
        if not self._is_running():
            yield from loader
            return
        iterator = iter(with_progress(loader, self.current_epoch) if progress else loader)
        self._steps.start_batch()
        while True:
            self.start_component(DATA_LOADING)
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self.end_component(DATA_LOADING)
            size = batch_size_of(batch) if samples is None else samples(batch)
            self._count(batch, size, 0 if tokens is None else tokens(batch))
            yield batch
            self._steps.end_batch()

    def count_samples(self, batch: Any, tokens: int = 0) -> None:
        """Count the samples of a training batch that bypassed `batches`.

        Args:
            batch: the batch, or the number of its samples.
            tokens: number of its tokens, for tokens per second.
        """
        if self._is_running():
            self._count(batch, int(batch) if isinstance(batch, Integral) else batch_size_of(batch), tokens)

    def _count(self, batch: Any, size: int | None, tokens: int) -> None:
        if self.resources is not None:
            count = partial(self.resources.count_samples, tokens=tokens) if tokens else self.resources.count_samples
            self._call_resources(count, size)
            if size is None:
                self._warn_of_unknown_size(batch)

    def _warn_of_unknown_size(self, batch: Any) -> None:
        is_index = batch is None or isinstance(batch, Integral | str)  # of a loop that loads its data itself
        if not self._has_warned_of_size and not is_index:
            self._has_warned_of_size = True
            logger.warning(
                "tbmetrics: the number of samples in a batch (%s) cannot be told, so samples per second are unknown; "
                "give tb.batches(loader, samples=lambda batch: ...), or tb.count_samples(number)",
                type(batch).__name__,
            )

    def component(self, name: str) -> AbstractContextManager[None]:
        """Return a context manager that times its block as component `name`."""
        if self.resources is None or not self._is_running():
            return _NOTHING
        block = self._blocks.get(name)
        if block is None:
            block = self._blocks[name] = self.resources.component(name, self._call_resources)
        return block

    def profile(self, steps: int | None = None) -> None:
        """Profile the next `steps` optimizer steps (default: as the profiler was configured, else 5).

        The trace is written to `log_dir`, for TensorBoard's PyTorch Profiler tab and for Perfetto.

        Raises:
            InputError: `steps` is not in 1..1000, or the session has no profiler.
        """
        if not self._is_running():
            return
        if self.profiler is None:
            raise InputError(
                "profile() needs the profiler: leave profiler=False out of TBMetrics(...); with a remote log_dir give "
                "profiler=ProfilerTracker('traces')"
            )
        self._call(self.profiler, self.profiler.profile, steps)
        self._step_ends.ask_anew()


@cache
def _say_once(message: str) -> None:
    print(f"tbmetrics: {message}", file=sys.stderr)
