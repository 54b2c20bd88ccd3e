"""What `test_slices` runs: works for a while, and notes when."""

import argparse
import time
from pathlib import Path

from benchmarks.slices import hold, leave_out_stops, report

PIECES, WORK = 12, 0.05


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("order", type=Path)
    parser.add_argument("--report", type=int)
    given = parser.parse_args()
    leave_out_stops()
    hold()
    start = time.perf_counter(), time.monotonic_ns()
    if given.name == "broken":
        raise SystemExit("the way broke")
    for _ in range(PIECES):
        end = time.process_time() + WORK
        while time.process_time() < end:
            pass
        with given.order.open("a") as file:
            file.write(given.name)
    ran = time.perf_counter() - start[0], (time.monotonic_ns() - start[1]) / 1e9
    report(given.report, {"name": given.name, "ran": ran})


if __name__ == "__main__":
    main()
