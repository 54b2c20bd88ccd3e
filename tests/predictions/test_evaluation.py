"""Predictions in files become a run with the numbers that a session measures from the same logits."""

import json
import zipfile

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import save_file

from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, evaluate, read_run
from tbmetrics.predictions import files
from tbmetrics.predictions.counts import classes_of
from tbmetrics.records import class_table_tag, group_table_tag

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]
COUNTS = dict(zip(NAMES, [900, 300, 60, 30, 9, 2], strict=True))
ROWS = 240


def _predictions(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(NAMES), ROWS)
    logits = rng.normal(size=(ROWS, len(NAMES))).astype(np.float32)
    logits[np.arange(ROWS), labels] += 2
    return logits, labels


def _expected(logits, labels, **options):
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts(COUNTS), **options)
    tracker.update(logits, labels)
    return tracker.get_class_type_metrics()


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.json"
    path.write_text(json.dumps(COUNTS), encoding="utf-8")
    return path


def _save(path, logits, labels):
    """The same predictions in the format that the suffix of `path` names."""
    if path.suffix == ".npz":
        (np.savez_compressed if "small" in path.name else np.savez)(path, logits=logits, labels=labels)
    elif path.suffix == ".pt":
        torch.save({"logits": torch.from_numpy(logits), "labels": labels.tolist(), "epoch": 3}, path)
    elif path.suffix == ".safetensors":
        save_file({"logits": torch.from_numpy(logits), "labels": torch.from_numpy(labels)}, path)
    elif path.suffix == ".parquet":
        columns = {"probabilities": list(torch.from_numpy(logits).double().softmax(1).numpy()), "label": labels}
        pandas.DataFrame(columns).to_parquet(path)
    else:
        lines = [",".join([NAMES[label], *map(repr, row.tolist())]) for row, label in zip(logits, labels, strict=True)]
        path.write_text("\n".join([f"label,{','.join(NAMES)}", *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["val.npz", "small.npz", "val.pt", "val.safetensors", "val.csv", "val.parquet"])
def test_every_format_gives_the_numbers_of_the_logits(tmp_path, counts, monkeypatch, name):
    monkeypatch.setattr(files, "BYTES_AT_ONCE", 8 * 7 * 50)  # several parts
    monkeypatch.setattr(files, "TABLE_ROWS", 50)
    logits, labels = _predictions()
    expected = _expected(logits, labels)
    measured = evaluate(_save(tmp_path / name, logits, labels), counts=counts, out=tmp_path / "run")
    for group, metrics in expected["class"].items():
        numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
        assert {name: measured["class"][group][name] for name in numbers} == pytest.approx(numbers, rel=1e-6)
    tables = read_run(tmp_path / "run").tables
    assert tables[group_table_tag("class")].steps.tolist() == [0]
    assert tables[class_table_tag("class")].at(0).column("support").sum() == ROWS


def test_numpy_arrays_laid_out_by_columns_are_read(tmp_path, counts):
    logits, labels = _predictions()
    np.savez(tmp_path / "val.npz", logits=np.asfortranarray(logits), labels=labels)
    assert evaluate(tmp_path / "val.npz", counts=counts, out=tmp_path / "run") == _expected(logits, labels)


def test_an_array_without_a_name_needs_labels_and_what_it_is(tmp_path, counts):
    logits, labels = _predictions()
    np.save(tmp_path / "scores.npy", logits)
    (tmp_path / "labels.txt").write_text("\n".join(NAMES[label] for label in labels), encoding="utf-8")
    options = {"counts": counts, "out": tmp_path / "run", "labels": tmp_path / "labels.txt"}
    with pytest.raises(InputError, match=r"give inputs='logits' or inputs='probabilities'"):
        evaluate(tmp_path / "scores.npy", **options)
    assert evaluate(tmp_path / "scores.npy", inputs="logits", **options) == _expected(logits, labels)
    with pytest.raises(InputError, match="there are 3 labels for at least 240 predictions"):
        evaluate({"logits": logits}, counts=counts, out=tmp_path / "other", labels=labels[:3])


@pytest.mark.parametrize("ranks", [1, 3])
def test_predicted_classes_are_enough_for_what_needs_no_scores(tmp_path, counts, ranks):
    logits, labels = _predictions()
    ranked = (-logits).argsort(1)[:, :ranks]
    header = ",".join(
        ["label", *(f"prediction_{rank + 1}" for rank in range(ranks))] if ranks > 1 else ["label", "pred"]
    )
    lines = [",".join(NAMES[c] for c in (label, *row)) for label, row in zip(labels, ranked, strict=True)]
    (tmp_path / "val.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
    groups = evaluate(tmp_path / "val.csv", counts=counts, out=tmp_path / "run")["class"]
    expected = _expected(logits, labels)["class"]
    for group in ("head", "tail", "all"):
        for metric in ("recall", "precision", "f1", "f1_lower", "f1_upper"):
            assert groups[group][metric] == pytest.approx(expected[group][metric], rel=1e-9)
        assert groups[group]["ap_n_classes"] == 0


def test_multi_label_decisions_are_taken(tmp_path, counts):
    rng = np.random.default_rng(1)
    labels = (rng.random((ROWS, len(NAMES))) < 0.3).astype(np.int8)
    logits = rng.normal(size=labels.shape) + 2 * labels - 1
    groups = evaluate({"predictions": logits >= 0, "labels": labels}, counts=counts, out=tmp_path / "run")["class"]
    assert groups["all"]["f1"] == pytest.approx(_expected(logits, labels)["class"]["all"]["f1"], rel=1e-9)


def test_several_validations_are_files_or_a_column(tmp_path, counts):
    parts = [_predictions(seed) for seed in (0, 1, 2)]
    paths = [_save(tmp_path / f"{i}.npz", *part) for i, part in enumerate(parts)]
    by_file = evaluate(paths, counts=counts, out=tmp_path / "files", steps=[1, 5, 9])
    logits, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = {"logits": logits, "labels": labels, "step": np.repeat([1, 5, 9], ROWS)}
    by_column = evaluate(columns, counts=counts, out=tmp_path / "column")
    assert by_file == by_column == _expected(*parts[-1])
    tables = [read_run(tmp_path / run).tables[class_table_tag("class")] for run in ("files", "column")]
    assert tables[0].steps.tolist() == tables[1].steps.tolist() == [1, 5, 9]
    for step in (1, 5, 9):
        np.testing.assert_array_equal(tables[0].at(step).values, tables[1].at(step).values)
    columns["step"] = columns["step"][::-1]
    with pytest.raises(InputError, match="steps must not fall, got 5 after 9"):
        evaluate(columns, counts=counts, out=tmp_path / "falling")


def test_files_are_never_run(tmp_path, counts):
    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("harm").touch, ())

    np.savez(tmp_path / "val.npz", logits=np.array([Harmful()], dtype=object), labels=np.zeros(1))
    torch.save({"logits": Harmful(), "labels": [0]}, tmp_path / "val.pt")
    np.save(tmp_path / "val.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    for name in ("val.npz", "val.pt", "val.npy"):
        with pytest.raises(InputError, match=name):
            evaluate(tmp_path / name, counts=counts, out=tmp_path / "run")
    assert not (tmp_path / "harm").exists()


def test_what_does_not_fit_is_said(tmp_path, counts):
    logits, labels = _predictions()
    cases = {
        r"no such file": tmp_path / "missing.npz",
        r"files must end in \.npy": tmp_path / "val.mat",
        r"there are no labels; name them 'labels'": {"logits": logits},
        r"as many rows, got \{'logits': 240, 'labels': 3\}": {"logits": logits, "labels": labels[:3]},
        r"counts are of 6 classes, the predictions of 5": {"logits": logits[:, :5], "labels": labels},
        r"expected one of logits, probabilities": {"x": labels, "labels": labels},
        r"predictions are floating-point numbers": {"predictions": logits, "labels": labels},
        r"labels name classes without counts: \['gnu'\]": {"logits": logits[:1], "labels": np.array(["gnu"])},
        r"no predictions were given": [],
    }
    for message, predictions in cases.items():
        with pytest.raises(InputError, match=message):
            evaluate(predictions, counts=counts, out=tmp_path / "run")


def test_a_torn_archive_is_refused(tmp_path, counts):
    path = _save(tmp_path / "val.npz", *_predictions())
    torn = tmp_path / "torn.npz"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(torn, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name)[:-10])
    with pytest.raises(InputError, match=r"logits\.npy: ends after \d+ of \d+ bytes"):
        evaluate(torn, counts=counts, out=tmp_path / "run")


# -------------------------------------------------------------------------------------------------------- counts


def _written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_counts_come_from_what_people_have(tmp_path):
    for name, count in {"bee": 2, "ant": 3}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(count):
            (tmp_path / "images" / name / f"{index}.JPG").touch()
        (tmp_path / "images" / name / "notes.txt").touch()
    np.save(tmp_path / "labels.npy", np.array([0, 0, 0, 1, 1]))
    torch.save({"targets": torch.tensor([0, 0, 0, 1, 1])}, tmp_path / "labels.pt")
    named = [
        _written(tmp_path / "counts.json", '{"ant": 3, "bee": 2}'),
        _written(tmp_path / "many.json", '{"kind": {"ant": 3, "bee": 2}}'),
        _written(tmp_path / "counts.csv", "class,count\nant,3\nbee,2\n"),
        _written(tmp_path / "labels.csv", "image,label\na,ant\nb,bee\nc,ant\nd,ant\ne,bee\n"),
        _written(tmp_path / "labels.txt", "ant\nbee\nant\nant\nbee\n"),
        tmp_path / "images",
        {"ant": 3, "bee": 2},
    ]
    for source in named:
        classes = classes_of(source, num_classes=2)
        assert (classes.names, classes.counts.tolist()) == (("ant", "bee"), [3, 2]), source
    numbered = ["labels.npy", "labels.pt", _written(tmp_path / "numbers.csv", "label\n0\n0\n0\n1\n1\n")]
    for source in numbered:
        classes = classes_of(tmp_path / source, num_classes=3)
        assert (classes.names, classes.counts.tolist()) == (("0", "1", "2"), [3, 2, 0]), source


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("counts.json", "{", "is no JSON"),
        ("counts.csv", "a,b\n1,2\n", "expected a column of counts"),
        ("counts.json", '{"a": {"x": 1}, "b": {"x": 1}}', "several attributes; choose one of 'a', 'b'"),
        ("counts.json", '{"x": -3}', "must be >= 0"),
    ],
)
def test_counts_that_cannot_be_read_are_refused(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        classes_of(_written(tmp_path / name, text), num_classes=None)
