"""Reductions over torch.distributed that combine the measurements of all ranks.

All collectives are in `reduce_trackers`, which a session calls in `end_epoch` on every rank. Their number and order
depend only on what all ranks have exchanged before, so a fault on one rank never makes another wait.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch import distributed as dist

from tbmetrics.errors import InputError
from tbmetrics.tracking.tracker import Tracker

#: Ranks whose measurements are combined: a process group, None for all ranks, False for this rank alone.
Group: TypeAlias = Any
Call: TypeAlias = Callable[..., Any]

CHUNK_BYTES = 64 * 2**20  # copied to the device at a time


class Failure(Enum):
    """Placeholder for the result of a tracker that failed; an enum, so that it stays a singleton when pickled."""

    FAILED = "failed"


FAILED = Failure.FAILED


class Ranks:
    """The ranks whose measurements are combined.

    Args:
        group: a `torch.distributed.ProcessGroup`, None for all ranks, or False for this rank alone.

    Raises:
        InputError: `group` is something else.
    """

    def __init__(self, group: Group = None) -> None:
        is_group = group is None or group is False or (dist.is_available() and isinstance(group, dist.ProcessGroup))
        if not is_group and group is not dist.GroupMember.NON_GROUP_MEMBER:
            raise InputError(
                f"process_group must be a torch.distributed process group, None for all ranks, or False for this rank "
                f"alone, got {type(group).__name__}"
            )
        self._group = group

    @property
    def size(self) -> int:
        """Number of ranks; 1 if torch.distributed is not initialized or this rank is not in the group."""
        if self._group is False or not (dist.is_available() and dist.is_initialized()):
            return 1
        return max(dist.get_world_size(self._group), 1)

    @property
    def rank(self) -> int:
        """Index of this rank in the group."""
        return dist.get_rank(self._group) if self.size > 1 else 0

    @property
    def writes(self) -> bool:
        """Whether this rank writes: the first of the group, or rank 0 of the job without a group."""
        if not (dist.is_available() and dist.is_initialized()):
            return True
        return (dist.get_rank(self._group) if self._group else dist.get_rank()) == 0

    def all_gather(self, value: Any) -> list[Any]:
        """Return every rank's `value`, in rank order, on every rank; for small objects."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def reduce(self, value: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """Combine the values of all ranks in pairs, lower ranks first; return None except on the first rank.

        A binary tree: a rank holds at most two values, and the first rank receives log2(ranks) messages.
        """
        rank, size, distance = self.rank, self.size, 1
        while distance < size:
            if rank % (2 * distance):
                self._send(value, rank - distance)
                return None
            if rank + distance < size:
                value = combine(value, self._receive(rank + distance))
            distance *= 2
        return value

    def broadcast(self, value: Any) -> Any:
        """Return the first rank's `value` on every rank."""
        transfer = partial(dist.broadcast, src=self._global(0), group=self._group)
        return self._transfer(value, self.rank == 0, transfer)

    # --------------------------------------------------------------------------------------------- internals

    def _send(self, value: Any, destination: int) -> None:
        self._transfer(value, True, partial(dist.send, dst=self._global(destination), group=self._group))

    def _receive(self, source: int) -> Any:
        return self._transfer(None, False, partial(dist.recv, src=self._global(source), group=self._group))

    def _transfer(self, value: Any, is_source: bool, transfer: Callable[[Tensor], Any]) -> Any:
        """Pickle and send `value` from the source, or receive it: first its size, then its bytes in chunks."""
        device = self._device()
        raw = bytearray(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)) if is_source else bytearray()
        count = torch.tensor([len(raw)], device=device)
        transfer(count)
        host = torch.frombuffer(raw, dtype=torch.uint8) if is_source else torch.empty(int(count), dtype=torch.uint8)
        for chunk in host.split(CHUNK_BYTES):
            on_device = chunk.to(device)
            transfer(on_device)
            if not is_source and on_device is not chunk:
                chunk.copy_(on_device)
        return value if is_source else pickle.loads(host.numpy().data)  # noqa: S301 (from a rank of the same job)

    def _device(self) -> torch.device:
        """Device of tensors to communicate: the CPU if the backend supports it, otherwise its accelerator."""
        kinds = [part.split(":")[0] for part in dist.get_backend_config(self._group).split(",")]
        return torch.device("cpu" if "cpu" in kinds else kinds[0])

    def _global(self, rank: int) -> int:
        return rank if self._group is None else dist.get_global_rank(self._group, rank)


def reduce_trackers(trackers: Sequence[Tracker], ranks: Ranks, call: Call) -> list[str]:
    """Combine the measurements of each tracker over all ranks; a collective, so every rank must call it.

    Args:
        trackers: trackers of this rank; one that other ranks lack is reduced over the ranks that have it.
        ranks: more than one rank.
        call: `call(tracker, action, *args, default=…)` returns `action(*args)`, or `default` if that failed.

    Returns:
        names of the trackers that failed on some rank and therefore have no result.
    """
    by_name = {tracker.name: tracker for tracker in trackers}
    announced = ranks.all_gather({name: call(t, t.announce, default=FAILED) for name, t in by_name.items()})
    failed = {name for values in announced for name, value in values.items() if value is FAILED}
    shares = {
        name: call(t, t.share, [values.get(name) for values in announced], ranks.rank, default=FAILED)
        for name, t in by_name.items()
        if name not in failed
    }
    if all(value is None for values in announced for value in values.values()):
        return sorted(failed)
    merged = ranks.reduce(shares, partial(_combine_shares, by_name, call))
    outcomes: dict[str, Any] = {}
    if merged is not None:
        failed |= {name for name, share in merged.items() if share is FAILED}
        outcomes = _adopt(by_name, merged, failed, call)
    failed, outcomes = ranks.broadcast((failed, outcomes))
    for name, tracker in by_name.items():
        if name in failed or (merged is None and name in outcomes):
            call(tracker, tracker.take_outcome, outcomes.get(name))
    return sorted(failed)


def _combine_shares(
    by_name: Mapping[str, Tracker], call: Call, lower: Mapping[str, Any], higher: Mapping[str, Any]
) -> dict[str, Any]:
    """Combine the shares of two blocks of ranks, tracker by tracker."""
    return {
        name: _combine(by_name.get(name), call, [s[name] for s in (lower, higher) if s.get(name) is not None])
        for name in {**lower, **higher}
    }


def _combine(tracker: Tracker | None, call: Call, shares: Sequence[Any]) -> Any:
    if any(share is FAILED for share in shares):
        return FAILED
    if len(shares) < 2:
        return shares[0] if shares else None
    return FAILED if tracker is None else call(tracker, tracker.combine, *shares, default=FAILED)


def _adopt(
    by_name: Mapping[str, Tracker], merged: Mapping[str, Any], failed: Collection[str], call: Call
) -> dict[str, Any]:
    """Let each tracker of the first rank adopt the share of all ranks; return the outcomes."""
    return {
        name: call(tracker, tracker.adopt, merged[name])
        for name, tracker in by_name.items()
        if name not in failed and merged.get(name) is not None
    }
