"""The accelerator: PyTorch finds it and computes on it, and its meters can be read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding


def device() -> Iterator[Finding]:
    """What PyTorch computes on."""
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
            "device", OK, f"the CPU, {torch.get_num_threads()} threads; no GPU is looked for", details=details
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
        said = str(error).partition("\n")[0]
        advice = "install the PyTorch that fits this GPU and driver (pytorch.org, Get Started), or free the GPU"
        yield Finding("device", FAILED, f"{names[0]} does not compute ({said})", advice, details)
        return
    if total != 1000:
        yield Finding("device", FAILED, f"{names[0]} adds 1000 ones to {total}", "do not trust this GPU", details)
        return
    yield Finding("device", OK, f"{len(names)} × {names[0]}", details=details)
    yield from _meters()


def _meters() -> Iterator[Finding]:
    """Utilisation, power and temperature through NVML."""
    import torch

    from tbmetrics.resource_usage.device import METERS, open_meters

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        meters = open_meters(torch.device("cuda", 0))
    if meters is None:
        said = f" ({caught[-1].message})" if caught else ""
        message = f"utilisation, power and temperature cannot be read{said}"
        yield Finding("device meters", WARNING, message, "pip install 'tbmetrics[gpu]'")
    else:
        yield Finding("device meters", OK, f"NVML gives {len(METERS)} meters")
