"""Hyperparameters of runs, as TensorBoard's own plugin for them has them in the logs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

PLUGIN_NAME = "hparams"
#: Tag of the values; other tags of the plugin describe the experiment.
TAG = "_hparams_/session_start_info"

HParams: TypeAlias = dict[str, str | float | bool]


def hparams_by_run(listed: Mapping[str, Mapping[str, Any]]) -> dict[str, HParams]:
    """The values of each run, from its tags of the plugin; runs without them, or with damaged ones, are left out."""
    return {run: _values(tags[TAG].plugin_content) for run, tags in listed.items() if TAG in tags}


def _values(content: bytes) -> HParams:
    try:
        recorded = HParamsPluginData.FromString(content).session_start_info.hparams
    except Exception:  # protobuf's DecodeError has no public base but Exception
        return {}
    values = ((name, getattr(value, value.WhichOneof("kind") or "", None)) for name, value in sorted(recorded.items()))
    return {name: value for name, value in values if value is not None and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool) or (isinstance(value, float) and math.isfinite(value))
