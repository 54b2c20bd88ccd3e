"""Whether TensorBoard shows all steps: it keeps a sample of each tag, and what is beyond it is not in the browser."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from tbmetrics.doctor.findings import OK, WARNING, Finding
from tbmetrics.records.history import History

#: TensorBoard's plugin → where a history has its tags.
_KINDS = {
    "scalars": "scalars",
    "images": "images",
    "histograms": "histograms",
    "pr_curves": "pr_curves",
    "text": "texts",
}
#: What the Python loader keeps of a plugin that it does not name.
_OTHERS = 10


def retention(logdir: str, runs: Mapping[str, History]) -> Iterator[Finding]:
    """What of `runs` TensorBoard leaves out unless told otherwise, and how to tell it."""
    kept = kept_by_default()
    most = {plugin: _longest(runs, kind) for plugin, kind in _KINDS.items()}
    details = {
        "kept": {plugin: kept.get(plugin, _OTHERS) for plugin in most},
        "steps": {p: n for p, (n, _) in most.items()},
    }
    beyond = {plugin: found for plugin, found in most.items() if found[0] > kept.get(plugin, _OTHERS)}
    if not beyond:
        yield Finding("retention", OK, "TensorBoard shows every step", details=details)
        return
    said = "; ".join(
        f"{kept.get(plugin, _OTHERS):,} of {steps:,} {plugin} steps ({tag} of {run})"
        for plugin, (steps, (run, tag)) in beyond.items()
    )
    flag = ",".join(f"{plugin}={steps}" for plugin, (steps, _) in beyond.items())
    advice = (
        f"tensorboard --logdir {shlex.quote(logdir)} --samples_per_plugin {flag}   (tbmetrics export leaves out none)"
    )
    yield Finding("retention", WARNING, f"TensorBoard keeps a sample: {said}", advice, details)


def kept_by_default() -> dict[str, int]:
    """Steps of a tag that TensorBoard's loaders keep, by plugin."""
    from tensorboard.backend.event_processing import data_ingester

    found: dict[str, int] = dict(data_ingester.DEFAULT_TENSOR_SIZE_GUIDANCE)
    return found


def _longest(runs: Mapping[str, History], kind: str) -> tuple[int, tuple[str, str]]:
    """Steps of the tag that has most, and which it is."""
    sizes: list[tuple[int, tuple[str, str]]] = []
    for run, history in runs.items():
        by_tag: dict[str, Any] = getattr(history, kind)
        sizes += [(len(series), (run, tag)) for tag, series in by_tag.items()]
    return max(sizes, key=lambda found: found[0], default=(0, ("", "")))
