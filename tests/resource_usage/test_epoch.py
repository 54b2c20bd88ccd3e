"""What an epoch's numbers say: rest, bottleneck, utilisation, and the summary in words."""

from dataclasses import replace

import pytest

from tbmetrics.records import Scalar, Text
from tbmetrics.resource_usage.epoch import Epoch, bottleneck, epoch_records, epoch_row, with_rest
from tbmetrics.resource_usage.timers import ComponentTotal

MS = 1_000_000


def _epoch(components, milliseconds=1000, **fields):
    defaults = {"samples": 0, "batches": 0, "steps": 0, "tokens": 0, "batch_size": None}
    return Epoch(
        number=3,
        nanoseconds=milliseconds * MS,
        components=components,
        memory={},
        memory_before={},
        **{"on_device": False, **defaults, **fields},
    )


def _host(milliseconds, count=10):
    return ComponentTotal(count, milliseconds * MS, milliseconds * MS)


def _device(host, device, behind=0, lag=0.0, count=10):
    return ComponentTotal(count, host * MS, host * MS, float(device), count, behind, lag)


def test_the_rest_makes_the_epoch_whole():
    components = with_rest({"a": _host(300), "b": _host(200)}, 1000 * MS)
    assert components["other"].self_nanoseconds == 500 * MS
    assert sum(total.self_nanoseconds for total in components.values()) == 1000 * MS


def test_a_component_called_other_is_added_to_the_rest():
    components = with_rest({"other": _host(300), "b": _host(200)}, 1000 * MS)
    assert list(components) == ["b", "other"]
    assert components["other"].self_nanoseconds == 800 * MS
    assert components["other"].count == 10


@pytest.mark.parametrize(
    ("components", "on_device", "verdict"),
    [
        ({"data_loading": _host(400), "forward": _host(600)}, False, "input-bound"),
        ({"data_loading": _host(300), "forward": _host(700)}, False, "compute-bound"),
        ({"forward": _host(900)}, False, None),
        ({}, False, None),
        # With a device: waiting for data counts only while the device waits too.
        ({"data_loading": _device(400, 400), "forward": _device(100, 100)}, True, "input-bound"),
        ({"data_loading": _device(400, 20), "forward": _device(100, 900, behind=10)}, True, "compute-bound"),
        ({"data_loading": _device(10, 10), "forward": _device(900, 900)}, True, "host-bound"),
        ({"data_loading": _device(10, 10), "forward": _device(900, 990, lag=150.0)}, True, "compute-bound"),
        ({"data_loading": _device(10, 10)}, True, None),
    ],
)
def test_what_held_the_epoch_up(components, on_device, verdict):
    assert bottleneck(_epoch(components, on_device=on_device)) == verdict


def test_an_epoch_of_no_time_says_nothing():
    row = epoch_row(_epoch({}, 0, samples=10), None)
    assert row["throughput"] is None
    assert row["bottleneck"] is None
    assert row["data_loading_share"] is None


def test_utilisation_is_achieved_over_peak():
    epoch = _epoch({}, 2000, steps=10, flops_per_step=10**12, peak_flops=20e12)
    assert epoch.flops_per_second == pytest.approx(5e12)
    assert epoch.mfu == pytest.approx(0.25)
    assert replace(epoch, peak_flops=None).mfu is None
    assert replace(epoch, flops_per_step=0).flops_per_second is None


def test_records_leave_out_what_is_unknown():
    tags = {record.tag for record in epoch_records(_epoch({"other": _host(1000)}), None)}
    assert tags == {
        "resource_usage/epoch_time_seconds",
        "resource_usage/component_seconds/other",
        "resource_usage/summary",
    }


def test_overhead_is_by_tracker_and_in_all():
    epoch = _epoch({}, overhead={"a": 10 * MS, "b/c": 30 * MS}, overhead_period_nanoseconds=2000 * MS)
    values = {r.tag: r.value for r in epoch_records(epoch, None) if isinstance(r, Scalar)}
    assert values["resource_usage/tbmetrics_overhead"] == pytest.approx(0.02)
    assert values["resource_usage/tbmetrics_overhead/a"] == pytest.approx(0.005)
    assert values["resource_usage/tbmetrics_overhead/b%2Fc"] == pytest.approx(0.015)


def test_the_summary_says_it_in_words_and_names_are_never_markup():
    components = {"data_loading": _host(400), "<b>|x": _host(100), "other": _host(500)}
    (text,) = [r for r in epoch_records(_epoch(components, samples=640), None) if isinstance(r, Text)]
    assert text.tag == "resource_usage/summary"
    assert text.markdown.startswith("Epoch 3: 1.00 s, 640.0 samples/s\n\n**input-bound.** Training waits for data.")
    rows = text.markdown.splitlines()[-3:]
    assert rows[0] == r"| other | 10 | 0.500 | 50.0% |"
    assert rows[1] == r"| data\_loading | 10 | 0.400 | 40.0% |"
    assert rows[2] == r"| \<b\>\|x | 10 | 0.100 | 10.0% |"
