"""The export as a whole: the files for each choice of options, clear messages, and damage that stops nothing else."""

import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

import tbmetrics
from tbmetrics import ClassGroups, InputError, TBMetrics
from tbmetrics.events.event_file import frame
from tbmetrics.events.writer import EventWriter
from tbmetrics.exporting import NothingToShowError, export
from tbmetrics.exporting.files import run_folders
from tbmetrics.figures.output import clashing, slug
from tbmetrics.records import Histogram, Image, Scalar, Table
from tests.exporting.logs import HOSTILE, files, grow, names, read_json, train, train_a_model, train_two_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    return train_two_runs(tmp_path_factory.mktemp("runs"))


def test_the_package_offers_the_function(logdir, tmp_path):
    assert tbmetrics.export is export
    report = tbmetrics.export(logdir, tmp_path, formats=["json"], runs="one")
    assert report.problems == {}


def test_exporting_loads_no_torch(logdir, tmp_path):
    code = f"import tbmetrics, sys; tbmetrics.export({str(logdir)!r}, {str(tmp_path)!r}, runs='one', jobs=1)"
    loaded = f"{code}; print('torch' in sys.modules, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_a_run_without_classes_has_its_resource_usage(tmp_path):
    with TBMetrics(tmp_path / "runs" / "plain") as tb:
        for _ in tb.epochs(range(2)):
            for _ in tb.batches([np.zeros((4, 2))] * 5):
                with tb.component("../$x$ <b>"):
                    pass
    report = export(tmp_path / "runs", tmp_path / "out", dpi=40)
    assert report.problems == {}
    written = names(tmp_path / "out" / "plain", (p for p in report.files if "plain" in p.parts))
    figures = ("component_times", "component_shares", "throughput", "memory", "typical_step")
    assert {f"resource_usage/{name}.png" for name in figures} <= written
    assert not any("class_performance" in name for name in written)
    with pytest.raises(NothingToShowError, match="do not hold anything that was asked for"):
        export(tmp_path / "runs", tmp_path / "out", attributes=["digit"])


def test_hostile_names_stay_inside_the_directory(logdir, tmp_path):
    out = tmp_path / "deep" / "out"
    export(logdir, out, formats=["png", "json", "csv"], runs="two", dpi=30)
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]
    attributes = read_json(out, "two", "class_performance.json")["attributes"]
    assert attributes[HOSTILE]["classes"] == [HOSTILE, "$b$", 'c,"d"\n']
    assert all(re.fullmatch(r"[A-Za-z0-9_.=-]+", p.name) for p in out.rglob("*"))


@given(st.text(max_size=200))
def test_a_slug_is_a_plain_file_name(name):
    file_name = slug(name)
    assert file_name
    assert len(file_name) <= 100
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", file_name)
    assert not file_name.startswith(".")
    assert not file_name.endswith(".")


@given(st.lists(st.text("aAbB-/ .ä", max_size=6) | st.text(max_size=20), min_size=2, max_size=30, unique=True))
def test_different_names_have_different_slugs_even_where_case_is_ignored(names):
    clashes = clashing(names)
    assert len({slug(n, clashes).lower() for n in names}) == len(names)


def test_a_slug_is_readable_and_has_a_hash_only_where_it_needs_one():
    readable = ["symptomTags", "symptom tags", "Crème", "a/b", "v1.2", "ResNet-50_x"]
    assert list(map(slug, readable)) == ["symptomTags", "symptom-tags", "Creme", "a-b", "v1.2", "ResNet-50_x"]
    names_that_clash = {"symptomTags", "symptomtags", "a/b", "a b"}
    assert clashing([*names_that_clash, "crop"]) == names_that_clash
    for name in ("症状", "con", "NUL", "com1.txt", "x" * 81, "", "...", "strokes/ά"):
        assert re.fullmatch(r"[\w.-]*-[0-9a-f]{8}", slug(name), re.ASCII)


def test_runs_are_called_after_their_folders(tmp_path):
    logdir = tmp_path / "Experiments"
    runs = ["focal/tensorboard", "ce", "lr=0.1", "tensorboard"]
    assert run_folders(runs, logdir) == {
        "focal/tensorboard": "focal", "ce": "ce", "lr=0.1": "lr-0.1", "tensorboard": "Experiments"
    }  # fmt: skip
    assert run_folders(["."], logdir / "tensorboard") == {".": "Experiments"}
    assert run_folders(["."], logdir) == {".": "Experiments"}
    both = run_folders(["a", "a/tensorboard", "A"], logdir)
    assert both["a/tensorboard"] == "a-tensorboard"
    assert len({folder.lower() for folder in both.values()}) == 3


def test_names_that_clash_get_a_hash_and_their_files_stay_apart(tmp_path):
    groups = ClassGroups.from_counts({name: {"a": 900, "b": 5} for name in ("symptomTags", "symptomtags", "crop")})
    with TBMetrics(tmp_path / "runs" / "r", classes=groups) as tb:
        for _ in tb.epochs(range(1)):
            logits, labels = torch.eye(2), torch.arange(2)
            tb.update(dict.fromkeys(groups, logits), dict.fromkeys(groups, labels))
    report = export(tmp_path / "runs", tmp_path / "out", formats=["csv", "png"], only=["class_performance"], dpi=30)
    folders = {p.parent.name for p in report.files}
    assert "crop" in folders
    hashed = {name for name in folders if re.fullmatch(r"symptom[tT]ags-[0-9a-f]{8}", name)}
    assert len(hashed) == 2
    for name in hashed:  # figures and tables of an attribute lie in one folder
        suffixes = {p.suffix for p in report.files if name in p.parts}
        assert suffixes == {".csv", ".png"}


def test_what_killed_exports_left_is_removed_and_nothing_else(logdir, tmp_path):
    export(logdir, tmp_path, runs="one", formats=["json"])
    folder = tmp_path / "one"
    abandoned = folder / f".run.json.tbmetrics-{2**22 + 1}"  # above the largest number of a process
    under_way = folder / f".other.json.tbmetrics-{os.getpid()}"
    others = [folder / ".hidden", folder / ".run.json.tbmetrics-x", folder / f"run.json.tbmetrics-{2**22 + 1}"]
    for path in (abandoned, under_way, *others):
        path.touch()
    (folder / "run.json").unlink()
    export(logdir, tmp_path, runs="one", formats=["json"])
    assert not abandoned.exists()
    assert all(path.exists() for path in (under_way, *others, folder / "run.json"))


def test_runs_and_attributes_are_chosen(logdir, tmp_path):
    report = export(logdir, tmp_path, runs="^o", attributes=["digit"], formats=["json"])
    assert {p.relative_to(tmp_path).parts[0] for p in report.files} == {"one", "all_metrics.json"}
    assert list(read_json(tmp_path, "all_metrics.json")["runs"]) == ["one"]


def test_a_log_directory_that_is_itself_a_run_has_its_own_name(logdir, tmp_path):
    export(logdir / "one", tmp_path, formats=["json"])
    assert (tmp_path / "one" / "class_performance.json").exists()
    assert list(read_json(tmp_path, "all_metrics.json")["runs"]) == ["."]


def test_damage_is_reported_and_the_rest_exported(tmp_path):
    train(tmp_path / "runs" / "one", epochs=4)
    (path,) = (tmp_path / "runs" / "one").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    for _ in range(2):  # the second export reads nothing, and still says it
        report = export(tmp_path / "runs", tmp_path / "out", formats=["json"])
        assert "damaged bytes" in report.problems["one"][0]
    assert "damaged bytes" in read_json(tmp_path, "out", "one", "run.json")["problems"][0]


def test_a_log_that_is_being_written_is_exported_up_to_its_last_whole_record(tmp_path):
    writer = EventWriter(tmp_path / "runs" / "r")
    for step in range(5):
        writer.write([Scalar("loss", float(step))], step=step)
        writer.flush()
        with next((tmp_path / "runs" / "r").iterdir()).open("rb") as file:
            whole = file.read()
        torn = tmp_path / "torn" / "r" / "events.out.tfevents.1"
        torn.parent.mkdir(parents=True, exist_ok=True)
        torn.write_bytes(whole + whole[:20])
        report = export(tmp_path / "torn", tmp_path / "out", formats=["json"])
        assert report.problems == {}
        assert read_json(tmp_path, "out", "r", "other.json")["scalars"]["loss"]["steps"] == list(range(step + 1))
    writer.close()


def test_many_files_of_a_run_are_one(tmp_path):
    train(tmp_path / "runs" / "one")
    grow(tmp_path / "runs" / "one", steps=[7])
    grow(tmp_path / "runs" / "one", steps=[8, 9])
    export(tmp_path / "runs", tmp_path / "out", formats=["json"])
    assert read_json(tmp_path, "out", "one", "other.json")["scalars"]["loss"]["steps"][-3:] == [7, 8, 9]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"runs": "zzz"}, NothingToShowError, "no run matches 'zzz'; there are 'one', 'two'"),
        ({"attributes": ["colour"]}, NothingToShowError, "no run has an attribute in"),
        (
            {"formats": ["gif"]},
            InputError,
            "formats must be some of png, svg, pdf, json, csv, csv-full, html; got 'gif'",
        ),
        ({"formats": []}, InputError, "got none"),
        ({"formats": "png"}, InputError, r"formats must be a list of names, got the text 'png'; write \['png'\]"),
        ({"dpi": 3}, InputError, "dpi must lie in"),
        ({"jobs": 0}, InputError, "jobs must lie in"),
        ({"runs": "("}, InputError, "must be a regular expression"),
        ({"out": Path(__file__, "none")}, InputError, "none.* choose another"),
        ({"logdir": "/nowhere"}, InputError, "does not exist"),
        ({"only": ["gradients"]}, InputError, r"only must be some of class_performance, .*; got 'gradients'"),
    ],
)
def test_mistakes_say_what_there_is(logdir, tmp_path, options, error, message):
    arguments = {"logdir": logdir, "out": tmp_path / "out", **options}
    with pytest.raises(error, match=message):
        export(arguments.pop("logdir"), arguments.pop("out"), **arguments)
    assert not (tmp_path / "out").exists()


def test_nothing_to_show_says_why(tmp_path):
    with pytest.raises(NothingToShowError, match="holds no event files; train with"):
        export(tmp_path, tmp_path / "out")
    EventWriter(tmp_path / "run").close()
    with pytest.raises(NothingToShowError, match="its event files do not hold anything"):
        export(tmp_path, tmp_path / "out")


def test_only_some_areas_are_exported(tmp_path):
    train_a_model(tmp_path / "runs" / "r")

    def exported(only):
        export(tmp_path / "runs", tmp_path / "out", only=only, dpi=30, formats=["png", "json", "csv"])
        return {p.name for p in (tmp_path / "out" / "r").iterdir()}

    assert exported(["training_dynamics"]) == {"training_dynamics", "training_dynamics.json", "run.json"}
    area = read_json(tmp_path, "out", "r", "training_dynamics.json")
    table = area["tables"]["training_dynamics/parameters"]
    assert table["values"]["gradient_norm"][0][table["rows"].index("weight")] > 0
    assert all(tag.startswith("training_dynamics/") for tag in area["scalars"])
    assert exported(["class_performance", "other"]) == {
        "class_performance", "class_performance.json", "other", "other.json", "run.json"
    }  # fmt: skip
    with pytest.raises(NothingToShowError):
        export(tmp_path / "runs", tmp_path / "out", only=["attention"])


@pytest.mark.parametrize("prefix", ["training_dynamics/attention/", "attention/"])
def test_images_of_attention_have_a_folder_of_their_own_whatever_their_tag_was(prefix, tmp_path):
    with EventWriter(str(tmp_path / "runs" / "r")) as writer:
        writer.write([Image(f"{prefix}encoder/heads", np.zeros((4, 4, 3), np.uint8))], step=0)
    export(tmp_path / "runs", tmp_path / "out", only=["attention"], formats=["png", "json"])
    assert (tmp_path / "out" / "r" / "attention" / "encoder" / "heads.png").is_file()
    area = read_json(tmp_path, "out", "r", "attention.json")
    assert list(area["images"]) == [f"{prefix}encoder/heads"]


def test_a_unit_that_fails_does_not_stop_the_others_and_is_tried_again(logdir, tmp_path, monkeypatch):
    def fails(history):
        raise RuntimeError("no ink")
        yield

    monkeypatch.setattr("tbmetrics.figures.resource_usage.figures", fails)
    report = export(logdir, tmp_path, runs="one", formats=["png", "json"], dpi=30, jobs=1)
    assert report.problems == {"one": ["figures/resource_usage: the export failed: RuntimeError: no ink"]}
    assert (tmp_path / "one" / "class_performance" / "digit" / "pr_curves.png").exists()
    monkeypatch.undo()
    report = export(logdir, tmp_path, runs="one", formats=["png", "json"], dpi=30, jobs=1)
    assert report.problems == {}
    assert {p.parent.name for p in report.written} == {"resource_usage"}


def test_a_disk_that_cannot_be_written_is_said_by_name(logdir, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("tbmetrics.exporting.units.write_whole", full)
    with pytest.raises(InputError, match=r"cannot write 'somewhere' \(No space left on device\)"):
        export(logdir, tmp_path, formats=["json"], jobs=1)


def test_a_file_in_place_of_a_folder_is_said_by_name(logdir, tmp_path):
    (tmp_path / "one").write_text("mine")
    for jobs in (1, 2):
        with pytest.raises(InputError, match=r"cannot write .*one"):
            export(logdir, tmp_path, formats=["json"], jobs=jobs)
    assert (tmp_path / "one").read_text() == "mine"


def test_an_image_that_is_none_costs_itself_alone(tmp_path):
    bad = Summary.Value(tag="bad", image=Summary.Image(encoded_image_string=b"no image"))
    path = tmp_path / "runs" / "events.out.tfevents.1"
    path.parent.mkdir()
    path.write_bytes(frame(Event(step=1, summary=Summary(value=[bad])).SerializeToString()))
    grow(tmp_path / "runs")
    report = export(tmp_path / "runs", tmp_path / "out", formats=["png", "json"], dpi=20)
    (problem,) = report.problems["."]
    assert problem.startswith("images/bad: the export failed: SchemaError: tag 'bad': no image in PNG")
    assert (tmp_path / "out" / "runs" / "other" / "scalars" / "loss.png").exists()


def test_progress_is_said(logdir, tmp_path):
    calls = []
    export(logdir, tmp_path, formats=["json"], progress=lambda *arguments: calls.append(arguments))
    assert calls[0] == (0, 0, "reading one")
    done, total, what = calls[-1]
    assert (done, what) == (total, "done")
    assert [d for d, _, _ in calls] == sorted(d for d, _, _ in calls)


def test_users_settings_of_matplotlib_change_nothing_and_are_not_changed(logdir, tmp_path):
    import matplotlib as mpl

    export(logdir, tmp_path / "plain", runs="one", formats=["png", "svg"], dpi=40, jobs=1)
    with mpl.rc_context({"font.size": 25, "axes.facecolor": "black", "savefig.dpi": 30}):
        before = dict(mpl.rcParams)
        export(logdir, tmp_path / "styled", runs="one", formats=["png", "svg"], dpi=40, jobs=1)
        assert dict(mpl.rcParams) == before
    assert files(tmp_path / "plain") == files(tmp_path / "styled")


def test_threads_may_export_at_once(logdir, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def export_to(out):
        return export(logdir, out, runs="one", only=["other", "class_performance"], formats=["png"], dpi=30, jobs=1)

    outs = [tmp_path / str(i) for i in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert [report.problems for report in pool.map(export_to, outs)] == [{}] * 3
    assert all(files(out) == files(outs[0]) for out in outs[1:])


def test_memory_is_bounded_by_what_is_shown_at_once(tmp_path):
    random = np.random.default_rng(0)
    writer = EventWriter(tmp_path / "runs" / "r", policy="block")
    limits = np.linspace(-1, 1, 300)
    for step in range(50):
        pixels = random.integers(0, 255, (256, 256, 3)).astype(np.uint8)
        counts = random.integers(0, 99, 300).astype(float)
        table = Table("longtail/a/flow", "a", "flow", ("x", "y"), random.uniform(size=(300, 2)).astype(np.float32))
        writer.write([Image("i", pixels), Histogram("h", limits, counts, -1, 1, 0, 1), table], step=step)
        writer.flush()
    writer.close()
    size = sum(p.stat().st_size for p in (tmp_path / "runs" / "r").iterdir())
    export(tmp_path / "runs", tmp_path / "warm", formats=["png", "json"], only=["other"], dpi=20, jobs=1)
    tracemalloc.start()
    report = export(tmp_path / "runs", tmp_path / "out", formats=["png", "json"], dpi=20, jobs=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.problems == {}
    assert len(list((tmp_path / "out" / "r" / "other" / "images" / "i").iterdir())) == 50
    assert 0 < peak < size / 2
