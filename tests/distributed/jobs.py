"""What the distributed tests run: small jobs of several processes on one machine, over gloo."""

import multiprocessing
import os
import tempfile
import traceback

import torch


def run(function, ranks, *args, expect=None, timeout=90):
    """`function(rank, ranks, *args)` in so many processes; their results by rank (None for those that ended early).

    Args:
        expect: ranks that give a result; None = all.
    """
    context = multiprocessing.get_context("forkserver")  # a process that has imported torch once; it has no threads
    context.set_forkserver_preload(["torch.distributed", "tbmetrics.session.session", __name__])
    results = context.Queue()
    waited_for = set(range(ranks)) if expect is None else set(expect)
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_rank, args=(function, rank, ranks, f"{folder}/store", results, args), daemon=True)
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        found = {}
        while set(found) < waited_for:
            rank, result, error = results.get(timeout=timeout)
            assert error is None, error
            found[rank] = result
        for process in processes:
            process.join(30)
            process.kill()
    return [found.get(rank) for rank in range(ranks)]


def _rank(function, rank, ranks, store, results, args):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    try:
        results.put((rank, function(rank, ranks, *args), None))
    except BaseException:
        results.put((rank, None, traceback.format_exc()))
    torch.distributed.destroy_process_group()
