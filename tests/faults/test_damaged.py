"""Runs that are damaged beside one that is not: reader, exporter and tab say so, and show what is whole."""

import shutil

import numpy as np
import pytest

import tbmetrics
from tbmetrics import read_run
from tbmetrics.events.event_file import Framing, frame
from tests.plugin.logs import get, get_json, plugin_url, tensorboard_server, write_log
from tests.processes import wait_until

pytestmark = pytest.mark.slow

STEPS = 40
ATTRIBUTES = {"x": [f"class {i}" for i in range(12)]}
TABLE = "longtail/x"


def _records(path):
    return [frame(payload) for _, payload in Framing(path).records()]


def _cut(content, records):
    return content[: len(content) // 2 + 3]


def _flipped(content, records):
    """One bit, in the middle of the record in the middle."""
    at = sum(map(len, records[: len(records) // 2])) + 40
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def _interleaved(content, records):
    """Two writers on one file: now and then one begins a record before the other has ended its own."""
    torn = [record[: len(record) // 3] if i % 10 == 9 else b"" for i, record in enumerate(records)]
    return b"".join(piece + record for piece, record in zip(torn, records, strict=True))


def _twice(content, records):
    """Two writers of the same, whole records in turn."""
    return b"".join(record * 2 for record in records)


DAMAGES = {"cut": _cut, "flipped": _flipped, "interleaved": _interleaved, "twice": _twice}


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_log(root, runs=("whole",), attributes=ATTRIBUTES, steps=STEPS)
    for name, damage in DAMAGES.items():
        shutil.copytree(root / "whole", root / name)
        (path,) = (root / name).iterdir()
        path.write_bytes(damage(path.read_bytes(), _records(path)))
    return root


@pytest.mark.parametrize("name", DAMAGES)
def test_the_reader_says_what_is_damaged_and_has_all_that_is_not(logdir, name):
    whole, found = read_run(logdir / "whole").tables[TABLE], read_run(logdir / name)
    steps = found.tables[TABLE].steps.tolist()
    at_least = {"cut": STEPS // 3, "flipped": STEPS - 1, "interleaved": STEPS * 9 // 10, "twice": STEPS}[name]
    assert len(steps) >= at_least
    assert steps == sorted(set(steps))
    for i, step in enumerate(steps):
        np.testing.assert_array_equal(found.tables[TABLE][i].values, whole[step].values)
    said = found.problems
    assert said if name in ("flipped", "interleaved") else not said  # a file that is cut may be one still written


def test_the_export_has_every_run_and_names_the_damaged_ones(logdir, tmp_path):
    result = tbmetrics.export(logdir, tmp_path, formats=("json",))
    told = " ".join(result.problems)
    assert "flipped" in told
    assert "interleaved" in told
    assert "whole" not in told
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {"whole", *DAMAGES}


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_the_tab_shows_the_whole_run_whole_and_the_others_up_to_their_damage(logdir, load_fast):
    with tensorboard_server(logdir, load_fast=load_fast) as base:

        def steps():
            found = get_json(plugin_url(base, "runs"))["runs"]
            return {run["run"]: run["attributes"][0]["steps"] for run in found if run["attributes"]}

        seen = wait_until(steps, lambda found: len(found) == 1 + len(DAMAGES) and len(found["whole"]) == STEPS)
        assert seen["whole"] == seen["twice"] == list(range(STEPS))
        for name in ("cut", "flipped", "interleaved"):
            assert seen[name]
            assert seen[name] == list(range(STEPS))[: len(seen[name])]
        for name, known in seen.items():
            query = {"run": name, "attribute": "x", "step": known[-1], "column": ["f1", "ap"]}
            same = {**query, "run": "whole"}
            assert get(plugin_url(base, "values", **query))[2] == get(plugin_url(base, "values", **same))[2]
