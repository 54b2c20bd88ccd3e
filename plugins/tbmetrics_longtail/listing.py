"""The tags of runs as TensorBoard's data provider lists them, remembered for the requests that come together."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

from tensorboard.data import provider

from tbmetrics.records import PLUGIN_NAME

#: `TensorTimeSeries` by tag.
Tags: TypeAlias = Mapping[str, Any]

#: Seconds for which what was listed answers further requests. TensorBoard's data server takes 40 ms to list a run,
#: however small: the system holds back its answer until the one before is acknowledged.
RECENT_SECONDS = 2.0


class Experiment(NamedTuple):
    """Which experiment is asked about, on whose behalf: TensorBoard's `RequestContext` and experiment id."""

    context: Any
    id: str


class _Listed(NamedTuple):
    tags: Tags
    seconds: float


class Listing:
    """The tags of runs; single runs are not listed again shortly after they were."""

    def __init__(self, data_provider: Any) -> None:
        self._provider = data_provider
        #: Runs of the experiment asked about last: a TensorBoard on this machine has one.
        self._listed: tuple[str, Mapping[str, _Listed]] = ("", {})

    def all(self, experiment: Experiment) -> dict[str, Tags]:
        """The tags of every run that has long-tail data, as they are now."""
        return self._listed_now(experiment, None, {})

    def of(self, experiment: Experiment, runs: Collection[str]) -> dict[str, Tags]:
        """The tags of those of `runs` that have long-tail data, as they are now or were `RECENT_SECONDS` ago."""
        name, listed = self._listed
        known = listed if name == experiment.id else {}
        earliest = time.monotonic() - RECENT_SECONDS
        recent = {run: known[run].tags for run in runs if run in known and known[run].seconds >= earliest}
        others = [run for run in runs if run not in recent]
        return recent | (self._listed_now(experiment, others, known) if others else {})

    def _listed_now(
        self, experiment: Experiment, runs: list[str] | None, known: Mapping[str, _Listed]
    ) -> dict[str, Tags]:
        tags_by_run = dict(self._ask(experiment, runs))
        seconds = time.monotonic()
        # A new mapping, as other threads read the old one. Of two made at once one is lost: its runs are listed again.
        self._listed = experiment.id, {**known, **{run: _Listed(tags, seconds) for run, tags in tags_by_run.items()}}
        return tags_by_run

    def _ask(self, experiment: Experiment, runs: list[str] | None) -> Mapping[str, Tags]:
        tags_by_run: Mapping[str, Tags] = self._provider.list_tensors(
            experiment.context,
            experiment_id=experiment.id,
            plugin_name=PLUGIN_NAME,
            run_tag_filter=None if runs is None else provider.RunTagFilter(runs=runs),
        )
        return tags_by_run
