"""Reductions over torch.distributed: what ranks measured becomes one result; nothing happens in a job of one process.

Collectives are made in one place only, `reduce_trackers`, which a session calls in `end_epoch` on every rank. Their
number and order depend on nothing but what all ranks have told each other, so a fault on one rank makes none wait.
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

#: Ranks that measure together: a process group, None for all, False for each rank alone.
Group: TypeAlias = Any
Call: TypeAlias = Callable[..., Any]

CHUNK_BYTES = 64 * 2**20  # on the device at a time


class Failure(Enum):
    """Stands for what a tracker did not give because it failed; one object on every rank, however it travels."""

    FAILED = "failed"


FAILED = Failure.FAILED


class Ranks:
    """The ranks that measure together.

    Args:
        group: a `torch.distributed.ProcessGroup`; None = all ranks; False = this rank alone.

    Raises:
        InputError: something else.
    """

    def __init__(self, group: Group = None) -> None:
        known = group is None or group is False or (dist.is_available() and isinstance(group, dist.ProcessGroup))
        if not known and group is not dist.GroupMember.NON_GROUP_MEMBER:
            raise InputError(
                f"process_group must be a torch.distributed process group, None for all ranks, or False for this rank "
                f"alone, got {type(group).__name__}"
            )
        self._group = group

    @property
    def size(self) -> int:
        """How many they are; 1 where torch.distributed is not initialised or this rank is not one of them."""
        if self._group is False or not (dist.is_available() and dist.is_initialized()):
            return 1
        return max(dist.get_world_size(self._group), 1)

    @property
    def rank(self) -> int:
        """This rank's place among them."""
        return dist.get_rank(self._group) if self.size > 1 else 0

    @property
    def writes(self) -> bool:
        """Whether this rank writes: the first of them. Alone, it is rank 0 of the job."""
        if not (dist.is_available() and dist.is_initialized()):
            return True
        return (dist.get_rank(self._group) if self._group else dist.get_rank()) == 0

    def everywhere(self, value: Any) -> list[Any]:
        """Every rank's `value`, by rank, on every rank; for small things."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def reduce(self, value: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """All ranks' values combined pairwise, lower ranks first, on the first rank; None on the others.

        A binary tree: a rank holds two values at a time, the first rank receives log2(ranks) messages.
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
        """The first rank's `value`, on every rank."""
        return self._move(value, self.rank == 0, lambda part: dist.broadcast(part, self._global(0), group=self._group))

    # --------------------------------------------------------------------------------------------- internals

    def _send(self, value: Any, to: int) -> None:
        self._move(value, True, lambda part: dist.send(part, self._global(to), group=self._group))

    def _receive(self, source: int) -> Any:
        return self._move(None, False, lambda part: dist.recv(part, self._global(source), group=self._group))

    def _move(self, value: Any, mine: bool, pass_on: Callable[[Tensor], Any]) -> Any:
        """Passes the bytes of `value` on where it is `mine`, else takes them in: their number first, then by chunks."""
        device = self._device()
        raw = bytearray(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)) if mine else bytearray()
        count = torch.tensor([len(raw)], device=device)
        pass_on(count)
        host = torch.frombuffer(raw, dtype=torch.uint8) if mine else torch.empty(int(count), dtype=torch.uint8)
        for part in host.split(CHUNK_BYTES):
            there = part.to(device)
            pass_on(there)
            if not mine and there is not part:
                part.copy_(there)
        return value if mine else pickle.loads(host.numpy().data)  # noqa: S301 (from a rank of the same job)

    def _device(self) -> torch.device:
        """Where the backend takes tensors from: the host if it can, else the device in use."""
        kinds = [part.split(":")[0] for part in dist.get_backend_config(self._group).split(",")]
        return torch.device("cpu" if "cpu" in kinds else kinds[0])

    def _global(self, rank: int) -> int:
        return rank if self._group is None else dist.get_global_rank(self._group, rank)


def reduce_trackers(trackers: Sequence[Tracker], ranks: Ranks, call: Call) -> list[str]:
    """Put together what each tracker measured on all ranks; a collective, so every rank must call it.

    Args:
        trackers: of this rank; those that another rank lacks are reduced over the ranks that have them.
        ranks: more than one.
        call: `call(tracker, action, *args, default=…)` runs `action(*args)` and gives `default` if that failed.

    Returns:
        names of the trackers that failed on some rank, and so have no result.
    """
    by_name = {tracker.name: tracker for tracker in trackers}
    announced = ranks.everywhere({name: call(t, t.announce, default=FAILED) for name, t in by_name.items()})
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
    """The shares of two blocks of ranks, tracker by tracker."""
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
    """On the first rank: the outcome of each tracker that took over the share of all ranks."""
    return {
        name: call(tracker, tracker.adopt, merged[name])
        for name, tracker in by_name.items()
        if name not in failed and merged.get(name) is not None
    }
