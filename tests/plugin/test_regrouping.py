"""Groups drawn anew: the browser's numbers are Python's."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.rules import GroupRule
from tbmetrics.comparing.regrouping import ClassMeans, RecordedUncertainty
from tbmetrics.records import GROUP_ROWS
from tests.plugin.in_process import PREFIX, answered, application, client_of
from tests.plugin.logs import tables, write_log

MODULES = Path(__file__).parents[2] / "plugins" / "tbmetrics_longtail" / "static" / "model"
STEPS = 2
#: The first lie between the recorded buckets, the others cut some.
BOUNDS = [(101, 19), (100, 9), (61, 7), (251, 90)]

SCRIPT = """
import { readFileSync } from 'node:fs';
import { groupMeans } from '%s/grouping.js';
const { sums, spread, metric, bounds } = JSON.parse(readFileSync(0, 'utf8'));
const numbers = (packed) => ({ ...packed, values: Float32Array.from(packed.values, (v) => v ?? NaN) });
const means = bounds.map(([headMin, tailMax]) =>
  groupMeans(numbers(sums), { rule: 'custom', headMin, tailMax, key: '' }, metric, numbers(spread)));
console.log(JSON.stringify(means));
"""


def _packed(client, route, metric):
    """As the browser has it, numbers as a list."""
    body = answered(client, "GET", f"{PREFIX}/{route}?run=a&attribute=digit&metric={metric}").body
    (length,) = struct.unpack("<I", body[:4])
    values = np.frombuffer(body[4 + length :], "<f4").astype(object)
    values[~np.isfinite(values.astype(float))] = None
    return json.loads(body[4 : 4 + length]) | {"values": values.tolist()}


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
@pytest.mark.parametrize(("decision", "metric"), [("single_label", "f1"), ("multi_label", "ap")])
def test_intervals_of_groups_drawn_in_the_browser_are_those_of_python(tmp_path, decision, metric):
    truth = write_log(tmp_path, runs=("a",), n_classes=300, steps=STEPS, decision=decision)["a"]["digit"]
    client = client_of(application(tmp_path)[0])
    asked = {"sums": _packed(client, "bucket_sums", metric), "spread": _packed(client, "bucket_uncertainty", metric)}
    script = tmp_path / "script.mjs"
    script.write_text(SCRIPT % MODULES.as_posix())
    given = json.dumps(asked | {"metric": metric, "bounds": BOUNDS})
    done = subprocess.run(["node", str(script)], input=given, capture_output=True, text=True, check=True)
    classes = truth.classes
    attribute = AttributeClasses("digit", classes.names, classes.counts, classes.groups, classes.rule)
    for (head_min, tail_max), answer in zip(BOUNDS, json.loads(done.stdout), strict=True):
        groups = GroupRule("test", head_min, tail_max).groups(classes.counts)
        assert not answer["approximate"]
        for step in range(STEPS):
            table = tables(truth, step)[-1].values
            recorded = RecordedUncertainty.read(table, truth.buckets.to_json(), attribute)
            values = truth.column(metric, step).astype(float)
            positives = truth.column("support", step) if decision == "multi_label" else None
            expected = ClassMeans(metric, values, recorded, positives).by_group(groups)
            for group in GROUP_ROWS:
                columns = answer["groups"][group]
                ends = [columns[metric + end][step] for end in ("", "_lower", "_upper")]
                assert ends == pytest.approx(expected[group], abs=2e-6), (group, head_min, tail_max)
