"""Processes that tests run functions in; only their progress is waited for, pytest's timeout ends what hangs."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Call = tuple[Callable[..., Any], tuple[Any, ...]]

#: Processes are forked from one that has no threads and has imported what each of them would (an optimizer imports
#: dynamo, the end of a session matplotlib).
if sys.platform == "win32":
    context = multiprocessing.get_context("spawn")
else:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed", "torch._dynamo", "matplotlib.pyplot", "tests.training"])


def wait_until(attempt: Callable[[], T], is_done: Callable[[T], bool] = bool) -> T:
    """Return what `attempt` returns as soon as it is done."""
    while not is_done(result := attempt()):
        time.sleep(0.01)
    return result


def run(function: Callable[..., T], *args: Any) -> T:
    """Result of `function(*args)` in a process of its own."""
    result: T = run_together([(function, args)])[0]
    return result


def run_ranks(function: Callable[..., Any], ranks: int, *args: Any, killed: Collection[int] = ()) -> list[Any]:
    """Results of `function(rank, ranks, *args)` by rank, in a job over gloo; None for ranks that are `killed` in it."""
    with tempfile.TemporaryDirectory() as folder:
        calls: list[Call] = [(_call_as_rank, (function, rank, ranks, f"{folder}/store", args)) for rank in range(ranks)]
        return run_together(calls, killed)


def run_together(calls: list[Call], killed: Collection[int] = ()) -> list[Any]:
    """Results of calls, each in a process of its own; None for those that are `killed`, by index."""
    processes, receivers = zip(*(_start(*call) for call in calls), strict=True)
    results = [None] * len(calls)
    waiting = dict(zip(receivers, range(len(calls)), strict=True))
    try:
        while waiting:
            for receiver in set(waiting).intersection(wait(list(waiting))):
                index = waiting.pop(receiver)
                results[index] = _receive(receiver)
        for index, process in enumerate(processes):
            process.join()
            assert process.exitcode == 0 or index in killed, f"process {index} ended with {process.exitcode}"
    finally:
        for process in processes:
            process.kill()
    return results


def _start(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Connection]:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, args), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def _send_result(sender: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        sender.send((function(*args), None))
    except BaseException:
        sender.send((None, traceback.format_exc()))


def _receive(receiver: Connection) -> Any:
    with receiver:
        try:
            result, error = receiver.recv()
        except EOFError:
            return None  # the process has ended without a result
    assert error is None, error
    return result


def _call_as_rank(function: Callable[..., Any], rank: int, ranks: int, store: str, args: tuple[Any, ...]) -> Any:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    result = function(rank, ranks, *args)
    torch.distributed.destroy_process_group()
    return result
