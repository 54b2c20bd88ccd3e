"""Fuzzes one target, guided by coverage: `python -m tests.fuzz event_reader --seconds 600`.

Needs the extra `fuzz` (atheris). What is found lands in the current directory; what reaches new code is added to
`build/fuzz/<target>`, and `--keep` puts the smallest files that reach all of it into the corpus of the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.fuzz import CORPUS

NAMES = ("event_reader", "record_decoder", "route_parameters", "harmful_log")
WORK, WORDS = Path("build/fuzz"), "words.txt"
#: Of one input (a file with a record of every kind has 6,570 bytes), of the process, and of the time of one input.
LARGEST, MOST_MEGABYTES, MOST_SECONDS = 8192, 2048, 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true", help="minimise what was found into the corpus; no fuzzing")
    parser.add_argument("--most-bytes", type=int, default=70_000, help="of the corpus of one target")
    parser.add_argument("--in-this-process", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.in_this_process is not None:
        return fuzz(given.target, given.in_this_process)
    if given.keep:
        return keep(given.target, given.most_bytes)
    work = WORK / given.target
    work.mkdir(parents=True, exist_ok=True)
    plant(given.target, work)
    limits = [f"-max_total_time={given.seconds}", f"-dict={WORK / WORDS}"]
    return run(given.target, *limits, str(work), str(CORPUS / given.target))


def fuzz(target: str, options: list[str]) -> int:
    """Runs libFuzzer in this process, with everything of ours instrumented; never returns where it finds a fault."""
    import atheris

    with atheris.instrument_imports(include=["tbmetrics", "tbmetrics_longtail", "tensorboard.util"]):
        from tests.fuzz.targets import TARGETS
    again = f"{sys.executable} -m tests.fuzz {target} --in-this-process"  # libFuzzer starts itself anew, in a shell
    atheris.Setup([again, *options], TARGETS[target])
    atheris.Fuzz()
    return 0


def run(target: str, *options: str) -> int:
    """libFuzzer in a process of its own."""
    limits = [f"-rss_limit_mb={MOST_MEGABYTES}", f"-timeout={MOST_SECONDS}", f"-max_len={LARGEST}"]
    command = [sys.executable, "-m", "tests.fuzz", target, "--in-this-process", *limits, *options]
    return subprocess.run(command, check=False).returncode


def plant(target: str, work: Path) -> None:
    """Puts the seeds, and a dictionary, where the fuzzer finds them."""
    from tests.fuzz.seeds import SEEDS, dictionary

    (work.parent / WORDS).write_text(dictionary(), encoding="utf-8")
    for seed in SEEDS[target]():
        (work / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def keep(target: str, most_bytes: int) -> int:
    """The files that reach all that was reached, smallest first, into the corpus, up to `most_bytes`."""
    merged = WORK / f"{target}-merged"
    merged.mkdir(parents=True, exist_ok=True)
    status = run(target, "-merge=1", str(merged), str(CORPUS / target), str(WORK / target))
    left = most_bytes - sum(path.stat().st_size for path in (CORPUS / target).glob("*"))
    for path in sorted(merged.iterdir(), key=lambda path: path.stat().st_size):
        left -= path.stat().st_size
        if left < 0:
            break
        (CORPUS / target / path.name[:16]).write_bytes(path.read_bytes())
    return status


if __name__ == "__main__":
    sys.exit(main())
