"""What a profile says: the breakdown of a step from events laid out by hand, and the table of operators."""

from types import SimpleNamespace

import pytest

from tbmetrics.resource_usage.profile_report import CATEGORIES, category, step_breakdown, top_operators

CPU, CUDA = "DeviceType.CPU", "DeviceType.CUDA"


def _event(name, start, end, device=CPU):
    return SimpleNamespace(name=name, device_type=device, time_range=SimpleNamespace(start=start, end=end))


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("aten::mm", CPU, "cpu_operator"),
        ("cudaLaunchKernel", CPU, "device_runtime"),
        ("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", CPU, "data_loading"),
        ("Optimizer.step#SGD.step", CPU, "optimizer"),
        ("ampere_sgemm_128x64", CUDA, "kernel"),
        ("Memcpy HtoD (Pageable -> Device)", CUDA, "memory_copy"),
        ("ncclDevKernel_AllReduce", CUDA, "communication"),
        ("ProfilerStep#3", CPU, None),
        ("[memory]", CPU, None),
    ],
)
def test_events_have_a_category(name, device, expected):
    assert category(name, device) == expected


def test_each_moment_of_a_step_counts_once_and_all_add_up():
    events = [
        _event("ProfilerStep#1", 0, 100),
        _event("ProfilerStep#1", 0, 100, CUDA),  # the device's copy of the step is no step of its own
        _event("aten::linear", 0, 40),
        _event("aten::mm", 10, 30),  # within it
        _event("kernel", 30, 60, CUDA),  # while the operator still runs: the device counts
        _event("Optimizer.step#SGD.step", 60, 80),
        _event("aten::add_", 65, 70),  # within the optimizer
        _event("ProfilerStep#2", 100, 200),
        _event("Memcpy DtoH", 150, 170, CUDA),
        _event("aten::after", 190, 260),  # reaches beyond the steps
    ]
    seconds = step_breakdown(events)
    total = {"cpu_operator": 30 + 10, "kernel": 30, "optimizer": 20, "memory_copy": 20, "other": 20 + 70}
    assert seconds == pytest.approx({name: micros / 2 / 1e6 for name, micros in total.items()})
    assert sum(seconds.values()) == pytest.approx(100e-6)
    assert list(seconds) == [name for name in CATEGORIES if name in seconds]


def test_without_steps_there_is_no_breakdown():
    assert step_breakdown([_event("aten::mm", 0, 10)]) == {}
    assert step_breakdown([]) == {}


def _average(key, count, cpu_self, cpu, device_self=0.0, device=CPU):
    return SimpleNamespace(
        key=key, count=count, self_cpu_time_total=cpu_self, cpu_time_total=cpu, self_device_time_total=device_self,
        device_type=device,
    )  # fmt: skip


def test_the_table_is_by_own_time():
    averages = [
        _average("aten::small", 3, 10.0, 900.0),
        _average("aten::mm", 1000, 5000.0, 6000.0),
        _average("ProfilerStep*", 5, 1e9, 1e9),
        _average("cudaLaunchKernel", 5, 1e9, 1e9),
    ]
    assert top_operators(averages).splitlines()[2:] == [
        "| `aten::mm` | 1,000 | 5.000 | 6.000 |",
        "| `aten::small` | 3 | 0.010 | 0.900 |",
    ]
    assert len(top_operators(averages, most=1).splitlines()) == 3


def test_with_a_device_its_time_comes_first():
    averages = [
        _average("aten::mm", 10, 5000.0, 6000.0),
        _average("void kernel<`x|y`>" + "z" * 100, 10, 0.0, 0.0, 7000.0, CUDA),
    ]
    lines = top_operators(averages).splitlines()
    assert lines[0].endswith("| device itself (ms) |")
    assert lines[2].startswith("| `void kernel< x y >zzz")
    assert lines[2].endswith("z…` | 10 | 0.000 | 0.000 | 7.000 |")
    assert lines[3] == "| `aten::mm` | 10 | 5.000 | 6.000 | 0.000 |"
