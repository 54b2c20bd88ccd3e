"""The accelerator, and jobs of several processes."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding

_LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_EXCHANGE_SECONDS = 15


def device() -> Iterator[Finding]:
    """PyTorch finds the accelerator and computes on it."""
    import torch

    built = torch.version.cuda or torch.version.hip
    details: dict[str, Any] = {"torch": torch.__version__, "built_for": built}
    if torch.cuda.is_available():
        yield from _cuda(details)
    elif torch.backends.mps.is_available():
        yield Finding("device", OK, "Apple's GPU (mps): its memory is measured, its meters are not", details=details)
    elif built:
        message = f"PyTorch {torch.__version__} is built for GPUs ({built}), but finds none"
        advice = "on a machine with one look at nvidia-smi: the driver is missing, too old, or hidden from this process"
        yield Finding("device", WARNING, message, advice, details)
    else:
        yield Finding(
            "device", OK, f"the CPU, threads: {torch.get_num_threads()}; no GPU is looked for", details=details
        )


def _cuda(details: dict[str, Any]) -> Iterator[Finding]:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    details = {**details, "devices": names}
    try:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        total = float(torch.ones(1000, device="cuda").sum())
        end.record()
        end.synchronize()
        begin.elapsed_time(end)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        advice = "install the PyTorch that fits this GPU and driver (pytorch.org, Get Started), or free the GPU"
        yield Finding("device", FAILED, f"{names[0]} does not compute ({reason})", advice, details)
        return
    if total != 1000:
        yield Finding("device", FAILED, f"{names[0]} adds 1000 ones to {total}", "do not trust this GPU", details)
        return
    yield Finding("device", OK, f"{len(names)} × {names[0]}", details=details)
    yield from _meters()


def _meters() -> Iterator[Finding]:
    """NVML reports utilisation, power and temperature."""
    import torch

    from tbmetrics.resource_usage.device import METERS, open_meters

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        meters = open_meters(torch.device("cuda", 0))
    if meters is None:
        reason = f" ({caught[-1].message})" if caught else ""
        message = f"utilisation, power and temperature cannot be read{reason}"
        yield Finding("device meters", WARNING, message, "pip install 'tbmetrics[gpu]'")
    else:
        yield Finding("device meters", OK, f"NVML gives {len(METERS)} meters")


def processes() -> Iterator[Finding]:
    """torch.distributed has backends that work, and the environment of a launcher is complete."""
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
    """Whether this is one process alone, or one of several with all variables that it needs to find the others."""
    backends = ", ".join(
        f"{name} {value}" if isinstance(value, str) else name for name, value in details.items() if value
    )
    size = os.environ.get("WORLD_SIZE", "1")
    missing = [name for name in _LAUNCHER_VARIABLES if name not in os.environ]
    if size != "1" and missing:
        message = f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set: ranks will not find each other"
        return Finding("processes", FAILED, message, "start the job with torchrun, or unset WORLD_SIZE", details)
    where = f"rank {os.environ['RANK']} of {size}" if size != "1" else "one process"
    return Finding("processes", OK, f"{where}; backends: {backends or 'none'}", details=details)


def _exchange() -> Iterator[Finding]:
    """The exchange of `end_epoch` among several processes, tried with one."""
    from torch import distributed

    with tempfile.TemporaryDirectory() as folder:
        try:
            distributed.init_process_group(
                "gloo",
                init_method=f"file://{folder}/store",
                rank=0,
                world_size=1,
                timeout=timedelta(seconds=_EXCHANGE_SECONDS),
            )
            gathered: list[Any] = [None]
            distributed.all_gather_object(gathered, "here")
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            advice = "name the network interface: export GLOO_SOCKET_IFNAME=lo (one machine) or eth0 (see `ip addr`)"
            yield Finding("processes", WARNING, f"gloo does not exchange ({reason})", advice)
        else:
            yield Finding("processes", OK, "gloo exchanges objects")
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
