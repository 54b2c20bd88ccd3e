"""The comparison of ranks: the straggler is told where no rank waits for others."""

from tbmetrics.resource_usage.ranks import TAG, rank_records


def _row(forward, backward, host=""):
    components = {"forward_pass": {"self_time": forward}, "backward_pass": {"self_time": backward}}
    row = {"epoch": 3, "throughput": 100.0, "peak_memory": None, "memory": 2**20, "time": 6.0, "host": host}
    return {**row, "components": components}


def test_the_straggler_is_the_rank_that_others_wait_for():
    *scalars, text = rank_records([_row(1.0, 5.0), None, _row(2.5, 3.5, host="node|7"), _row(1.0, 5.0)])
    values = {record.tag.removeprefix(f"{TAG}/"): record.value for record in scalars}
    assert (values["slowest_rank"], values["slowest_rank_excess_seconds"]) == (2, 1.5)
    assert (values["count"], values["throughput_samples_per_second"]) == (3, 300.0)
    assert values["component_seconds_max/backward_pass"] == 5.0
    assert text.markdown.startswith(r"Epoch 3 on 3 ranks. Slowest: **rank 2** on node\|7, 1.50 s above the median in")


def test_one_rank_is_not_compared():
    assert list(rank_records([None, _row(1.0, 5.0)])) == []
