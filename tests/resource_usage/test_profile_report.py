"""Where the time of a step goes, against a brute-force count of moments."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics.resource_usage.profile_report import CATEGORIES, category, step_breakdown, top_operators

CPU, CUDA = "DeviceType.CPU", "DeviceType.CUDA"


def _event(name, start, end, device=CPU):
    return SimpleNamespace(name=name, time_range=SimpleNamespace(start=start, end=end), device_type=device)


NAMES = {"ncclAllReduce": CUDA, "gemm": CUDA, "Memcpy HtoD": CUDA, "cudaLaunchKernel": CPU, "Optimizer.step": CPU}
NAMES |= {"enumerate(DataLoader)#_Iter.__next__": CPU, "aten::mm": CPU}


@given(
    st.lists(st.tuples(st.sampled_from(list(NAMES)), st.integers(0, 60), st.integers(0, 30)), max_size=12),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
)
def test_each_moment_of_a_step_counts_once_for_the_first_category_going_on(spans, lengths):
    events, now = [], 5
    steps = []
    for length in lengths:
        events.append(_event("ProfilerStep#1", now, now + length))
        steps += range(now, now + length)
        now += length
    events += [_event(name, start, start + length, NAMES[name]) for name, start, length in spans]
    expected = dict.fromkeys(CATEGORIES, 0)
    for moment in steps:
        going = {category(n, NAMES[n]) for n, start, length in spans if start <= moment < start + length}
        expected[next((c for c in CATEGORIES if c in going), "other")] += 1
    found = step_breakdown(events)
    assert found == pytest.approx({c: n / len(lengths) / 1e6 for c, n in expected.items() if n})
    assert sum(found.values()) == pytest.approx(len(steps) / len(lengths) / 1e6)


def test_without_steps_there_is_no_breakdown():
    assert step_breakdown([_event("aten::mm", 0, 5)]) == {}


def _average(key, own, total, device=0, kind=CPU):
    return SimpleNamespace(
        key=key,
        count=2,
        self_cpu_time_total=own,
        cpu_time_total=total,
        self_device_time_total=device,
        device_type=kind,
    )


def test_the_table_names_the_dearest_operators_first_and_never_markup():
    rows = [_average("aten::mm", 500, 700), _average("a|b`c", 900, 900), _average("ProfilerStep*", 9999, 9999)]
    lines = top_operators(rows, most=5).splitlines()
    assert lines[2:] == ["| `a b c` | 2 | 0.900 | 0.900 |", "| `aten::mm` | 2 | 0.500 | 0.700 |"]


def test_with_a_device_its_time_decides():
    rows = [_average("aten::mm", 500, 700, device=10), _average("gemm", 0, 0, device=800, kind=CUDA)]
    lines = top_operators(rows).splitlines()
    assert "device itself" in lines[0]
    assert lines[2].startswith("| `gemm` |")
