"""What `test_slices` runs: works for a while, and notes when."""

import argparse
import time
from pathlib import Path

from benchmarks.slices import hold, report

PIECES, WORK = 12, 0.05


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("order", type=Path)
    parser.add_argument("--report", type=int)
    given = parser.parse_args()
    hold()
    if given.name == "broken":
        raise SystemExit("the way broke")
    for _ in range(PIECES):
        end = time.process_time() + WORK
        while time.process_time() < end:
            pass
        with given.order.open("a") as file:
            file.write(given.name)
    report(given.report, {"name": given.name})


if __name__ == "__main__":
    main()
