"""Scalars that still live on a device: copied without synchronising, handed on once they have arrived."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor

from tbmetrics.errors import InputError
from tbmetrics.records import Scalar

Event: TypeAlias = tuple[int, float, list[Scalar]]  # step, wall time, scalars


@dataclass(slots=True)
class _Arrival:
    step: int
    wall_time: float
    tags: tuple[str, ...]
    values: Tensor  # on the host, float32 of shape (tags,)
    copied: torch.cuda.Event


class DeferredScalars:
    """Turns `{tag: number or one-element tensor}` into records without waiting for the device.

    Numbers and CPU tensors are ready at once. CUDA tensors are stacked, copied to pinned memory with
    `non_blocking=True` and handed out by a later `ready()`, after the copy's event has been reached.
    """

    def __init__(self) -> None:
        self._ready: list[Event] = []
        self._in_flight: deque[_Arrival] = deque()

    def put(self, scalars: Mapping[str, Any], step: int) -> None:
        """Takes scalars measured at `step`.

        Raises:
            InputError: a value is neither a number nor a tensor of one element.
        """
        now = time.time()
        numbers: list[Scalar] = []
        on_device: dict[str, Tensor] = {}
        for tag, value in scalars.items():
            if type(value) is float:
                numbers.append(Scalar(tag, value))
            elif isinstance(value, Tensor) and value.is_cuda:
                on_device[tag] = _one_element(tag, value)
            else:
                numbers.append(Scalar(tag, _number(tag, value)))
        if numbers:
            self._ready.append((step, now, numbers))
        if on_device:
            self._send(on_device, step, now)

    def _send(self, on_device: dict[str, Tensor], step: int, wall_time: float) -> None:
        by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
        for tag, value in on_device.items():
            by_device.setdefault(value.device, []).append((tag, value))
        for device, pairs in by_device.items():
            stacked = torch.stack([value.detach().reshape(()).float() for _, value in pairs])
            host = torch.empty(stacked.shape, dtype=torch.float32, pin_memory=True)
            host.copy_(stacked, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(torch.cuda.current_stream(device))
            self._in_flight.append(_Arrival(step, wall_time, tuple(tag for tag, _ in pairs), host, copied))

    def ready(self, *, wait: bool = False) -> Iterator[Event]:
        """(step, wall time, scalars) of what has arrived, oldest first; with `wait` all of it (this synchronises)."""
        arrived, self._ready = self._ready, []
        yield from arrived
        while self._in_flight and (wait or self._in_flight[0].copied.query()):
            arrival = self._in_flight.popleft()
            arrival.copied.synchronize()
            scalars = [Scalar(tag, value) for tag, value in zip(arrival.tags, arrival.values.tolist(), strict=True)]
            yield arrival.step, arrival.wall_time, scalars


def _number(tag: str, value: Any) -> float:
    if isinstance(value, Tensor):
        return float(_one_element(tag, value).detach())
    if isinstance(value, Real) or (hasattr(value, "item") and getattr(value, "size", None) == 1):
        return float(value)
    raise InputError(f"scalar {tag!r}: expected a number or a tensor of one element, got {type(value).__name__}")


def _one_element(tag: str, value: Tensor) -> Tensor:
    if value.numel() != 1:
        raise InputError(
            f"scalar {tag!r}: expected a number or a tensor of one element, got a tensor of shape "
            f"{tuple(value.shape)}; reduce it first, e.g. with .mean()"
        )
    return value
