"""Reading a large log beside other readers, and exporting figures from one.

The log is generated: scalars, histograms, per-class tables, PR curves and images. Each reader runs in a process of its
own, in turns: TensorBoard's `EventAccumulator`, tbparse, and TensorBoard's data server in Rust, the latter two where
they are installed. Then the time of exporting everything, of exporting again unchanged, and of a hundred figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measuring import Comparison, Facts, Results, Run, in_child, in_turns, seconds
from tbmetrics.records import CLASS_COLUMNS, ClassList, Histogram, Image, PRCurve, Record, Scalar, Table

CLASSES, STEPS_PER_EPOCH = 1000, 400


def generate(folder: Path, megabytes: int) -> int:
    """Writes epochs of every kind of record until the file has so many megabytes; returns its bytes."""
    from tbmetrics.events.writer import EventWriter

    random = np.random.default_rng(0)
    writer = EventWriter(str(folder), policy="block")
    names = tuple(f"class {i}" for i in range(CLASSES))
    classes = ClassList(
        "longtail/a/classes", "a", names, np.arange(CLASSES)[::-1], ("head",) * CLASSES, "r", "single_label"
    )
    writer.write([classes], step=0)
    epoch = 0
    while size_of(folder) < megabytes * 2**20:
        for step in range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH):
            writer.write([Scalar(f"loss/{i}", float(v)) for i, v in enumerate(random.normal(size=20))], step=step)
        writer.write(list(of_epoch(random)), step=epoch)
        writer.flush()
        epoch += 1
    writer.close()
    return size_of(folder)


def of_epoch(random: np.random.Generator) -> list[Record]:
    """A validation of 1,000 classes, 150 histograms, four curves and two images."""
    values = random.uniform(size=(CLASSES, len(CLASS_COLUMNS))).astype(np.float32)
    found: list[Record] = [Table("longtail/a", "a", "classes", CLASS_COLUMNS, values)]
    limits = np.linspace(-1, 1, 100)
    found += [
        Histogram(f"weights/{i}", limits, random.integers(0, 99, 100).astype(float), -1, 1, 0, 1) for i in range(150)
    ]
    thresholds = np.linspace(0, 1, 201)
    found += [PRCurve(f"class_performance/a/pr/{g}", *[thresholds] * 7) for g in ("head", "medium", "tail", "all")]
    return [
        *found,
        *(Image(f"attention/{i}", random.integers(0, 255, (200, 300, 3)).astype(np.uint8)) for i in range(2)),
    ]


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def read_ours(folder: str) -> int:
    """Every tag; points of all steps."""
    from tbmetrics import read_run

    history = read_run(folder)
    kinds = (history.scalars, history.histograms, history.images, history.tables, history.pr_curves)
    return sum(len(series) for by_tag in kinds for series in by_tag.values())


def read_tensorboard(folder: str) -> int:
    """TensorBoard's `EventAccumulator`, told to keep everything."""
    from tensorboard.backend.event_processing import event_accumulator as ea

    keep = {ea.SCALARS: 0, ea.TENSORS: 0, ea.IMAGES: 0, ea.HISTOGRAMS: 0, ea.COMPRESSED_HISTOGRAMS: 1}
    accumulator = ea.EventAccumulator(folder, size_guidance=keep)
    accumulator.Reload()
    return sum(len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"])


def read_tbparse(folder: str) -> int:
    """tbparse, which builds data frames with `EventAccumulator`."""
    from tbparse import SummaryReader

    return len(SummaryReader(folder, pivot=False).scalars)


OURS, ACCUMULATOR, TBPARSE = "`read_run`", "TensorBoard's `EventAccumulator`, keeping everything", "tbparse"
DATA_SERVER = "TensorBoard's data server in Rust"
READERS = {OURS: read_ours, ACCUMULATOR: read_tensorboard, TBPARSE: read_tbparse}


def measured(reader: str, folder: Path) -> dict[str, float]:
    """Seconds and peak bytes of a reader in a process of its own, imports left out of the time."""
    if reader == DATA_SERVER:
        return measured_server(folder)
    found: dict[str, float] = json.loads(in_child("benchmarks.export", "--reader", reader, "--folder", str(folder)))
    return found


def measured_server(folder: Path) -> dict[str, float]:
    """The same of the data server, which keeps a sample; it checks checksums too, and stops once all is loaded."""
    import tensorboard_data_server

    command = [tensorboard_data_server.server_binary(), "--logdir", str(folder), "--port", "0"]
    command += ["--reload", "once", "--checksum", "-v"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        for line in server.stderr or ():
            if "Starting load cycle" in line:
                began = time.perf_counter()
            if "Finished load cycle" in line:
                found = {"seconds": time.perf_counter() - began, "peak": float(peak_bytes(server.pid))}
                server.kill()
                return found
    raise RuntimeError("the data server ended before it had loaded the log")


def readers(run: Run) -> list[str]:
    """Those that are installed."""
    others = {TBPARSE: "tbparse", DATA_SERVER: "tensorboard_data_server"}
    return [OURS, ACCUMULATOR, *(name for name, module in others.items() if run.has(module))]


def be_reader(reader: str, folder: str) -> None:
    """What the process of one reader does."""
    import tbmetrics.events.reader  # noqa: F401

    before = peak_bytes()
    taken = seconds(lambda: READERS[reader](folder))
    print(json.dumps({"seconds": taken, "peak": peak_bytes() - before}))


def peak_bytes(process: int | str = "self") -> int:
    """The most that a process held; `ru_maxrss` would count its parent's."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def measure(run: Run) -> Results:
    """The readers in turns, then what exporting takes."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        log.mkdir()
        size = f"log of {generate(log, run.choose(4, 200)) / 2**20:.0f} MiB"
        names, turns = readers(run), run.choose(2, 3)
        found = [{name: measured(name, log) for name in names} for _ in range(turns)]
        seconds_by_way, megabytes = (
            {name: [turn[name][kind] / unit for turn in found] for name in names}
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
    """Everything of the log, and again without a change."""
    from tbmetrics.exporting import export

    rows = []
    for what in ("first", "unchanged"):
        began = time.perf_counter()
        report = export(log, out)
        rows.append(
            [f"{what}, {len(report.written)} of {len(report.files)} files", f"{time.perf_counter() - began:.2f}"]
        )
    return Facts("exporting everything", ["export", "seconds"], rows, about=size)


def draw_many(folder: Path, figures: int, turns: int) -> Comparison:
    """Figures as PNG, in one process and in several."""
    from tbmetrics.events.writer import EventWriter
    from tbmetrics.exporting import export

    random = np.random.default_rng(0)
    with EventWriter(str(folder / "many"), policy="block") as writer:
        for step in range(50):
            groups = [Scalar(f"group{i}/{k}", float(random.normal())) for i in range(figures) for k in range(2)]
            writer.write(groups, step=step)
    numbers = itertools.count()

    def draw(jobs: int | None) -> float:
        return seconds(lambda: export(folder / "many", folder / f"figures{next(numbers)}", formats=["png"], jobs=jobs))

    ways = {"one process": lambda: draw(1), "as many as cores (the default)": lambda: draw(None)}
    values = in_turns(ways, turns, warm_up=0)
    return Comparison(f"{figures} figures as PNG", "s", "one process", values, watched=tuple(ways)[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--folder", required=True)
    options = parser.parse_args()
    be_reader(options.reader, options.folder)
