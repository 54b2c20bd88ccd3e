"""Jobs of several processes: what torch.distributed has, and whether this process has what one of many needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SECONDS = 15


def processes() -> Iterator[Finding]:
    """torch.distributed, its backends, and the environment of a launcher."""
    import torch
    from torch import distributed

    if not distributed.is_available():
        yield Finding("processes", OK, "this PyTorch has no torch.distributed: jobs have one process")
        return
    details = _backends()
    yield _environment(details)
    if torch.cuda.device_count() > 1 and not details["nccl"]:
        advice = "install a PyTorch with NCCL to train on all of them"
        yield Finding("processes", WARNING, f"{torch.cuda.device_count()} GPUs, but no NCCL", advice, details)
    if details["gloo"] and not distributed.is_initialized():
        yield from _exchange()


def _backends() -> dict[str, Any]:
    import torch
    from torch import distributed

    nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    version = ".".join(map(str, torch.cuda.nccl.version())) if nccl else None
    return {"gloo": distributed.is_gloo_available(), "nccl": version, "mpi": distributed.is_mpi_available()}


def _environment(details: dict[str, Any]) -> Finding:
    """One process alone, or one of a launcher's with all that it needs to find the others."""
    has = ", ".join(f"{name} {value}" if isinstance(value, str) else name for name, value in details.items() if value)
    size = os.environ.get("WORLD_SIZE", "1")
    missing = [name for name in _NEEDED if name not in os.environ]
    if size != "1" and missing:
        message = f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set: ranks will not find each other"
        return Finding("processes", FAILED, message, "start the job with torchrun, or unset WORLD_SIZE", details)
    where = f"rank {os.environ['RANK']} of {size}" if size != "1" else "one process"
    return Finding("processes", OK, f"{where}; backends: {has or 'none'}", details=details)


def _exchange() -> Iterator[Finding]:
    """What `end_epoch` does in a job of many, in a job of one."""
    from torch import distributed

    with tempfile.TemporaryDirectory() as folder:
        try:
            distributed.init_process_group(
                "gloo", init_method=f"file://{folder}/store", rank=0, world_size=1, timeout=timedelta(seconds=_SECONDS)
            )
            told: list[Any] = [None]
            distributed.all_gather_object(told, "here")
        except RuntimeError as error:
            said = str(error).partition("\n")[0]
            advice = "name the network interface: export GLOO_SOCKET_IFNAME=lo (one machine) or eth0 (see `ip addr`)"
            yield Finding("processes", WARNING, f"gloo does not exchange ({said})", advice)
        else:
            yield Finding("processes", OK, "gloo exchanges objects")
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
