"""Copies of device values to the host that never block the training thread."""

from __future__ import annotations

import math
import operator
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor

from tbmetrics.errors import InputError
from tbmetrics.records import Scalar, visible

_MOST_STEPS = 2**63  # event files hold 64 bits
_MOST_TAGS = 1000  # remembered
Event: TypeAlias = tuple[int, float, list[Scalar]]  # step, wall time, scalars


class HostCopy:
    """A tensor that is being copied to the host.

    A CUDA tensor is copied asynchronously to pinned memory on the current stream, a CPU tensor is used as it is (it
    must not change afterwards), and a tensor of any other device is copied at once.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor.detach(), non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(tensor.device))
        else:
            self._host = tensor.detach().cpu()

    def arrived(self) -> bool:
        """Whether the copy is complete; never waits."""
        return self._copied is None or self._copied.query()

    def get(self) -> Tensor:
        """Return the tensor on the host; wait for the copy if necessary."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host


@dataclass(slots=True)
class _PendingScalars:
    step: int
    wall_time: float
    tags: tuple[str, ...]
    values: HostCopy  # float32 of shape (tags,)


class DeferredScalars:
    """Turn `{tag: number or one-element tensor}` into records without waiting for the device.

    Numbers and CPU tensors are ready at once. CUDA tensors are stacked, copied to pinned memory with
    `non_blocking=True` and returned by a later `ready()`, once the copy is complete.
    """

    def __init__(self) -> None:
        self._ready: list[Event] = []
        self._tags: dict[str, str] = {}  # by the name that was given
        self._in_flight: deque[_PendingScalars] = deque()

    def put(self, scalars: Mapping[str, Any], step: int) -> None:
        """Add scalars measured at `step`.

        Raises:
            InputError: a value is neither a number nor a tensor of one element, or `step` is no whole number.
        """
        now, step = time.time(), step if type(step) is int and 0 <= step < _MOST_STEPS else _whole_step(step)
        on_host: list[Scalar] = []
        on_device: dict[str, Tensor] = {}
        for name, value in scalars.items():
            tag = self._tags.get(name) or self._tag(name)
            if type(value) is float:
                on_host.append(Scalar(tag, value))
            elif isinstance(value, Tensor) and value.is_cuda:
                on_device[tag] = _one_element(tag, value)
            else:
                on_host.append(Scalar(tag, _number(tag, value)))
        if on_host:
            self._ready.append((step, now, on_host))
        if on_device:
            self._send(on_device, step, now)

    def _tag(self, name: Any) -> str:
        tag = visible(_text(name))
        if len(self._tags) < _MOST_TAGS:
            self._tags[name] = tag
        return tag

    def _send(self, on_device: dict[str, Tensor], step: int, wall_time: float) -> None:
        by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
        for tag, value in on_device.items():
            by_device.setdefault(value.device, []).append((tag, value))
        for pairs in by_device.values():
            stacked = torch.stack([value.detach().reshape(()).float() for _, value in pairs])
            self._in_flight.append(_PendingScalars(step, wall_time, tuple(tag for tag, _ in pairs), HostCopy(stacked)))

    def ready(self, *, wait: bool = False) -> list[Event]:
        """(step, wall time, scalars) of completed copies, oldest first; `wait` synchronizes to get all."""
        ready, self._ready = self._ready, []
        while self._in_flight and (wait or self._in_flight[0].values.arrived()):
            pending = self._in_flight.popleft()
            values = pending.values.get().tolist()
            scalars = [Scalar(tag, value) for tag, value in zip(pending.tags, values, strict=True)]
            ready.append((pending.step, pending.wall_time, scalars))
        return ready


def _number(tag: str, value: Any) -> float:
    if isinstance(value, Tensor):
        _one_element(tag, value)
    number: Any = value.item() if isinstance(value, Tensor) or getattr(value, "size", None) == 1 else value
    if type(number) is float:
        return number
    if not isinstance(number, Real | Decimal):
        raise InputError(f"scalar {tag!r}: expected a number or a tensor of one element, got {_kind(value)}")
    try:
        return float(number)
    except OverflowError:
        return math.inf if abs(number) == number else -math.inf


def _kind(value: Any) -> str:
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    return f"{type(value).__name__}{dtype}"


def _text(tag: Any) -> str:
    if not isinstance(tag, str):
        raise InputError(f"the tag of a scalar must be a string, got {tag!r}")
    return tag


def _whole_step(step: Any) -> int:
    try:
        whole = operator.index(step)
    except TypeError:
        whole = _MOST_STEPS
    if not -_MOST_STEPS < whole < _MOST_STEPS:
        raise InputError(f"step must be a whole number of at most 63 bits, got {step!r}")
    return whole


def _one_element(tag: str, value: Tensor) -> Tensor:
    if value.numel() != 1:
        raise InputError(
            f"scalar {tag!r}: expected a number or a tensor of one element, got a tensor of shape "
            f"{tuple(value.shape)}; reduce it first, e.g. with .mean()"
        )
    return value
