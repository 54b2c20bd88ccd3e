"""Reading a large log beside other readers, and exporting figures from one.

The log is generated: scalars, histograms, per-class tables, PR curves and images. Each reader runs in a process of its
own, in turns: TensorBoard's `EventAccumulator`, tbparse, and TensorBoard's data server in Rust, the latter two where
they are installed. Then the time of exporting everything, of exporting again unchanged, and of a hundred figures.
Run: python benchmarks/export.py [--megabytes 200] [--rounds 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tbmetrics.records import CLASS_COLUMNS, ClassList, Histogram, Image, PRCurve, Record, Scalar, Table

CLASSES, EPOCHS, STEPS_PER_EPOCH = 1000, 100, 400


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


READERS = {"ours": read_ours, "EventAccumulator": read_tensorboard, "tbparse": read_tbparse}


def measured(reader: str, folder: Path) -> tuple[float, int]:
    """(seconds, peak bytes) of a reader in a process of its own, imports left out of the time."""
    if reader == "data server":
        return measured_server(folder)
    command = [sys.executable, __file__, "--reader", reader, "--folder", str(folder)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return found["seconds"], found["peak"]


def measured_server(folder: Path) -> tuple[float, int]:
    """The same of the data server, which keeps a sample; it checks checksums too, and stops once all is loaded."""
    import tensorboard_data_server

    command = [tensorboard_data_server.server_binary(), "--logdir", str(folder), "--port", "0"]
    command += ["--reload", "once", "--checksum", "-v"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        for line in server.stderr or ():
            if "Starting load cycle" in line:
                began = time.perf_counter()
            if "Finished load cycle" in line:
                seconds = time.perf_counter() - began
                peak = peak_bytes(server.pid)
                server.kill()
                return seconds, peak
    raise RuntimeError("the data server ended before it had loaded the log")


def readers() -> list[str]:
    """Those that are installed."""
    found = ["ours", "EventAccumulator"]
    for name, module in (("tbparse", "tbparse"), ("data server", "tensorboard_data_server")):
        if importlib.util.find_spec(module) is not None:
            found.append(name)
        else:
            print(f"{name} is not installed: left out")
    return found


def be_reader(reader: str, folder: str) -> None:
    """What the process of one reader does."""
    import tbmetrics.events.reader  # noqa: F401

    before = peak_bytes()
    began = time.perf_counter()
    READERS[reader](folder)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak": peak_bytes() - before}))


def peak_bytes(process: int | str = "self") -> int:
    """The most that a process held; `ru_maxrss` would count its parent's."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        be_reader(arguments.reader, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder, "log"), Path(folder, "out")
        log.mkdir()
        size = generate(log, arguments.megabytes)
        names = readers()
        rounds = [{name: measured(name, log) for name in names} for _ in range(arguments.rounds)]
        print(f"log of {size / 2**20:.0f} MiB")
        print("reader              seconds   MiB more than before   time ÷ ours   memory ÷ ours")
        for name in names:
            seconds = statistics.median(r[name][0] for r in rounds)
            peak = statistics.median(r[name][1] for r in rounds) / 2**20
            times = statistics.median(r[name][0] / r["ours"][0] for r in rounds)
            memory = statistics.median(r[name][1] / max(r["ours"][1], 1) for r in rounds)
            print(f"{name:18}{seconds:9.2f}{peak:23.0f}{times:14.1f}{memory:16.1f}")
        export_all(log, out)
        draw_many(Path(folder))


def export_all(log: Path, out: Path) -> None:
    """Everything of the large log, and again without a change."""
    from tbmetrics.export import export

    for what in ("first", "unchanged"):
        began = time.perf_counter()
        report = export(log, out)
        print(f"export, {what}: {len(report.written)} of {len(report.files)} files, {seconds_since(began):.2f} s")


def draw_many(folder: Path) -> None:
    """A hundred figures: one process and several."""
    from tbmetrics.events.writer import EventWriter
    from tbmetrics.export import export

    random = np.random.default_rng(0)
    writer = EventWriter(str(folder / "many"), policy="block")
    for step in range(50):
        groups = [Scalar(f"group{i}/{k}", float(random.normal())) for i in range(100) for k in range(2)]
        writer.write(groups, step=step)
    writer.close()
    for jobs in (1, None):
        began = time.perf_counter()
        report = export(folder / "many", folder / f"figures-{jobs}", formats=["png"], jobs=jobs)
        print(f"{len(report.files)} figures, jobs={jobs}: {seconds_since(began):.1f} s")


def seconds_since(began: float) -> float:
    """Seconds by the clock."""
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
