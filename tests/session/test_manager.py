"""MetricsManager and the guide it was written for: each sample as written, on a real small training."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

from tbmetrics import InputError, MetricsManager, TBMetricsWarning, read_run
from tbmetrics.figures.dynamics_data import layer_norms
from tbmetrics.records import PARAMETERS_TAG, class_table_tag

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).with_name("guide.md").read_text(encoding="utf-8")
SAMPLES = dict(re.findall(r"^## (.*?)\n\n```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL))
EPOCHS = 3


class _VSI(nn.Module):
    """Rows of an image attend to class prompts, in two heads, written out."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(8, 16), nn.Linear(16, 16)

    def forward(self, rows, prompts):
        q = self.query(rows).unflatten(-1, (2, 8)).transpose(1, 2)
        k = self.key(prompts).unflatten(-1, (2, 8)).transpose(0, 1)[None]
        weights = torch.softmax(q @ k.transpose(-2, -1) / 8**0.5, dim=-1)
        return (weights @ k).transpose(1, 2).flatten(2).mean(1)


class _Model(nn.Module):
    """An encoder of digits, and a head and class prompts for each attribute."""

    def __init__(self, sizes):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.vsi = _VSI()
        self.prompts = nn.ParameterList([torch.randn(size, 16) for size in sizes.values()])
        self.heads = nn.ModuleDict({attribute: nn.Linear(48, size) for attribute, size in sizes.items()})

    def forward(self, images):
        hidden, rows = self.encoder(images), images.unflatten(-1, (8, 8))
        seen = [self.vsi(rows, prompts) for prompts in self.prompts]
        return {a: head(torch.cat([hidden, s], dim=1)) for (a, head), s in zip(self.heads.items(), seen, strict=True)}


class _Training:
    """Batches whose step is made as the loop goes on to the next one, so that a loop without a body trains."""

    def __init__(self, model, images, labels, batch_size):
        self.model, self.images, self.labels, self.batch_size = model, images, labels, batch_size
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def __iter__(self):
        for start in range(0, len(self.images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self.images[part]
            logits = self.model(self.images[part])
            loss = sum(
                nn.functional.binary_cross_entropy_with_logits(logits[a], self.labels[a][part].float()) for a in logits
            )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def _labels(digits):
    """Four multi-label attributes of a digit."""
    names = {
        "digit": [str(d) for d in range(10)],
        "parity": ["even", "odd"],
        "holes": ["none", "one", "two"],
        "strokes/ά": ["round", "straight", "both"],
    }
    holes = np.array([1, 0, 0, 0, 1, 0, 1, 0, 2, 1])[digits]
    rounds, straight = np.isin(digits, [0, 2, 3, 5, 6, 8, 9]), np.isin(digits, [1, 2, 4, 5, 7, 9])
    hot = {
        "digit": np.eye(10)[digits],
        "parity": np.stack([digits % 2 == 0, digits % 2 == 1], axis=1),
        "holes": np.eye(3)[holes],
        "strokes/ά": np.stack([rounds, straight, rounds & straight], axis=1),
    }
    return names, {a: torch.tensor(np.asarray(values, dtype=np.int64)) for a, values in hot.items()}


def _make_world():
    """The names that the guide's samples use."""
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32)
    names, labels = _labels(digits)
    train, held_out = slice(0, 1200), slice(1200, None)
    model = _Model({attribute: len(of) for attribute, of in names.items()})
    label_to_idx = {a: {label: i for i, label in enumerate(of)} for a, of in names.items()}
    hmt_info = {}
    for attribute, of in names.items():
        counts = labels[attribute][train].sum(0).tolist()
        low, high = np.percentile(counts, [33, 67])
        groups = {"head": {}, "medium": {}, "tail": {}}
        for label, count in zip(of, counts, strict=True):
            groups["head" if count > high else "tail" if count < low else "medium"][label] = count
        hmt_info[attribute] = {**groups, "33_percentile": low, "67_percentile": high}
    train_labels = {a: values[train] for a, values in labels.items()}
    with torch.no_grad():
        logits = model(images[held_out])
    return {
        "model": model,
        "attributes": list(names),
        "label_to_idx_dict": label_to_idx,
        "idx_to_label_dict": {a: {i: label for label, i in of.items()} for a, of in label_to_idx.items()},
        "hmt_info": hmt_info,
        "epochs": EPOCHS,
        "epoch_num": 1,
        "batch_size": 100,
        "num_samples": 1200,
        "train_dataset": range(1200),
        "train_dataloader": _Training(model, images[train], train_labels, 100),
        "logits_dict": logits,
        "labels_dict": {a: values[held_out] for a, values in labels.items()},
    }


@pytest.fixture
def world():
    """Those names with one attribute: figures of all four take seconds."""
    world = _make_world()
    by_attribute = ("label_to_idx_dict", "idx_to_label_dict", "hmt_info", "logits_dict", "labels_dict")
    return {**world, "attributes": ["digit"], **{name: {"digit": world[name]["digit"]} for name in by_attribute}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _run_sample(title, world):
    exec(compile(SAMPLES[title], f"guide.md, {title}", "exec"), world)
    return world


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory):
    """The names after the quick start, and the folder that it wrote to."""
    folder = tmp_path_factory.mktemp("quick_start")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return _run_sample("Quick start", _make_world()), folder / "visualizations"


def test_the_quick_start_trains_and_leaves_figures_json_and_event_files(quick_start):
    world, folder = quick_start
    metrics = world["metrics_data"]
    assert {"class_metrics", "training_dynamics", "resource_usage", "tensorboard"} <= {p.name for p in folder.iterdir()}
    figures = {str(p.relative_to(folder)) for p in folder.rglob("*.png")}
    kinds = ("class_distribution", "metrics_by_group", "pr_curves")
    assert {f"class_metrics/{a}/{kind}.png" for a in ("digit", "parity", "holes") for kind in kinds} <= figures
    dynamics = ("gradient_flow", "weight_distribution")
    resources = ("memory", "component_times", "component_shares", "throughput")
    assert {f"training_dynamics/{kind}.png" for kind in dynamics} <= figures
    assert {f"resource_usage/{kind}.png" for kind in resources} <= figures
    assert all(re.fullmatch(r"[\w./-]+", name, re.ASCII) for name in figures)  # also those of 'strokes/ά'
    for name in ("class_metrics/class_metrics", "training_dynamics/training_dynamics", "resource_usage/resource_usage"):
        assert json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == json.loads(json.dumps(metrics))
    history = read_run(folder / "tensorboard")
    assert history.tables[class_table_tag("digit")].steps.tolist() == [1, 2, 3]
    steps = history.tables[PARAMETERS_TAG].steps.tolist()
    assert steps[0] == 1
    assert steps[-1] <= 12 * EPOCHS


def _promised_files():
    promises = GUIDE.partition("## What it leaves")[2]
    return re.findall(r"`([\w/.-]+\.(?:png|json))`", promises)


@pytest.mark.parametrize("name", _promised_files())
def test_every_file_that_the_guide_promises_is_there(quick_start, name):
    if "memory_by_batch_size" in name and not torch.cuda.is_available():
        pytest.skip("needs a device that reports its peak memory")
    path = quick_start[1] / name
    assert path.stat().st_size > 100
    if path.suffix == ".json":
        assert json.loads(path.read_text(encoding="utf-8"))


def test_attention_of_each_attribute_has_the_names_of_its_classes(quick_start):
    world, folder = quick_start
    manager = world["metrics_manager"]
    maps = manager.attention.attention_maps
    assert {m["module"]: m["attention"].shape[1:] for m in maps} == {
        "vsi#0": (2, 8, 10), "vsi#1": (2, 8, 2), "vsi#2": (2, 8, 3), "vsi#3": (2, 8, 3)
    }  # fmt: skip
    assert sorted({m["epoch"] for m in maps}) == [1, 2, 3]
    for call, attribute in enumerate(world["attributes"]):
        assert manager.attention.names.keys(f"vsi#{call}") == tuple(world["label_to_idx_dict"][attribute])
    mass = [tag for tag in manager.tb.history.scalars if tag.startswith("training_dynamics/attention_mass/vsi#0")]
    assert {tag.rpartition("/")[2] for tag in mass} == {"head", "medium", "tail"}
    assert world["metrics_data"]["attention"].keys() == {"vsi#0", "vsi#1", "vsi#2", "vsi#3"}
    folders = {p.name for p in (folder / "class_metrics").iterdir() if p.is_dir()}
    (unreadable,) = folders - {"digit", "parity", "holes"}  # "strokes/ά" would lose a letter
    assert re.fullmatch(r"strokes-[0-9a-f]{8}", unreadable)


def test_the_quick_starts_numbers_are_scikit_learns(quick_start):
    world, _ = quick_start
    metrics = world["metrics_data"]
    for attribute in world["attributes"]:
        scores, truth = world["logits_dict"][attribute].numpy(), world["labels_dict"][attribute].numpy()
        expected_f1 = f1_score(truth, scores >= 0, average=None, zero_division=0)
        for label, i in world["label_to_idx_dict"][attribute].items():
            found = metrics["class_performance"]["class_metrics"][attribute][label]
            assert found["ap"] == pytest.approx(average_precision_score(truth[:, i], scores[:, i]), rel=1e-9)
            assert found["f1"] == pytest.approx(expected_f1[i], rel=1e-9)
            assert label in world["hmt_info"][attribute][found["type"]]
    epochs = metrics["resource_usage"]["epoch_data"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    assert [row["steps"] for row in epochs] == [12, 12, 12]
    assert {"forward_pass", "backward_pass"} <= set(metrics["resource_usage"]["component_data"])
    assert metrics["training_dynamics"]["epochs"] == [1, 2, 3]
    assert "encoder.0.weight" in metrics["training_dynamics"]["gradient_norms"]
    assert set(metrics["gradient_issues"]) >= {"vanishing_gradients", "exploding_gradients"}


def test_nothing_of_it_stays_on_the_model(quick_start):
    world, _ = quick_start
    for module in world["model"].modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not any(p._post_accumulate_grad_hooks for p in world["model"].parameters())


def test_class_performance_alone(world):
    metrics = _run_sample("Class performance", world)["metrics"]
    assert set(metrics) == set(world["attributes"])
    assert Path("visualizations/class_metrics/digit/pr_curves.png").exists()


def test_gradients_alone(world):
    before, after = SAMPLES["Gradients"].split("# Forward and backward pass happens here\n# ...\n")
    exec(before, world)
    for _ in world["train_dataloader"]:
        pass
    exec(after, world)
    assert Path("visualizations/training_dynamics/gradient_flow.png").exists()
    assert world["tracker"].get_metrics()["epochs"] == [1]


class _Attending(nn.Module):
    """Class prompts that look at the rows of a digit."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.vsi = nn.MultiheadAttention(8, 2, batch_first=True)
        self.prompts = nn.Parameter(torch.randn(10, 8))

    def forward(self, images):
        rows = self.encoder(images.unflatten(-1, (8, 8)))
        seen, _ = self.vsi(self.prompts.expand(len(rows), -1, -1), rows, rows, need_weights=False)
        return {"digit": seen.mean(-1)}


def test_attention_alone(world):
    world["model"] = _Attending()
    before, after = SAMPLES["Attention"].split("# Forward pass happens here\n# ...\n")
    exec(before, world)
    world["model"](world["train_dataloader"].images[:8])
    exec(after, world)
    maps = world["visualizer"].attention_maps
    assert [(m["epoch"], m["module"]) for m in maps] == [(1, "encoder.self_attn"), (1, "vsi")]
    assert maps[1]["attention"].shape == (4, 2, 10, 8)
    assert Path("visualizations/training_dynamics/vsi/heads.png").exists()


def test_the_manager_draws_attention_without_being_asked(world):
    model = _Attending()
    manager = MetricsManager(model=model, label_to_idx_dict=world["label_to_idx_dict"], attributes=["digit"])
    manager.start_epoch(1)
    loss = model(world["train_dataloader"].images[:8])["digit"].sum()
    loss.backward()
    manager.finalize()
    assert Path("visualizations/training_dynamics/attention/vsi/heads.png").exists()


def test_a_model_without_attention_is_taken_as_it_is(caplog):
    model = nn.Linear(3, 2)
    manager = MetricsManager(model=model)
    for epoch in range(2):
        manager.start_epoch(epoch)
        model(torch.ones(1, 3)).sum().backward()
    metrics = manager.finalize()
    assert "attention" not in metrics
    assert not Path("visualizations/training_dynamics/attention").exists()
    assert not caplog.records


def test_calls_that_the_guide_suggests():
    model, names = nn.Linear(3, 2), {"a": {"x": 0, "y": 1}}
    manager = MetricsManager(model=model, label_to_idx_dict=names, attention=False)
    manager.start_epoch(1)
    manager.start_component("outer")
    manager.start_component("inner")
    manager.end_component()
    manager.end_component()
    with pytest.warns(TBMetricsWarning, match="a component was ended without being started"):
        manager.end_component()
    manager.tb.update({"a": torch.eye(2)}, {"a": torch.eye(2)})
    manager.end_epoch(batch_size=2, num_samples=4)
    manager.generate_visualizations()
    assert Path("visualizations/class_metrics/a/pr_curves.png").exists()
    manager.stop_tracking()
    assert not model._forward_hooks
    assert not Path("visualizations/metrics.json").exists()
    metrics = manager.finalize()
    components = metrics["resource_usage"]["component_data"]
    assert [components[name][0]["count"] for name in ("outer", "inner")] == [1, 1]
    assert components["outer"][0]["time"] >= components["inner"][0]["time"]
    assert metrics["resource_usage"]["epoch_data"][0]["num_samples"] == 4
    assert metrics["class_performance"]["epochs"] == {"a": 1}
    assert metrics == manager.finalize() == manager.get_metrics()


def test_without_classes_the_rest_is_measured_and_it_is_said_once(caplog):
    model = nn.Linear(3, 2)
    manager = MetricsManager(model=model)
    for epoch in range(2):
        manager.start_epoch(epoch)
        model(torch.ones(1, 3)).sum().backward()
        manager.update_batch(0)
        manager.update_epoch_results({"a": torch.eye(2)}, {"a": torch.eye(2)}, batch_size=1, num_samples=1)
    metrics = manager.finalize()
    assert metrics["class_performance"] == {}
    assert metrics["training_dynamics"]["epochs"] == [0, 1]
    assert [row["num_samples"] for row in metrics["resource_usage"]["epoch_data"]] == [1, 1]
    (message,) = [record.message for record in caplog.records]
    assert "no classes were given, so class performance is left out" in message
    assert sorted(p.name for p in Path("visualizations").iterdir()) == [
        "metrics.json", "resource_usage", "tensorboard", "training_dynamics"
    ]  # fmt: skip


def test_a_short_run_has_several_columns_in_its_figures():
    torch.manual_seed(0)
    model, names = nn.Linear(3, 2), {"a": {"x": 0, "y": 1}}
    manager = MetricsManager(model=model, label_to_idx_dict=names)
    manager.start_epoch(0)
    for step in range(6):
        manager.update_batch(step)
        model(torch.randn(2, 3)).sum().backward()
    manager.end_epoch()
    norms = layer_norms(manager.tb.history, "gradient_norm")  # what the heat map shows
    assert len(norms.values) == 3
    assert manager.tb.history.tables[PARAMETERS_TAG].steps.tolist() == [1, 2, 5]


def test_resources_alone(world):
    monitor = _run_sample("Resources", world)["monitor"]
    assert monitor.epoch_data[0]["num_samples"] == 1200
    assert Path("visualizations/resource_usage/throughput.png").exists()


def test_inside_a_training_function(world):
    sample = SAMPLES["Inside a training function"].replace("metrics_manager=None, ...", "metrics_manager=None")
    exec(sample, world)
    train = world["train_with_metrics"]
    assert train(world["model"]) is world["model"]
    names = ("model", "attributes", "label_to_idx_dict", "idx_to_label_dict", "hmt_info")
    manager = MetricsManager(**{name: world[name] for name in names}, save_dir="elsewhere")
    train(world["model"], manager)
    assert manager.get_metrics()["class_performance"]["type_metrics"]["digit"]["head"]["count"] > 0
    assert len(manager.get_metrics()["resource_usage"]["epoch_data"]) == EPOCHS
    manager.finalize()  # again: nothing happens


def test_without_weights_there_is_no_copy_of_them(world, monkeypatch):
    def refuse(*_):
        raise AssertionError("weights were copied")

    monkeypatch.setattr("tbmetrics.training_dynamics.gradients.sampling.WeightsBefore", refuse)
    names = ("model", "attributes", "label_to_idx_dict", "hmt_info")
    manager = MetricsManager(**{n: world[n] for n in names}, track_weights=False, strict=True)
    manager.start_epoch(1)
    for i, _ in enumerate(world["train_dataloader"]):
        manager.update_batch(i)
    manager.update_epoch_results(world["logits_dict"], world["labels_dict"])
    manager.finalize()
    assert manager.get_metrics()["training_dynamics"]["weight_norms"] == {}


def test_a_directory_that_cannot_be_written_is_refused_at_once(world, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write to save_dir .*choose another one"):
        MetricsManager(label_to_idx_dict=world["label_to_idx_dict"], save_dir=tmp_path / "file" / "below")


def test_wrong_formats_are_refused_and_what_was_measured_stays(world):
    manager = MetricsManager(label_to_idx_dict=world["label_to_idx_dict"], hmt_info=world["hmt_info"])
    manager.start_epoch(1)
    manager.update_epoch_results(world["logits_dict"], world["labels_dict"])
    manager.start_epoch(2)
    with pytest.raises(InputError, match="'digit'"):
        manager.update_epoch_results({"digit": torch.zeros(3, 4)}, {"digit": torch.zeros(3, 4)})
    with pytest.raises(InputError, match="colour"):
        manager.update_epoch_results({"colour": torch.zeros(3, 4)}, {"colour": torch.zeros(3, 4)})
    manager.finalize()
    assert read_run("visualizations/tensorboard").tables[class_table_tag("digit")].steps.tolist() == [1]
    assert manager.get_metrics()["training_dynamics"] == {}


def test_disabled_it_leaves_nothing_but_its_directory(world):
    manager = MetricsManager(label_to_idx_dict=world["label_to_idx_dict"], enabled=False)
    manager.start_epoch(1)
    manager.update_batch(0)
    manager.update_epoch_results(world["logits_dict"], world["labels_dict"])
    manager.finalize()
    assert list(Path("visualizations").iterdir()) == []
