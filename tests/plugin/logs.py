"""Long-tail logs as training would write them, with the numbers in them, and a TensorBoard that shows them."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2

from tbmetrics.class_performance.flows import most_pairs
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import PAIRED_BUCKETS, ClassGroups, CountBuckets, count_buckets
from tbmetrics.records import (
    BY_CLASS,
    BY_PREDICTED_CLASS,
    CALIBRATION_BINS,
    CALIBRATION_COLUMNS,
    CLASS_COLUMNS,
    CURVE_COLUMNS,
    GAP,
    GROUP_COLUMNS,
    GROUP_ROWS,
    GROUPS,
    HEAD,
    MEAN_METRICS,
    PAIR_COLUMNS,
    PLUGIN_NAME,
    RECALL_LEVELS,
    TAIL,
    UNCERTAINTY_COLUMNS,
    UNKNOWN,
    ClassList,
    Table,
    calibration_tag,
    class_list_content,
    class_list_payload,
    class_list_tag,
    class_table_tag,
    confusion_tag,
    confusions_tag,
    curves_tag,
    flow_tag,
    group_table_tag,
    lift_sum_columns,
    lift_sums_tag,
    table_content,
    uncertainty_tag,
)
from tbmetrics.statistics.intervals import f1_interval
from tests.processes import wait_until

START_TIME = 1_700_000_000.0
SECONDS_PER_EPOCH = 60.0
CONFUSION_GROUPS = (*GROUPS, UNKNOWN)


@dataclass
class Truth:
    """What one attribute of one run holds.

    `class_values` is float32 (steps, classes, CLASS_COLUMNS), `group_values` float32 (steps, GROUP_ROWS,
    GROUP_COLUMNS), `confusion` float32 (steps, groups, groups).
    """

    classes: ClassList
    steps: np.ndarray
    wall_times: np.ndarray
    class_values: np.ndarray
    group_values: np.ndarray
    confusion: np.ndarray
    buckets: CountBuckets
    curves: np.ndarray  # float16 (steps, classes, RECALL_LEVELS)
    pairs: np.ndarray  # float32 (steps, rows, 3)
    flow: np.ndarray  # float32 (steps, buckets, buckets + 1)
    calibration: np.ndarray  # float32 (steps, buckets, CALIBRATION_COLUMNS)
    lift_sums: np.ndarray  # float32 (steps, buckets, lift_sum_columns); of multi-label attributes only
    bias: np.ndarray  # (steps, metrics, buckets)
    covariance: np.ndarray  # (steps, metrics, buckets, buckets)

    def column(self, name: str, step: int) -> np.ndarray:
        """One column of the per-class table at `step`, float32 of shape (classes,)."""
        return self.class_values[list(self.steps).index(step), :, CLASS_COLUMNS.index(name)]

    def group(self, name: str, row: str) -> np.ndarray:
        """One group metric over steps, float32 of shape (steps,)."""
        return self.group_values[:, GROUP_ROWS.index(row), GROUP_COLUMNS.index(name)]


# ------------------------------------------------------------------------------------------------------ writing


@dataclass
class EventFile:
    """An event file written record by record, with TensorBoard's own messages."""

    path: Path
    _file: IO[bytes] = field(init=False, repr=False)
    _described: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        self.write(event_pb2.Event(wall_time=START_TIME, file_version="brain.Event:2"))

    def write(self, event: event_pb2.Event) -> None:
        """Appends one event as a TFRecord and flushes it."""
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + _masked_crc(length) + data + _masked_crc(data))
        self._file.flush()

    def tensor(self, tag: str, content: bytes, tensor: Any, step: int, wall_time: float) -> None:
        """Appends one value of the Long Tail plugin; the metadata goes with the tag's first."""
        value = summary_pb2.Summary.Value(tag=tag, tensor=tensor)
        if tag not in self._described:
            self._described.add(tag)
            value.metadata.plugin_data.plugin_name = PLUGIN_NAME
            value.metadata.plugin_data.content = content
            value.metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
        self.write(event_pb2.Event(step=step, wall_time=wall_time, summary=summary_pb2.Summary(value=[value])))

    def table(self, table: Table, step: int, wall_time: float) -> None:
        """Appends a table."""
        self.tensor(table.tag, table_content(table), float_tensor(table.values), step, wall_time)

    def class_list(self, classes: ClassList, step: int = 0, wall_time: float = START_TIME) -> None:
        """Appends a class list."""
        tensor = string_tensor(class_list_payload(classes))
        self.tensor(classes.tag, class_list_content(classes), tensor, step, wall_time)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def float_tensor(values: np.ndarray) -> Any:
    """`values` as a float32 tensor message."""
    tensor = event_pb2.Event().summary.value.add().tensor
    half = values.dtype == np.float16
    tensor.dtype = types_pb2.DT_HALF if half else types_pb2.DT_FLOAT
    tensor.tensor_content = np.ascontiguousarray(values, dtype="<f2" if half else "<f4").tobytes()
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def string_tensor(text: bytes) -> Any:
    """`text` as a string tensor message of one element."""
    tensor = event_pb2.Event().summary.value.add().tensor
    tensor.dtype = types_pb2.DT_STRING
    tensor.string_val.append(text)
    tensor.tensor_shape.dim.add(size=1)
    return tensor


def write_log(
    directory: Path,
    *,
    runs: Sequence[str] = ("a", "b"),
    attributes: Mapping[str, int | Sequence[str]] | Sequence[str] = ("digit",),
    n_classes: int = 30,
    steps: int | Sequence[int] = 5,
    seed: int = 0,
    rule: str = "decoupling",
    decision: str = "multi_label",
) -> dict[str, dict[str, Truth]]:
    """Writes one event file per run under `directory` and returns the numbers in it, by run and attribute.

    Args:
        directory: the log directory.
        runs: run names, relative paths; a later run does better on the tail than an earlier one.
        attributes: names, or each with its number of classes or its class names.
        n_classes: the number of classes of attributes that are given by name alone.
        steps: the steps of the validations, or how many (0, 1, …).
        seed: of everything that is random.
        rule: of the groups, from long-tailed training counts (some unknown where there are 20 classes or more).
        decision: "multi_label" or "single_label".
    """
    axis = list(range(steps)) if isinstance(steps, int) else list(steps)
    classes_of = dict(attributes) if isinstance(attributes, Mapping) else dict.fromkeys(attributes, n_classes)
    truth: dict[str, dict[str, Truth]] = {}
    for r, run in enumerate(runs):
        file = EventFile(directory / run / f"events.out.tfevents.{int(START_TIME)}.host.{r}")
        truth[run] = {}
        for a, (attribute, given) in enumerate(classes_of.items()):
            names = [f"class {i}" for i in range(given)] if isinstance(given, int) else list(given)
            # The classes of an attribute are the same in all runs; their results are not.
            classes = _long_tail(attribute, names, rule, np.random.default_rng([seed, a]))
            made = _results(classes, decision, axis, r, np.random.default_rng([seed, a, r]))
            _write(file, made)
            truth[run][attribute] = made
        file.close()
    return truth


def append_steps(directory: Path, run: str, truth: Truth, steps: Sequence[int], *, seed: int = 1) -> Truth:
    """Writes further validations of one attribute of `run` in a file of its own, as a run that goes on would."""
    rng = np.random.default_rng(seed)
    lists = truth.classes
    classes = AttributeClasses(lists.attribute, lists.names, lists.counts, lists.groups, lists.rule)
    made = _results(classes, lists.decision, list(steps), 0, rng)
    number = len(list((directory / run).glob("events.*")))
    file = EventFile(directory / run / f"events.out.tfevents.{int(START_TIME) + number}.host.{number}")
    _write(file, made)
    file.close()
    return made


def tables(truth: Truth, index: int) -> list[Table]:
    """The tables of one validation."""
    name = truth.classes.attribute
    group_rows = (name, "groups", GROUP_COLUMNS, truth.group_values[index], GROUP_ROWS)
    buckets, about = truth.buckets.names(), {"buckets": truth.buckets.to_json()}
    pairs = np.triu_indices(len(truth.buckets))
    uncertainty = [np.concatenate([truth.bias[index, m], truth.covariance[index, m][pairs]]) for m in range(4)]
    assert len(truth.buckets) <= PAIRED_BUCKETS  # so that they are those of covariances, too
    by = about | {"by": BY_PREDICTED_CLASS if truth.classes.decision == "single_label" else BY_CLASS}
    columns = lift_sum_columns(buckets)
    lifts = Table(lift_sums_tag(name), name, "lift_sums", columns, truth.lift_sums[index], buckets, about)
    return [
        *([lifts] if truth.classes.decision == "multi_label" else []),
        Table(class_table_tag(name), name, "classes", CLASS_COLUMNS, truth.class_values[index]),
        Table(group_table_tag(name), *group_rows),
        Table(confusion_tag(name), name, "confusion", CONFUSION_GROUPS, truth.confusion[index], CONFUSION_GROUPS),
        Table(curves_tag(name), name, "curves", CURVE_COLUMNS, truth.curves[index]),
        Table(confusions_tag(name), name, "confusions", PAIR_COLUMNS, truth.pairs[index]),
        Table(flow_tag(name), name, "flow", (*buckets, "none"), truth.flow[index], buckets, about),
        Table(calibration_tag(name), name, "calibration", CALIBRATION_COLUMNS, truth.calibration[index], buckets, by),
        Table(
            uncertainty_tag(name),
            name,
            "uncertainty",
            UNCERTAINTY_COLUMNS,
            np.stack(uncertainty, axis=1).astype(np.float32),
            details=about,
        ),
    ]


def _write(file: EventFile, truth: Truth) -> None:
    file.class_list(truth.classes)
    for index, (step, wall_time) in enumerate(zip(truth.steps, truth.wall_times, strict=True)):
        for table in tables(truth, index):
            file.table(table, int(step), float(wall_time))


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


# ----------------------------------------------------------------------------------------------------- inventing


def _long_tail(attribute: str, names: Sequence[str], rule: str, rng: np.random.Generator) -> AttributeClasses:
    """Training counts from about 1,000 down to 1, shuffled; one class in twenty of unknown count."""
    n = len(names)
    counts = np.round(1000 * (1 / 1000) ** (np.arange(n) / max(1, n - 1))).astype(int)
    rng.shuffle(counts)
    unknown = rng.choice(n, size=n // 20, replace=False)
    counts[unknown] = -1
    given = dict(zip(names, counts.tolist(), strict=True))
    return ClassGroups.from_counts({attribute: given}, rule=rule)[attribute]


def _results(
    classes: AttributeClasses, decision: str, steps: list[int], better: int, rng: np.random.Generator
) -> Truth:
    """Results that grow with the steps, less for rarer classes; `better` lifts the tail."""
    supports = rng.poisson(2 + 3 * np.log1p(np.maximum(classes.counts, 0)))  # some without any positive
    class_values = np.stack(
        [_class_table(classes, supports, i / max(1, len(steps) - 1), better, rng) for i in range(len(steps))]
    )
    found = ClassList(
        class_list_tag(classes.attribute),
        classes.attribute,
        classes.names,
        classes.counts,
        classes.groups,
        classes.rule,
        decision,
    )
    buckets = count_buckets(classes)
    return Truth(
        classes=found,
        buckets=buckets,
        curves=np.stack([_curves(table) for table in class_values]),
        pairs=np.stack([_pairs(table, rng) for table in class_values]),
        flow=np.stack([_flow(buckets, table, rng) for table in class_values]),
        calibration=np.stack([_calibration(buckets, table, rng) for table in class_values]),
        lift_sums=np.stack([_lift_sums(buckets, table) for table in class_values]),
        bias=rng.normal(0, 0.002, (len(steps), len(MEAN_METRICS), len(buckets))) * buckets.n_classes,
        covariance=np.stack([[_covariance(buckets, rng) for _ in MEAN_METRICS] for _ in steps]),
        steps=np.array(steps, dtype=np.int64),
        wall_times=START_TIME + SECONDS_PER_EPOCH * (1 + np.array(steps, dtype=np.float64)),
        class_values=class_values,
        group_values=np.stack([_group_table(classes, table) for table in class_values]),
        confusion=np.stack([_confusion(classes, table, rng) for table in class_values]),
    )


def _class_table(
    classes: AttributeClasses, support: np.ndarray, progress: float, better: int, rng: np.random.Generator
) -> np.ndarray:
    n = len(classes)
    ease = np.log1p(np.maximum(classes.counts, 0)) / np.log(1001)
    lift = 0.15 * better * np.array([group == TAIL for group in classes.groups])
    chance = np.clip(0.05 + (0.3 + 0.6 * ease) * (0.3 + 0.7 * progress) + lift, 0, 0.98)
    tp = rng.binomial(support, chance)
    fp = rng.poisson(support * (1 - chance) * 0.7)
    fn = support - tp
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = tp / (tp + fp), tp / support, 2 * tp / (2 * tp + fp + fn)
    ap = np.where(support > 0, np.clip(chance + rng.normal(0, 0.03, n), 0, 1), np.nan)
    columns = {"support": support, "true_positives": tp, "false_positives": fp, "false_negatives": fn}
    columns |= {"precision": precision, "recall": recall, "f1": f1, "ap": ap}
    for name, value, trials in (("precision", precision, tp + fp), ("recall", recall, support), ("ap", ap, support)):
        columns[f"{name}_lower"], columns[f"{name}_upper"] = _wilson(value, trials)
    columns["f1_lower"], columns["f1_upper"] = f1_interval(tp, tp + fp, support)
    columns |= {"threshold": np.full(n, 0.5), "best_threshold": rng.uniform(0.1, 0.6, n)}
    columns["best_f1"] = np.clip(f1 + 0.05, 0, 1)
    return np.stack([columns[name] for name in CLASS_COLUMNS], axis=1).astype(np.float32)


def _wilson(share: np.ndarray, trials: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    n = np.maximum(trials, 1)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _group_table(classes: AttributeClasses, table: np.ndarray) -> np.ndarray:
    rows = {row: _group_row(classes, table, row) for row in GROUP_ROWS if row != GAP}
    rows[GAP] = {name: rows[HEAD][name] - rows[TAIL][name] for name in GROUP_COLUMNS}
    for metric in MEAN_METRICS:  # the widest interval that the two allow
        rows[GAP][f"{metric}_lower"] = rows[HEAD][f"{metric}_lower"] - rows[TAIL][f"{metric}_upper"]
        rows[GAP][f"{metric}_upper"] = rows[HEAD][f"{metric}_upper"] - rows[TAIL][f"{metric}_lower"]
    return np.array([[rows[row][name] for name in GROUP_COLUMNS] for row in GROUP_ROWS], dtype=np.float32)


def _group_row(classes: AttributeClasses, table: np.ndarray, row: str) -> dict[str, float]:
    members = classes.members(row)
    values = dict.fromkeys(GROUP_COLUMNS, float("nan"))
    for metric in MEAN_METRICS:
        column = table[members, CLASS_COLUMNS.index(metric)].astype(np.float64)
        defined = column[~np.isnan(column)]
        values[f"{metric}_n_classes"] = float(defined.size)
        if defined.size:
            mean, half = defined.mean(), 1.96 * defined.std() / np.sqrt(defined.size)
            values |= {metric: mean, f"{metric}_lower": mean - half, f"{metric}_upper": mean + half}
            if metric in ("f1", "recall"):
                values[f"worst_{metric}"] = defined.min()
            if metric == "recall":
                values["recall_geometric_mean"] = float(np.exp(np.log(np.maximum(defined, 1e-9)).mean()))
                values["recall_harmonic_mean"] = float(1 / (1 / np.maximum(defined, 1e-9)).mean())
    values |= {"n_classes": len(members), "n_skipped": 0, "scores_exact": 1, "ece": 0.1}
    values["n_samples"] = float(table[members, CLASS_COLUMNS.index("support")].sum())
    return values


def _confusion(classes: AttributeClasses, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hits, misses = (table[:, CLASS_COLUMNS.index(name)] for name in ("true_positives", "false_negatives"))
    rows = []
    for g, group in enumerate(CONFUSION_GROUPS):
        members = classes.members(group)
        row = rng.multinomial(int(misses[members].sum()), [0.6, 0.2, 0.15, 0.05]).astype(np.float64)
        row[g] += hits[members].sum()
        rows.append(row)
    return np.array(rows, dtype=np.float32)


def _curves(table: np.ndarray) -> np.ndarray:
    """Precision falls with recall, and lies at AP in the middle."""
    ap = table[:, CLASS_COLUMNS.index("ap"), None].astype(np.float64)
    slope = np.linspace(0.15, -0.15, len(RECALL_LEVELS))
    return np.clip(ap + slope, 0, 1).astype(np.float16)


def _pairs(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every class's missed positives go to one other class."""
    missed = table[:, CLASS_COLUMNS.index("false_negatives")].astype(np.int64)
    n = len(missed)
    rows = np.full((most_pairs(n), 3), np.nan, dtype=np.float32)
    true = np.flatnonzero(missed)
    true = true[np.argsort(-missed[true], kind="stable")]
    went = (true + rng.integers(1, max(2, n), len(true))) % n
    rows[: len(true)] = np.stack((true, went, missed[true]), axis=1)
    return rows


def _flow(buckets: CountBuckets, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = len(buckets)
    values = np.zeros((size, size + 1), dtype=np.float32)
    hits, misses = (table[:, CLASS_COLUMNS.index(name)] for name in ("true_positives", "false_negatives"))
    for bucket in range(size):
        inside = buckets.of_class == bucket
        values[bucket] = rng.multinomial(int(misses[inside].sum()), np.full(size + 1, 1 / (size + 1)))
        values[bucket, bucket] += hits[inside].sum()
    return values


def _lift_sums(buckets: CountBuckets, table: np.ndarray) -> np.ndarray:
    """Head classes are predicted three times as often as by chance where others are missed; a little clumped."""
    rng = np.random.default_rng(0)
    support, missed, false = (
        np.bincount(buckets.of_class, table[:, CLASS_COLUMNS.index(name)], len(buckets))
        for name in ("support", "false_negatives", "false_positives")
    )
    expected = np.outer(missed, false / max(1.0, false.sum()))
    is_planted = np.array([[a != HEAD and b == HEAD for b in buckets.groups] for a in buckets.groups])
    observed = rng.poisson(expected * np.where(is_planted, 3, 1))
    return np.hstack(
        [np.stack((support, missed, 0.9 * missed, 20 * false), axis=1), observed, expected, 1.3 * observed]
    )


def _calibration(buckets: CountBuckets, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Confidence above how often it is right."""
    bins = np.arange(CALIBRATION_BINS)
    n = rng.poisson(3 + 10 * buckets.n_classes[:, None], size=(len(buckets), CALIBRATION_BINS))
    confidence = n * (bins + 0.5) / CALIBRATION_BINS
    right = rng.binomial(n, np.clip((bins + 0.5) / CALIBRATION_BINS - 0.1, 0, 1))
    return np.concatenate((n, confidence, right), axis=1).astype(np.float32)


def _covariance(buckets: CountBuckets, rng: np.random.Generator) -> np.ndarray:
    """Sums over classes whose means have standard errors of 0.1, and something in common."""
    common = rng.normal(0, 0.03, (len(buckets), 2)) * buckets.n_classes[:, None]
    return np.diag(0.01 * buckets.n_classes) + common @ common.T


# ------------------------------------------------------------------------------------------------ a real TensorBoard


@contextlib.contextmanager
def tensorboard_server(
    logdir: Path | str,
    *flags: str,
    load_fast: str = "false",
    python: Path | str = sys.executable,
) -> Iterator[str]:
    """A `tensorboard` process on a free port of 127.0.0.1; yields its URL, ending in "/" (and `--path_prefix`)."""
    command = [str(python), "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    command += [f"--load_fast={load_fast}", "--reload_interval", "1", *flags]
    # Its output goes to a file: a pipe that nobody drains would stop it some day.
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(_output_file())
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        stack.callback(_stop, process)
        yield _wait_for_url(process, Path(output.name))


def get(url: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of a GET, whatever the status."""
    try:
        with urllib.request.urlopen(url) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def plugin_url(base: str, route: str, **parameters: Any) -> str:
    """The address of one of the tab's routes."""
    return f"{base}data/plugin/longtail/{route}?{urllib.parse.urlencode(parameters, doseq=True)}"


def get_json(url: str) -> Any:
    """The JSON at `url`; fails on any status but 200."""
    status, _, body = get(url)
    assert status == 200, f"{url}: {status} {body[:500]!r}"
    return json.loads(body)


def wait_for_steps(url: str, n_runs: int, n_steps: int) -> Any:
    """The plugin's list of runs once TensorBoard has loaded `n_runs` runs with `n_steps` validations each."""

    def loaded(found: Any) -> bool:
        attributes = [attribute for run in found["runs"] for attribute in run["attributes"]]
        return len(found["runs"]) >= n_runs and bool(attributes) and all(len(a["steps"]) >= n_steps for a in attributes)

    return wait_until(lambda: get_json(plugin_url(url, "runs")), loaded)


@contextlib.contextmanager
def _output_file() -> Iterator[IO[bytes]]:
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="tensorboard-", suffix=".log") as file:
        yield file


def _wait_for_url(process: subprocess.Popen[bytes], output: Path) -> str:
    def printed_url() -> str | None:
        text = output.read_text(errors="replace")
        assert process.poll() is None, f"TensorBoard ended with {process.returncode}:\n{text}"
        match = re.search(r"TensorBoard \S+ at (http://\S+)", text)
        return match and match[1].rstrip("/") + "/"

    url = wait_until(printed_url)
    assert url is not None
    return url


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()
