"""The number of samples in batches as collate functions make them."""

import collections
import logging
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import zeros

from tbmetrics import TBMetrics
from tbmetrics.session.batch_sizes import batch_size_of

_Pair = collections.namedtuple("_Pair", "x y")


@dataclass
class _Fields:
    x: object
    y: object


@dataclass(slots=True)
class _Slotted:
    x: object
    y: object


class _Graphs:
    """As torch_geometric's Batch: nodes of all graphs one after the other."""

    num_graphs = 6

    def __init__(self):
        self.x, self.edge_index, self.batch = zeros(40, 3), zeros(2, 99), zeros(40)


class _SeedNodes:
    """As torch_geometric's NeighborLoader gives it: the first nodes are the samples."""

    batch_size = 5

    def __init__(self):
        self.x, self.y = zeros(40, 3), zeros(40)


class _TensorDict(dict):
    batch_size = torch.Size([5, 2])


def _nested(**options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        return torch.nested.nested_tensor([zeros(5, 2), zeros(3, 2)], **options)


PACKED = torch.nn.utils.rnn.pack_sequence([zeros(5, 2), zeros(3, 2), zeros(2, 2)])
IMAGES = tuple(zeros(3, 32, 32) for _ in range(8))
TARGETS = tuple({"boxes": zeros(2, 4), "labels": zeros(2)} for _ in range(8))
RAGGED = [zeros(5, 2), zeros(3, 2), zeros(7, 2)]

STACKED = {
    "tensor": (zeros(7, 3), 7),
    "array": (np.zeros((5, 2)), 5),
    "pair": ((zeros(4, 1), zeros(4)), 4),
    "texts and images": ({"text": ["a", "b"], "image": zeros(2, 8)}, 2),
    "nested mappings": ([{"x": {"y": zeros(6)}}], 6),
    "images and labels": (({"img": zeros(4, 3, 8, 8)}, zeros(4)), 4),
    "several inputs and outputs": (((zeros(32, 4), zeros(32, 5)), (zeros(32), zeros(32))), 32),
    "two views": ([zeros(32, 3, 8, 8), zeros(32, 3, 8, 8)], 32),
    "one field": ([zeros(32, 10, 4)], 32),
    "images and all their boxes": ([zeros(32, 3, 8, 8), zeros(70, 6)], 32),
    "waveforms and joined transcripts": ((zeros(8, 100), zeros(57), zeros(8), zeros(8)), 8),
    "tokens and one row of positions": ({"input_ids": zeros(8, 20), "labels": zeros(8), "pos": zeros(1, 20)}, 8),
    "with nothing": ((zeros(4, 2), None, {}, []), 4),
    "texts": ((zeros(4, 2), ["a"] * 4), 4),
}
SAMPLES = {
    "detection": ((IMAGES, TARGETS), 8),
    "detection in lists": ([list(IMAGES), list(TARGETS)], 8),
    "as many boxes as channels": ((IMAGES, tuple({"boxes": zeros(3, 4)} for _ in range(8))), 8),
    "boxes without a dictionary": ((IMAGES, tuple(zeros(n % 3, 5) for n in range(8))), 8),
    "segmentation": ((IMAGES, tuple(zeros(32, 32) for _ in range(8))), 8),
    "untouched samples": ([(zeros(3, 32, 32), 1) for _ in range(10)], 10),
    "samples with a tensor for a class": ([(zeros(3, 32, 32), torch.tensor(1)) for _ in range(10)], 10),
    "multi-hot samples": ([(zeros(3, 32, 32), zeros(20)) for _ in range(10)], 10),
    "dictionaries": ([{"image": zeros(3, 8, 8), "label": 1}] * 6, 6),
    "texts alone": (["a", "b", "c"], 3),
    "sequences": ((RAGGED, [1, 0, 1]), 3),
    "sequences alone": (RAGGED, 3),
}
COUNTED = {
    "packed": (PACKED, 3),
    "packed with labels": ((PACKED, zeros(3)), 3),
    "nested": (_nested(), 2),
    "jagged": (_nested(layout=torch.jagged), 2),
    "nested with labels": ((_nested(), zeros(2)), 2),
    "graphs": (_Graphs(), 6),
    "graphs with labels": ((_Graphs(), zeros(6)), 6),
    "seed nodes": (_SeedNodes(), 5),
    "TensorDict": (_TensorDict(a=zeros(5, 2, 3)), 5),
    "named tuple": (_Pair(zeros(9, 2), zeros(9)), 9),
    "dataclass": (_Fields(zeros(9, 2), zeros(9)), 9),
    "dataclass with slots": (_Slotted(zeros(9, 2), zeros(9)), 9),
    "object": (SimpleNamespace(x=zeros(9, 2), y=zeros(9)), 9),
}
UNKNOWN = {
    "a number": torch.tensor(1.0),
    "text": "text",
    "nothing": None,
    "empty": (),
    "object": object(),
    "images or fields": [zeros(3, 32, 32)] * 8,
    "time first": (zeros(100, 8, 4), zeros(8)),
}


@pytest.mark.parametrize(("batch", "size"), [*STACKED.values(), *SAMPLES.values(), *COUNTED.values()])
def test_the_number_of_samples_in_a_batch(batch, size):
    assert batch_size_of(batch) == size


@pytest.mark.parametrize("batch", UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_told_is_unknown(batch):
    assert batch_size_of(batch) is None


def test_a_torch_geometric_batch():
    geometric = pytest.importorskip("torch_geometric.data")
    graphs = [geometric.Data(x=zeros(n, 3), edge_index=zeros(2, n, dtype=torch.long)) for n in (4, 5, 6)]
    assert batch_size_of(geometric.Batch.from_data_list(graphs)) == 3


def _measured(tmp_path, loader, **options):
    with TBMetrics(tmp_path, overhead_budget=None) as tb:
        for _ in tb.epochs(range(1)):
            for _ in tb.batches(loader, **options):
                pass
    return tb.get_metrics()["resource_usage"]["epoch_data"][-1]


def test_an_epoch_with_a_batch_of_unknown_size_says_so_once_and_has_no_number(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "tbmetrics"):
        row = _measured(tmp_path, [zeros(4, 2), *UNKNOWN["time first"], UNKNOWN["time first"], UNKNOWN["time first"]])
    assert (row["num_samples"], row["batch_size"], row["throughput"], row["batches"]) == (None, None, None, 5)
    assert [record.message for record in caplog.records if "samples=lambda" in record.message] == [
        "tbmetrics: the number of samples in a batch (tuple) cannot be told, so samples per second are unknown; "
        "give tb.batches(loader, samples=lambda batch: ...), or tb.count_samples(number)"
    ]


def test_the_caller_says_how_many(tmp_path, caplog):
    row = _measured(tmp_path, [UNKNOWN["time first"]] * 3, samples=lambda batch: batch[0].shape[1])
    assert (row["num_samples"], row["batch_size"]) == (24, 8)
    with TBMetrics(tmp_path / "counted") as tb:
        tb.start_epoch(0)
        tb.count_samples(5)
        tb.count_samples(zeros(3, 2))
        tb.end_epoch()
    assert tb.resources.epoch_data[-1]["num_samples"] == 8
    assert not caplog.records


def test_a_loop_over_indices_is_no_batch(tmp_path, caplog):
    row = _measured(tmp_path, range(3))
    assert row["num_samples"] is None
    assert not caplog.records
