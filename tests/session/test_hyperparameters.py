"""Hyperparameters of any type arrive in the HParams tab."""

import argparse
import enum
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tbmetrics import InputError, TBMetrics
from tbmetrics.session.hyperparameters import plain_hparams


class _Mode(enum.Enum):
    FAST = 1


@dataclass
class _Options:
    lr: float = 0.1
    sizes: tuple = (1, 2)


ODD = {
    "lr": 0.1,
    "batch": 64,
    "amp": True,
    "resume": None,
    "device": torch.device("cpu"),
    "dtype": torch.bfloat16,
    "path": Path("data/x"),
    "sizes": [1, 2],
    "mode": _Mode.FAST,
    "count": np.int64(3),
    "rate": torch.tensor(0.5),
    "large": 10**400,
    "optimizer": {"name": "sgd", "momentum": 0.9},
    "name\udce9": "caf\udce9",
    7: "seven",
}
PLAIN = {
    "lr": 0.1,
    "batch": 64,
    "amp": True,
    "resume": "None",
    "device": "cpu",
    "dtype": "torch.bfloat16",
    "path": str(Path("data/x")),
    "sizes": "[1, 2]",
    "mode": "_Mode.FAST",
    "count": 3,
    "rate": 0.5,
    "large": str(10**400),
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "name\\udce9": "caf\\udce9",
    "7": "seven",
}


def test_numbers_stay_and_the_rest_becomes_text():
    assert plain_hparams(ODD) == PLAIN
    assert plain_hparams(argparse.Namespace(lr=1, x=None)) == {"lr": 1, "x": "None"}
    assert plain_hparams(_Options()) == {"lr": 0.1, "sizes": "(1, 2)"}
    assert plain_hparams(None) == {}


@pytest.mark.parametrize("hparams", [3, "lr=1", ["lr"], _Options])
def test_what_has_no_names_is_refused(hparams):
    with pytest.raises(InputError, match=r"hparams must be a dictionary such as \{'lr': 0\.1\}, got"):
        plain_hparams(hparams)


def test_all_of_them_are_in_the_event_file(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "tbmetrics"), TBMetrics(tmp_path, hparams=ODD) as tb:
        for _ in tb.epochs(range(1)):
            pass
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    content = log.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    written = HParamsPluginData.FromString(content).session_start_info.hparams
    assert set(written) == set(PLAIN)
    assert written["lr"].number_value == 0.1
    assert written["resume"].string_value == "None"
    assert not caplog.records
