"""The live Long Tail tab in the page: its modules, with its server's answers for the exported runs embedded."""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
import itertools
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tbmetrics.classes.rules import RULES, GroupRule
from tbmetrics.comparing.steps import BEST, LAST
from tbmetrics.comparing.tabulating import FAMILY
from tbmetrics.comparing.validations import last_steps
from tbmetrics.events.reader import read_run
from tbmetrics.exporting.history_provider import HistoryProvider
from tbmetrics.exporting.html_parts import Section
from tbmetrics.records import Table
from tbmetrics.records.history import History

if TYPE_CHECKING:
    from tbmetrics_longtail.answers import Answers

#: Classes of an attribute that the tests of run against run may go through, summed over the tests.
MOST_TESTED = 400_000
#: And so many tests of an attribute.
MOST_TESTS = 200

_KINDS = ("classes", "curves", "confusions")  # tables embedded whole; the browser selects from them
_SAFE = "!~*'()-_."  # not escaped by JavaScript's encodeURIComponent

_FRAME = """<p>As in TensorBoard: choose runs, steps, classes, and the thresholds of head and tail.{less}</p>
<iframe class="live" title="The Long Tail tab" sandbox="allow-scripts allow-downloads" allow="clipboard-write"
 srcdoc="{document}"></iframe>
"""
_DOCUMENT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Long Tail</title>
<style>{style}</style></head><body><script type="text/plain" id="data">{data}</script>
<script type="text/plain" id="code">{code}</script>
<script>(async () => {{
const zipped = Uint8Array.from(atob(document.getElementById('code').textContent), (c) => c.charCodeAt(0));
const script = document.createElement('script');
const unzipped = new Blob([zipped]).stream().pipeThrough(new DecompressionStream('gzip'));
script.textContent = await new Response(unzipped).text();
document.head.append(script);
longtail.show(document.getElementById('data').textContent);
}})();</script></body></html>"""
#: Significant digits of the numbers in answers: as many as float32 has.
_DIGITS = 7


def tab_section(folders: Mapping[str, Path]) -> Section | None:
    """The tab, if any of these runs has class performance; it depends on the logs alone."""
    histories = {run: read_run(folder, run=run) for run, folder in folders.items()}
    with_classes = {run: history for run, history in histories.items() if history.class_lists}
    return Section("long-tail", "Long Tail", list(_body(with_classes)), has_scripts=True) if with_classes else None


def _body(histories: Mapping[str, History]) -> Iterator[str]:
    from tbmetrics_longtail.bundle import bundle, module_texts

    data, left_out = payload(histories)
    static = files("tbmetrics_longtail").joinpath("static")
    script = bundle(module_texts(static), "offline/page.js", exports=False)
    document = _DOCUMENT.format(
        style=static.joinpath("style.css").read_text(encoding="utf-8"),
        data=base64.b64encode(data).decode("ascii"),
        code=base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode("ascii"),
    )
    less = f" To keep the file small {left_out:,} validations in between are left out." if left_out else ""
    yield _FRAME.format(less=less, document=html.escape(document, quote=True))


def payload(histories: Mapping[str, History]) -> tuple[bytes, int]:
    """The tab's data as gzip of JSON and float32 numbers, and how many validations were left out to keep it small."""
    from tbmetrics_longtail.answers import Answers
    from tbmetrics_longtail.data import LongTailData
    from tbmetrics_longtail.listing import Experiment

    provider = HistoryProvider(histories)
    recorded = _RecordedAnswers(Answers(LongTailData(provider), ""), Experiment(None, ""))
    recorded.record_runs()
    for run, attribute, kind, table, steps in provider.tables(_KINDS):
        recorded.add_table(run, attribute, kind, table, steps)
    text = json.dumps(recorded.about, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    numbers = b"".join(np.ascontiguousarray(part, dtype="<f4").tobytes() for part in recorded.numbers)
    # Without a time, the same log gives the same bytes.
    return gzip.compress(struct.pack("<I", len(text)) + text + numbers, mtime=0), provider.left_out


class _RecordedAnswers:
    """The answers of the tab's server, by the address that the tab requests."""

    def __init__(self, answers: Answers, experiment: Any) -> None:
        self._answers, self._experiment = answers, experiment
        self.numbers: list[NDArray[np.float32]] = []
        self._size = 0
        self.about: dict[str, Any] = {"answers": {}, "packed": {}, "tables": []}

    def record_runs(self) -> None:
        """Record every answer that is computed; `add_table` embeds what is only looked up."""
        listing = self._answers.runs(self._experiment)
        self.about["answers"]["runs"] = listing
        self.about["answers"]["file:///runs"] = [run["run"] for run in listing["runs"]]
        for run in listing["runs"]:
            self._put("settings", {"run": run["run"]}, self._answers.settings(self._experiment, run["run"]))
            for attribute in run["attributes"]:
                self._record_attribute(run["run"], attribute)
        self._record_tests(listing["runs"])
        self._record_tables(listing["runs"])

    def _record_attribute(self, run: str, about: Mapping[str, Any]) -> None:
        query: dict[str, Any] = {"run": run, "attribute": about["attribute"]}
        self._put("classes", query, self._answers.classes(self._experiment, **query))
        for metric in about["metrics"]:
            groups = self._answers.groups(self._experiment, **query, metrics=[metric])
            self._put("groups", query | {"metric": metric}, groups)
            self._pack("bucket_sums", query | {"metric": metric})
            self._pack("bucket_uncertainty", query | {"metric": metric})
        for step in about["steps"]:
            for kind in ("confusion", "flow", "lift_sums", "calibration", "confusions", "curves"):
                if kind in about["kinds"]:
                    self._record_step(kind, query | {"step": step})
            if "findings" in about["kinds"]:
                self._record_diagnosis(query | {"step": step})

    def _record_step(self, kind: str, query: dict[str, Any]) -> None:
        answer = getattr(self._answers, kind)
        bounds = {"bounds": None} if kind == "curves" else {}
        self._put(kind, query, answer(self._experiment, **query, **bounds))

    def _record_diagnosis(self, query: dict[str, Any]) -> None:
        from tbmetrics_longtail.tables import RequestError

        with contextlib.suppress(RequestError):  # nothing was diagnosed at this step
            self._put("diagnosis", query, self._answers.diagnosis(self._experiment, **query))

    def _record_tests(self, runs: list[Any]) -> None:
        """B against A at the last step of both for each attribute, up to `MOST_TESTED` and `MOST_TESTS`.

        First come the recorded groups, then those of the named rules, and each time first the runs of one evaluation.
        """
        sides_by_attribute: dict[str, list[tuple[str, list[int], int, str]]] = {}
        metrics_by_attribute: dict[str, dict[str, None]] = {}
        for run in runs:
            for about in (about for about in run["attributes"] if about["steps"]):
                side = (run["run"], about["steps"], about["n_classes"], about["evaluation"])
                sides_by_attribute.setdefault(about["attribute"], []).append(side)
                metrics_by_attribute.setdefault(about["attribute"], {}).update(dict.fromkeys(about["means"]))
        for attribute, sides in sides_by_attribute.items():
            pairs = sorted(itertools.permutations(range(len(sides)), 2), key=sum)
            pairs.sort(key=lambda pair: sides[pair[0]][3] != sides[pair[1]][3])
            tests = itertools.product(_rules(), pairs, metrics_by_attribute[attribute])
            left = MOST_TESTED
            for bounds, (i, j), metric in itertools.islice(tests, MOST_TESTS):
                left -= sides[i][2]
                if left >= 0:
                    (a, steps_a, *_), (b, steps_b, *_) = sides[i], sides[j]
                    step_a, step_b = last_steps(steps_a, steps_b)
                    self._record_test(attribute, metric, (a, step_a), (b, step_b), bounds)

    def _record_tables(self, runs: list[Any]) -> None:
        """The tables of all runs by frequency, at the steps that the tab offers, up to `MOST_TESTED`."""
        from tbmetrics_longtail.run_table import TableQuery

        described = [about for run in runs for about in run["attributes"] if about["steps"]]
        for attribute in dict.fromkeys(about["attribute"] for about in described):
            shown = [about for about in described if about["attribute"] == attribute]
            metrics = dict.fromkeys(metric for about in shown for metric in about["means"])
            left = MOST_TESTED
            for metric, step in itertools.product(metrics, (None, BEST, LAST)):
                left -= sum(about["n_classes"] for about in shown)
                if left >= 0:
                    query = {"attribute": attribute, "metric": metric, **({"step": step} if step else {})}
                    asked = TableQuery(metric, step)
                    answer = self._answers.table(self._experiment, (), attribute, asked)
                    self._put("table", query | {"by": asked.by}, answer)

    def _record_test(
        self, attribute: str, metric: str, a: tuple[str, int], b: tuple[str, int], bounds: GroupRule | None
    ) -> None:
        from tbmetrics_longtail.tables import RequestError

        query = dict(zip(("run_a", "step_a", "run_b", "step_b"), (*a, *b), strict=True))
        query |= {} if bounds is None else {"head_min": int(bounds.head_min), "tail_max": int(bounds.tail_max)}
        query |= {"attribute": attribute, "metric": metric}
        with contextlib.suppress(RequestError):  # a run without this metric
            self._put("compare", query, self._answers.compare(self._experiment, a, b, attribute, metric, bounds))
            if bounds is None:
                self._put("by_count", query, self._answers.by_count(self._experiment, a, b, attribute, metric))
                by_family = self._answers.compare(self._experiment, a, b, attribute, metric, by=FAMILY)
                self._put("compare", query | {"by": FAMILY}, by_family)  # without families it is refused

    def _pack(self, route: str, query: dict[str, Any]) -> None:
        from tbmetrics_longtail.tables import RequestError

        try:
            about, values = getattr(self._answers, route)(self._experiment, **query)
        except RequestError:  # a metric that is not a sum over classes, or a log without the record
            return
        place = {"about": {**about, "shape": values.shape}, "first": self._size, "size": values.size}
        self.about["packed"][_address(route, query)] = place
        self._add(values)

    def add_table(
        self, run: str, attribute: str, kind: str, table: Table, values: Iterable[NDArray[np.float32]]
    ) -> None:
        """Embed a table over steps: (steps, rows, columns)."""
        stacked = np.stack(list(values))
        runs = {r["run"]: r for r in self.about["answers"]["runs"]["runs"]}
        steps = next(a["steps"] for a in runs[run]["attributes"] if a["attribute"] == attribute)
        self.about["tables"].append(
            {
                "run": run,
                "attribute": attribute,
                "kind": kind,
                "columns": list(table.columns),
                "steps": steps,
                "rows": stacked.shape[1],
                "first": self._size,
            }
        )
        self._add(stacked)

    def _add(self, values: NDArray[Any]) -> None:
        self.numbers.append(values)
        self._size += values.size

    def _put(self, route: str, query: dict[str, Any], answer: Any) -> None:
        self.about["answers"][_address(route, query)] = _short(answer)


def _short(value: Any) -> Any:
    """Plain values with the digits that a screen can show."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _short(inner) for key, inner in value.items()}
    return [_short(inner) for inner in value] if isinstance(value, list | tuple) else value


def _rules() -> list[GroupRule | None]:
    """None for the recorded groups, then the bounds of the named rules."""
    return [None, *RULES.values()]


def _address(route: str, query: Mapping[str, Any]) -> str:
    """The address as the tab spells it."""
    return f"{route}?{'&'.join(f'{name}={quote(str(value), safe=_SAFE)}' for name, value in query.items())}"
