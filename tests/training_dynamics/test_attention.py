"""AttentionVisualizer in loops: probes that disturb nothing, in-line watching, bounds, messages and figures."""

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import AttentionVisualizer, InputError, TBMetrics, read_run
from tbmetrics.training_dynamics.attention import EPOCHS_KEPT


class _Classifier(nn.Module):
    """A small vision transformer with dropout and batch normalisation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(1, 8, 2, 2)
        self.norm = nn.BatchNorm1d(16)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        tokens = self.norm(self.embed(images).flatten(2).transpose(1, 2))
        return self.head(self.encoder(tokens).mean(1))


IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(12) % 3


def _train(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(IMAGES), LABELS).backward()
        optimizer.step()


def _hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def _session(folder, model, optimizer, visualizer, epochs=3, steps=3):
    with TBMetrics(folder, model=model, optimizer=optimizer, attention=visualizer, strict=True) as tb:
        for _ in tb.epochs(range(epochs)):
            _train(model, optimizer, steps)
    return tb


def test_a_probe_is_seen_at_the_end_of_every_epoch(tmp_path):
    model = _Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    visualizer = AttentionVisualizer(model, probe=IMAGES[:2], sample_names=["a", "b"])
    tb = _session(tmp_path, model, optimizer, visualizer)
    maps = visualizer.attention_maps
    assert [(m["epoch"], m["module"]) for m in maps] == [(e, "encoder.self_attn") for e in range(3)]
    assert maps[0]["attention"].shape == (2, 2, 16, 16)
    tokens = model.eval().norm(model.embed(IMAGES[:2]).flatten(2).transpose(1, 2))
    attention = copy.deepcopy(model.encoder.self_attn).train()
    attention.dropout = 0.0
    with torch.no_grad():
        expected = attention(tokens, tokens, tokens, average_attn_weights=False)[1]
    torch.testing.assert_close(maps[-1]["attention"], expected, rtol=0, atol=1e-5)
    history = read_run(tmp_path)
    assert history.scalars["training_dynamics/attention_entropy/encoder.self_attn"].steps.tolist() == [0, 1, 2]
    assert set(history.images) >= {f"attention/encoder.self_attn/{kind}" for kind in ("heads", "evolution", "overlay")}
    statistics = tb.get_metrics()["attention"]["statistics"]["encoder.self_attn"]
    assert statistics["epochs"] == [0, 1, 2]
    assert np.array(statistics["entropy"]).shape == (3, 2)


@pytest.mark.parametrize("probe", [True, False])
def test_training_is_bit_identical_with_it(tmp_path, probe):
    def trained(visualize):
        model = _Classifier()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        torch.manual_seed(5)
        visualizer = AttentionVisualizer(model, probe=IMAGES[:2] if probe else None) if visualize else False
        _session(tmp_path / str(visualize), model, optimizer, visualizer)
        assert _hooks(model) == 0
        assert model.training
        return model.state_dict(), optimizer.state_dict()["state"], torch.get_rng_state()

    torch.testing.assert_close(trained(True), trained(False), rtol=0, atol=0)


def test_without_a_probe_the_first_training_pass_of_an_epoch_is_watched(tmp_path):
    model = _Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    visualizer = AttentionVisualizer(model, every=2)
    _session(tmp_path, model, optimizer, visualizer, epochs=4)
    assert [m["epoch"] for m in visualizer.attention_maps] == [0, 2]
    assert visualizer.attention_maps[0]["attention"].shape == (4, 2, 16, 16)


def test_a_compiled_model_keeps_its_graphs_and_is_seen_through_the_probe(tmp_path):
    torch._dynamo.reset()
    model = _Classifier()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    counters = torch._dynamo.utils.counters
    counters.clear()
    visualizer = AttentionVisualizer(compiled, probe=IMAGES[:2])
    with TBMetrics(tmp_path, optimizer=optimizer, attention=visualizer, strict=True) as tb:
        for epoch in tb.epochs(range(3)):
            _train(compiled, optimizer)
            if epoch == 0:
                graphs = counters["stats"]["unique_graphs"]
    assert counters["stats"]["unique_graphs"] == graphs
    assert len(visualizer.attention_maps) == 3


def test_a_compiled_model_without_a_probe_is_told_about(caplog):
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        AttentionVisualizer(torch.compile(_Classifier(), backend="eager")).register_hooks()
    assert "give AttentionVisualizer a probe" in caplog.text


def test_a_plain_loop_and_its_figures(tmp_path):
    model = _Classifier()
    visualizer = AttentionVisualizer(model=model, save_dir=tmp_path)
    visualizer.register_hooks()
    model(IMAGES)
    visualizer.update(epoch=1, batch=0)
    model(IMAGES)
    visualizer.update(epoch=2)
    assert set(visualizer.visualize_attention(sample_idx=1, head_idx=1)) == {"encoder.self_attn/heads"}
    assert {"encoder.self_attn/heads", "encoder.self_attn/evolution", "entropy"} <= set(visualizer.visualize())
    visualizer.remove_hooks()
    assert _hooks(model) == 0
    assert {p.name for p in tmp_path.rglob("*.png")} == {"heads.png", "evolution.png", "entropy.png"}
    assert [(m["epoch"], m["batch"]) for m in visualizer.attention_maps] == [(1, 0), (2, None)]
    with pytest.raises(InputError, match=r"sample_idx must lie in 0..3 for module 'encoder.self_attn', got 9"):
        visualizer.visualize_attention(sample_idx=9)


def test_a_pass_that_raises_leaves_no_mode_behind():
    model = _Classifier()
    visualizer = AttentionVisualizer(model)
    visualizer.register_hooks()
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 3, 8, 8))
    assert torch._C._len_torch_dispatch_stack() == 0
    visualizer.remove_hooks()
    assert _hooks(model) == 0


def test_the_mass_on_groups_of_keys_is_a_scalar(tmp_path):
    class Prompts(nn.Module):
        def __init__(self):
            super().__init__()
            self.prompts = nn.Parameter(torch.randn(3, 8))

        def forward(self, x):
            keys = self.prompts.expand(len(x), -1, -1)
            return (x @ keys.transpose(-1, -2)).softmax(-1) @ keys

    model = nn.ModuleDict({"vsi": Prompts()})
    groups = ["head", "tail", "tail"]
    visualizer = AttentionVisualizer(model["vsi"], probe=torch.randn(2, 5, 8), key_groups={"model": groups})
    visualizer.update(epoch=0)
    scalars = visualizer.history.scalars
    mass = [scalars[f"training_dynamics/attention_mass/model/{g}"].values[0] for g in ("head", "tail")]
    weights = visualizer.attention_maps[0]["attention"].numpy()
    np.testing.assert_allclose(mass, [weights[..., 0].mean(), weights[..., 1:].sum(-1).mean()], rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(8, 3), "no attention was found in this model"),
        (nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), "none is attention (1: its scores do not come from a batched"),
    ],
)
def test_a_model_without_attention_is_told_from_one_whose_softmax_is_none(model, message, caplog):
    visualizer = AttentionVisualizer(model, probe=torch.randn(2, 8))
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        visualizer.update(epoch=0)
        visualizer.update(epoch=1)
    assert len(caplog.records) == 1
    assert message in caplog.text


def test_attention_that_cannot_be_captured_can_be_given():
    visualizer = AttentionVisualizer(nn.Linear(2, 2))
    visualizer.register_hooks()
    visualizer.log_attention("mine", torch.rand(6, 3, 5))
    visualizer.update(epoch=0)
    assert visualizer.attention_maps[0]["attention"].shape == (4, 1, 3, 5)
    with pytest.raises(InputError, match=r"expected \(samples, \[heads,\] queries, keys\), got \(3,\)"):
        visualizer.log_attention("mine", torch.rand(3))


def test_maps_are_kept_of_few_epochs_evenly_spread():
    model = _Classifier()
    visualizer = AttentionVisualizer(model, probe=IMAGES[:1])
    for epoch in range(40):
        visualizer.update(epoch=epoch)
    epochs = [m["epoch"] for m in visualizer.attention_maps]
    assert len(epochs) == EPOCHS_KEPT
    assert (epochs[0], epochs[-1]) == (0, 39)
    assert max(np.diff(epochs)) <= 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 3}, "model must be a torch.nn.Module, got int"),
        ({"grid": (4,)}, r"grid must be \(rows, columns\) of the patches, got \(4,\)"),
        ({"max_samples": 0}, "max_samples must be a whole number of at least 1, got 0"),
        ({"every": -1}, "every must be a whole number of steps, at least 1"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AttentionVisualizer(**{"model": nn.Linear(2, 2), **options})


def test_a_fault_of_the_capture_never_reaches_the_users_pass(tmp_path, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("tbmetrics.training_dynamics.attention_capture.Bounds.cut", broken)
    model = _Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    visualizer = AttentionVisualizer(model)
    with (
        caplog.at_level(logging.WARNING, logger="tbmetrics"),
        TBMetrics(tmp_path, model=model, optimizer=optimizer, attention=visualizer) as tb,
    ):
        for _ in tb.epochs(range(2)):
            _train(model, optimizer)
    assert "tracker 'attention' failed; training goes on without this measurement" in caplog.text
    assert "of ours" in caplog.text
    assert visualizer.attention_maps == []
    assert _hooks(model) == 0
