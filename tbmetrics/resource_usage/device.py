"""What is measured of an accelerator: its clock, its memory and its meters, those that it has."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tbmetrics.errors import InputError
from tbmetrics.resource_usage.device_clock import CudaClock, DeviceClock
from tbmetrics.resource_usage.memory import CudaMemory, DeviceMemory, MpsMemory
from tbmetrics.resource_usage.nvml import DeviceMeters, open_meters


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator as the monitor sees it; what is None is not measured.

    Attributes:
        name: for messages and figures.
        torch_device: where tensors live.
        clock: marks on its stream.
        memory: its allocator.
        meters: utilisation, power, temperature, clock.
    """

    name: str
    torch_device: torch.device
    clock: DeviceClock | None = None
    memory: DeviceMemory | None = None
    meters: DeviceMeters | None = None


def checked_device(device: str | torch.device | Device | None) -> torch.device | Device | None:
    """The `device` argument of the monitor, checked where it enters; None = found out later."""
    if device is None or isinstance(device, Device):
        return device
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device must be one of torch's, such as 'cuda:0' or 'cpu', got {device!r}") from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {str(wanted)!r} was asked for, but CUDA is not available here; leave `device` out")
    return wanted


def open_device(wanted: torch.device | None) -> Device | None:
    """The accelerator to measure: `wanted`, or the one in use; None on the CPU, or while none is in use yet.

    CUDA is never initialised here: before the first tensor is on it there is nothing to measure, and the process may
    still choose its device.
    """
    if wanted is None:
        wanted = _in_use()
    if wanted is None or wanted.type not in {"cuda", "mps"}:
        return None
    if wanted.type == "mps":
        return Device("mps", wanted, memory=MpsMemory())
    if not torch.cuda.is_initialized():
        return None
    if wanted.index is None:
        wanted = torch.device("cuda", torch.cuda.current_device())
    name = torch.cuda.get_device_name(wanted)
    return Device(name, wanted, CudaClock(wanted), CudaMemory(wanted), open_meters(wanted))


def _in_use() -> torch.device | None:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return None
