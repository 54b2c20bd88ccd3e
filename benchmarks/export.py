"""Read a large log with tbmetrics and other readers, and export figures from it.

The log is generated: scalars, histograms, per-class tables, PR curves and images. Each reader runs in its own process:
ours, TensorBoard's `EventAccumulator` and, if installed, tbparse and TensorBoard's data server in Rust. Then exporting
everything, exporting again without changes, and exporting a hundred figures are timed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measuring import Comparison, Facts, Results, Run, in_child, in_turns, seconds
from tbmetrics.records import CLASS_COLUMNS, ClassList, Histogram, Image, PRCurve, Record, Scalar, Table

CLASSES, STEPS_PER_EPOCH = 1000, 400


def generate(folder: Path, megabytes: int) -> int:
    """Write epochs of all kinds of records until the file has `megabytes`; return its size in bytes."""
    from tbmetrics.events.writer import EventWriter

    rng = np.random.default_rng(0)
    writer = EventWriter(str(folder), policy="block")
    names = tuple(f"class {i}" for i in range(CLASSES))
    classes = ClassList(
        "longtail/a/classes", "a", names, np.arange(CLASSES)[::-1], ("head",) * CLASSES, "r", "single_label"
    )
    writer.write([classes], step=0)
    epoch = 0
    while size_of(folder) < megabytes * 2**20:
        for step in range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH):
            writer.write([Scalar(f"loss/{i}", float(v)) for i, v in enumerate(rng.normal(size=20))], step=step)
        writer.write(epoch_records(rng), step=epoch)
        writer.flush()
        epoch += 1
    writer.close()
    return size_of(folder)


def epoch_records(rng: np.random.Generator) -> list[Record]:
    """A validation of 1,000 classes, 150 histograms, four curves and two images."""
    values = rng.uniform(size=(CLASSES, len(CLASS_COLUMNS))).astype(np.float32)
    records: list[Record] = [Table("longtail/a", "a", "classes", CLASS_COLUMNS, values)]
    limits = np.linspace(-1, 1, 100)
    records += [
        Histogram(f"weights/{i}", limits, rng.integers(0, 99, 100).astype(float), -1, 1, 0, 1) for i in range(150)
    ]
    thresholds = np.linspace(0, 1, 201)
    records += [PRCurve(f"class_performance/a/pr/{g}", *[thresholds] * 7) for g in ("head", "medium", "tail", "all")]
    records += [
        Image(f"training_dynamics/attention/{i}", rng.integers(0, 255, (200, 300, 3)).astype(np.uint8))
        for i in range(2)
    ]
    return records


def size_of(folder: Path) -> int:
    """Total size in bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def read_ours(folder: str) -> int:
    """Number of points of all tags, read by tbmetrics."""
    from tbmetrics import read_run

    history = read_run(folder)
    kinds = (history.scalars, history.histograms, history.images, history.tables, history.pr_curves)
    return sum(len(series) for by_tag in kinds for series in by_tag.values())


def read_tensorboard(folder: str) -> int:
    """Number of scalars, read by TensorBoard's `EventAccumulator`, which is set to keep everything."""
    from tensorboard.backend.event_processing import event_accumulator as ea

    keep_all = {ea.SCALARS: 0, ea.TENSORS: 0, ea.IMAGES: 0, ea.HISTOGRAMS: 0, ea.COMPRESSED_HISTOGRAMS: 1}
    accumulator = ea.EventAccumulator(folder, size_guidance=keep_all)
    accumulator.Reload()
    return sum(len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"])


def read_tbparse(folder: str) -> int:
    """Number of scalars, read by tbparse, which builds data frames with `EventAccumulator`."""
    from tbparse import SummaryReader

    return len(SummaryReader(folder, pivot=False).scalars)


OURS, ACCUMULATOR, TBPARSE = "`read_run`", "TensorBoard's `EventAccumulator`, keeping everything", "tbparse"
DATA_SERVER = "TensorBoard's data server in Rust"
READERS = {OURS: read_ours, ACCUMULATOR: read_tensorboard, TBPARSE: read_tbparse}


def measured(reader: str, folder: Path) -> dict[str, float]:
    """Measure seconds and peak bytes of a reader in its own process, without the time of imports."""
    if reader == DATA_SERVER:
        return measured_server(folder)
    result: dict[str, float] = json.loads(in_child("benchmarks.export", "--reader", reader, "--folder", str(folder)))
    return result


def measured_server(folder: Path) -> dict[str, float]:
    """Measure the data server, which keeps a sample and verifies checksums, until it has loaded the log."""
    import tensorboard_data_server

    command = [tensorboard_data_server.server_binary(), "--logdir", str(folder), "--port", "0"]
    command += ["--reload", "once", "--checksum", "-v"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        for line in server.stderr or ():
            if "Starting load cycle" in line:
                start = time.perf_counter()
            if "Finished load cycle" in line:
                result = {"seconds": time.perf_counter() - start, "peak": float(peak_bytes(server.pid))}
                server.kill()
                return result
    raise RuntimeError("the data server ended before it had loaded the log")


def readers(run: Run) -> list[str]:
    """The installed readers."""
    others = {TBPARSE: "tbparse", DATA_SERVER: "tensorboard_data_server"}
    return [OURS, ACCUMULATOR, *(name for name, module in others.items() if run.has(module))]


def be_reader(reader: str, folder: str) -> None:
    """Measure one reader in this process; print the results as JSON."""
    import tbmetrics.events.reader  # noqa: F401

    before = peak_bytes()
    elapsed = seconds(lambda: READERS[reader](folder))
    print(json.dumps({"seconds": elapsed, "peak": peak_bytes() - before}))


def peak_bytes(process: int | str = "self") -> int:
    """Peak resident memory of a process; `ru_maxrss` would include that of its parent."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def measure(run: Run) -> Results:
    """Compare the readers, then time exports."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        log.mkdir()
        size = f"log of {generate(log, run.choose(4, 200)) / 2**20:.0f} MiB"
        names, turns = readers(run), run.choose(2, 3)
        results = [{name: measured(name, log) for name in names} for _ in range(turns)]
        seconds_by_way, megabytes = (
            {name: [turn[name][kind] / unit for turn in results] for name in names}
            for kind, unit in (("seconds", 1), ("peak", 2**20))
        )
        return [
            Comparison("reading a log", "s", OURS, seconds_by_way, about=f"{size}, all points"),
            Comparison(
                "its memory", "MiB more than before", OURS, megabytes, about=f"{size}; the data server keeps a sample"
            ),
            export_twice(log, Path(folder, "out"), size),
            draw_many(Path(folder), run.choose(10, 100), run.choose(1, 3)),
        ]


def export_twice(log: Path, out: Path, size: str) -> Facts:
    """Export the whole log, then again without changes."""
    from tbmetrics.exporting import export

    rows = []
    for what in ("first", "unchanged"):
        start = time.perf_counter()
        report = export(log, out)
        rows.append(
            [f"{what}, {len(report.written)} of {len(report.files)} files", f"{time.perf_counter() - start:.2f}"]
        )
    return Facts("exporting everything", ["export", "seconds"], rows, about=size)


def draw_many(folder: Path, figures: int, turns: int) -> Comparison:
    """Export figures as PNG in one process and in several."""
    from tbmetrics.events.writer import EventWriter
    from tbmetrics.exporting import export

    rng = np.random.default_rng(0)
    with EventWriter(str(folder / "many"), policy="block") as writer:
        for step in range(50):
            scalars = [Scalar(f"group{i}/{k}", float(rng.normal())) for i in range(figures) for k in range(2)]
            writer.write(scalars, step=step)
    export_numbers = itertools.count()

    def draw(jobs: int | None) -> float:
        out = folder / f"figures{next(export_numbers)}"
        return seconds(lambda: export(folder / "many", out, formats=["png"], jobs=jobs))

    ways = {"one process": partial(draw, 1), "as many as cores (the default)": partial(draw, None)}
    values = in_turns(ways, turns, warm_up=0)
    return Comparison(f"{figures} figures as PNG", "s", "one process", values, watched=tuple(ways)[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--folder", required=True)
    options = parser.parse_args()
    be_reader(options.reader, options.folder)
