"""AttentionVisualizer in loops: probes that disturb nothing, in-line watching, bounds, messages and figures."""

import copy
import logging
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import AttentionVisualizer, InputError, TBMetrics, read_run
from tbmetrics.figures import attention as pictures
from tbmetrics.tracking.drawing import DrawingTime
from tbmetrics.training_dynamics.attention.store import EPOCHS_KEPT
from tests.training import count_hooks, train


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


def _session(folder, model, optimizer, visualizer, epochs=3, steps=3):
    with TBMetrics(folder, model=model, optimizer=optimizer, attention=visualizer, strict=True) as tb:
        for _ in tb.epochs(range(epochs)):
            train(model, optimizer, [(IMAGES, LABELS)] * steps)
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
    tags = {f"training_dynamics/attention/encoder.self_attn/{kind}" for kind in ("heads", "evolution", "overlay")}
    assert set(history.images) >= tags
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
        assert count_hooks(model) == 0
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


@pytest.mark.slow
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
            train(compiled, optimizer, [(IMAGES, LABELS)] * 3)
            if epoch == 0:
                graphs = counters["stats"]["unique_graphs"]
    assert counters["stats"]["unique_graphs"] == graphs
    assert len(visualizer.attention_maps) == 3


def test_a_compiled_model_without_a_probe_is_told_about(caplog):
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        AttentionVisualizer(torch.compile(_Classifier(), backend="eager")).register_hooks()
    assert "give AttentionVisualizer a probe" in caplog.text


@pytest.mark.slow
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
    assert count_hooks(model) == 0
    assert {p.name for p in tmp_path.rglob("*.png")} == {"heads.png", "evolution.png", "entropy.png"}
    assert [(m["epoch"], m["batch"]) for m in visualizer.attention_maps] == [(1, 0), (2, None)]
    with pytest.raises(InputError, match=r"sample_idx must lie in 0..3 for module 'encoder.self_attn', got 9"):
        visualizer.visualize_attention(sample_idx=9)


def test_a_probe_leaves_buffers_and_every_random_state_alone():
    class Restless(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("last", torch.zeros(2))

        def forward(self, x):
            self.calls += 1
            self.last = torch.rand(2) + random.random() + np.random.rand()
            return self.attention(x, x, x)[0]

    model, probe = Restless(), torch.randn(2, 4, 8)
    model.attention.eval()  # frozen, as fine-tuning does it
    calls, last = model.calls, model.last
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    AttentionVisualizer(model, probe=probe).update(epoch=0)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert model.calls is calls
    assert model.last is last
    assert (calls.item(), last.tolist()) == (0, [0, 0])
    assert (model.training, model.attention.training) == (True, False)


def test_a_probe_that_raises_leaves_everything_as_it_was():
    model = _Classifier()
    visualizer = AttentionVisualizer(model, probe=torch.rand(2, 3, 8, 8))
    with pytest.raises(RuntimeError):
        visualizer.update(epoch=0)
    assert model.training
    assert torch.is_grad_enabled()
    assert torch._C._len_torch_dispatch_stack() == 0


@pytest.mark.slow
def test_a_model_trained_through_another_wrapper_is_told_about(tmp_path, caplog):
    model = _Classifier()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, attention=True) as tb:
        for _ in tb.epochs(range(2)):
            train(compiled, optimizer, [(IMAGES, LABELS)] * 3)
    assert caplog.text.count("no forward pass of the model was seen") == 1


def test_a_pass_that_raises_leaves_no_mode_behind():
    model = _Classifier()
    visualizer = AttentionVisualizer(model)
    visualizer.register_hooks()
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 3, 8, 8))
    assert torch._C._len_torch_dispatch_stack() == 0
    visualizer.remove_hooks()
    assert count_hooks(model) == 0


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
        (nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), "(1: its scores come from a layer's own weights"),
    ],
)
def test_a_model_without_attention_is_told_from_one_whose_softmax_is_none(model, message, caplog):
    visualizer = AttentionVisualizer(model, probe=torch.randn(2, 8))
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        visualizer.update(epoch=0)
        visualizer.update(epoch=1)
    assert len(caplog.records) == 1
    assert message in caplog.text


def test_the_mass_of_more_prompts_than_a_map_holds():
    class Prompts(nn.Module):
        def __init__(self):
            super().__init__()
            self.prompts = nn.Parameter(torch.randn(600, 8))

        def forward(self, x):
            return (x @ self.prompts.T).softmax(-1) @ self.prompts

    model, x = Prompts(), torch.randn(2, 5, 8)
    groups = ["head"] * 100 + ["tail"] * 500
    visualizer = AttentionVisualizer(model, probe=x, key_groups={"*": groups})
    visualizer.update(epoch=0)
    assert visualizer.attention_maps[0]["attention"].shape == (2, 1, 5, 150)
    mass = visualizer.history.scalars["training_dynamics/attention_mass/model/tail"].values[0]
    expected = (x @ model.prompts.T).softmax(-1)[..., 100:].sum(-1).mean().item()
    assert mass == pytest.approx(expected, rel=1e-5)


def test_every_head_has_its_numbers_and_collapsed_ones_are_named():
    class Sharp(nn.Module):
        """Head 1 looks at one key, whatever it is given."""

        def forward(self, x):
            q = torch.stack([x, x * 1e4], 1)
            return F.scaled_dot_product_attention(q, q, q)

    visualizer = AttentionVisualizer(nn.Sequential(Sharp()), probe=torch.randn(2, 6, 8))
    visualizer.update(epoch=0)
    scalars = visualizer.history.scalars
    heads = visualizer.history.tables["training_dynamics/attention_heads/0"][-1]
    assert (heads.rows, heads.columns) == (("head 0", "head 1"), ("entropy", "keys_for_90_percent"))
    by_head = heads.column("entropy")
    assert by_head[0] > 0.2
    assert by_head[1] < 1e-3
    assert scalars["training_dynamics/attention_entropy/0"].values[0] == pytest.approx(np.mean(by_head))
    shares = heads.column("keys_for_90_percent")
    assert scalars["training_dynamics/attention_keys_for_90_percent/0"].values[0] == pytest.approx(shares.mean())
    assert scalars["training_dynamics/attention_collapsed_heads/0"].values[0] == 1
    assert "- `0`: 1" in visualizer.history.texts["training_dynamics/attention/collapsed_heads"][-1].markdown
    assert visualizer.get_metrics()["statistics"]["0"]["collapsed_heads"] == [1]


class _Patches(nn.Module):
    """`layers` self-attentions over a class token and patches of 4×4, or over windows of 16 patches."""

    def __init__(self, layers=2, windows=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.windows = nn.Conv2d(3, 8, 4, 4), windows
        self.layers = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(layers))

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        tokens = tokens.reshape(-1, 16, 8) if self.windows else torch.cat([tokens[:, :1], tokens], 1)
        for layer in self.layers:
            tokens = tokens + layer(tokens, tokens, tokens, need_weights=False)[0]
        return tokens


def _figures(model, images, **options):
    visualizer = AttentionVisualizer(model, probe=images, **options)
    visualizer.update(epoch=0)
    return dict(visualizer.figures())


@pytest.fixture
def overlays(monkeypatch):
    """The patches of each overlay that is drawn, by its title."""
    found = {}

    def overlay(images, patches, titles, rows, title):
        found[title.partition(":")[0]] = patches
        return draw(images, patches, titles, rows, title)

    draw = pictures.overlay
    monkeypatch.setattr(pictures, "overlay", overlay)
    return found


def test_an_overlay_shows_every_patch_also_where_the_map_was_cut(overlays):
    model, images = _Patches(), torch.rand(2, 3, 96, 96)
    drawn = _figures(model, images)
    tokens = model.embed(images).flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens[:, :1], tokens], 1)
    weights = model.layers[0](tokens, tokens, tokens)[1][:, 0, 1:].detach().reshape(2, 24, 24).numpy()
    (shown,) = overlays["layers.0"]
    assert len(shown) == 2
    for patches, expected in zip(shown, weights, strict=True):
        np.testing.assert_allclose(patches, expected, rtol=1e-4)
    texts = [text.get_text() for text in drawn["layers.0/heads"].axes[0].texts]
    assert any("one query in 4, one key in 4" in text for text in texts)


def test_rollout_goes_through_all_layers_or_is_not_drawn():
    assert "rollout/overlay" in _figures(_Patches(), torch.rand(2, 3, 32, 32))
    assert "rollout/overlay" in _figures(_Patches(), torch.rand(2, 3, 32, 32), max_tokens=16)
    assert "rollout/overlay" not in _figures(_Patches(layers=1), torch.rand(2, 3, 32, 32))


@pytest.mark.slow
def test_windows_of_images_have_no_overlay_and_no_rollout():
    assert set(_figures(_Patches(windows=True), torch.rand(2, 3, 32, 32))) == {
        "layers.0/heads", "layers.1/heads"
    }  # fmt: skip


def test_tokens_are_no_images_and_a_grid_can_be_given(overlays):
    encoder = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
    assert set(_figures(encoder, torch.randn(4, 16, 16))) == {"self_attn/heads"}
    assert "layers.1/overlay" in _figures(_Patches(), torch.rand(2, 3, 16, 20), grid=(4, 5))
    assert [patches.shape for patches in overlays["layers.1"][0]] == [(4, 5)] * 2


@pytest.mark.slow
def test_pictures_in_the_log_are_few_and_the_telling_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(DrawingTime, "is_long", lambda drawing: False)  # as in a run of minutes
    model = _Patches(layers=12)
    visualizer = AttentionVisualizer(model, probe=torch.rand(2, 3, 32, 32), max_images=5)
    with TBMetrics(tmp_path, model=model, attention=visualizer, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            pass
    assert set(read_run(tmp_path).images) == {
        "training_dynamics/attention/layers.11/overlay",
        "training_dynamics/attention/layers.0/overlay",
        "training_dynamics/attention/rollout/overlay",
        "training_dynamics/attention/layers.11/heads",
        "training_dynamics/attention/layers.0/heads",
    }
    assert len(set(visualizer.visualize())) == 12 * 3 + 2


@pytest.mark.slow
def test_a_short_run_draws_three_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(DrawingTime, "is_long", lambda drawing: True)
    model = _Patches(layers=3)
    with TBMetrics(tmp_path, model=model, attention=AttentionVisualizer(model, probe=torch.rand(2, 3, 32, 32))) as tb:
        for _ in tb.epochs(range(1)):
            pass
    assert set(read_run(tmp_path).images) == {
        "training_dynamics/attention/layers.2/overlay",
        "training_dynamics/attention/layers.0/overlay",
        "training_dynamics/attention/rollout/overlay",
    }


@pytest.mark.slow
def test_memory_is_bounded_over_epochs_and_metrics_are_small():
    model = _Patches(layers=4)
    most = 2 * 2**20
    visualizer = AttentionVisualizer(model, probe=torch.rand(2, 3, 96, 96), max_bytes=most, max_tokens=128)
    for epoch in range(15):
        visualizer.update(epoch=epoch)
    epochs = sorted({m["epoch"] for m in visualizer.attention_maps})
    assert (epochs[0], epochs[-1]) == (0, 14)
    assert 2 <= len(epochs) < EPOCHS_KEPT
    held = sum(m["attention"].numel() * 4 for m in visualizer.attention_maps)
    assert held <= most
    visualizer = AttentionVisualizer(_Patches(layers=4), probe=torch.rand(4, 3, 60, 60))
    visualizer.update(epoch=0)
    listed = visualizer.get_metrics()["maps"]
    assert len(visualizer.attention_maps) == 4
    assert [m["module"] for m in listed] == ["layers.3", "layers.2"]
    np.testing.assert_allclose(listed[0]["attention"], visualizer.attention_maps[-1]["attention"])


def test_a_quiet_one_says_nothing_and_stops_looking(caplog):
    model = nn.Linear(8, 3)
    visualizer = AttentionVisualizer(model, quiet=True)
    visualizer.start()
    for epoch in range(3):
        visualizer.start_epoch(epoch)
        assert visualizer._passes.is_due == (epoch == 0)
        model(torch.randn(2, 8))
        visualizer.collect(epoch)
    assert caplog.text == ""
    visualizer.stop()


def test_a_probe_may_be_arguments_by_place_or_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, query, context):
            return self.attention(query, context, context)[0]

    query, context = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    for probe in ((query, context), {"context": context, "query": query}):
        visualizer = AttentionVisualizer(Two(), probe=probe)
        visualizer.update(epoch=0)
        assert visualizer.attention_maps[0]["attention"].shape == (2, 2, 3, 5)


def test_logging_weights_costs_nothing_in_passes_that_are_not_sampled():
    class Own(nn.Module):
        def forward(self, x):
            visualizer.log_attention("own", x.exp() / x.exp().sum(-1, keepdim=True))
            return x

    model, x = Own(), torch.randn(2, 3, 5)
    visualizer = AttentionVisualizer(model, probe=x)
    model(torch.randn(2, 3, 5))
    visualizer.update(epoch=0)
    model(torch.randn(2, 3, 5))
    assert visualizer._passes.logged == []
    torch.testing.assert_close(visualizer.attention_maps[0]["attention"][:, 0], x.softmax(-1))


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
        ({"every": -1}, "every must be a whole number of at least 1"),
        ({"max_bytes": True}, "max_bytes must be a whole number of at least 1, got True"),
        ({"max_images": -1}, "max_images must be a whole number of at least 0, got -1"),
        ({"sample_names": "abc"}, "sample_names must be one name a sample, got the string 'abc'"),
        ({"probe": torch.rand(2, 8), "sample_names": ["a", "b", "c"]}, "3 names for a probe of 2 samples"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AttentionVisualizer(**{"model": nn.Linear(2, 2), **options})


def test_a_fault_of_the_capture_never_reaches_the_users_pass(tmp_path, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("tbmetrics.training_dynamics.attention.capture.handler_of", broken)
    model = _Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    visualizer = AttentionVisualizer(model)
    with (
        caplog.at_level(logging.WARNING, logger="tbmetrics"),
        TBMetrics(tmp_path, model=model, optimizer=optimizer, attention=visualizer) as tb,
    ):
        for _ in tb.epochs(range(2)):
            train(model, optimizer, [(IMAGES, LABELS)] * 3)
    assert "tracker 'attention' failed; training goes on without this measurement" in caplog.text
    assert "of ours" in caplog.text
    assert visualizer.attention_maps == []
    assert count_hooks(model) == 0


def test_looking_at_images_gives_the_class_tokens_attention_on_all_patches():
    model, images = _Patches(layers=1), torch.rand(6, 3, 96, 48)
    seen = AttentionVisualizer(model, max_samples=1).look_at(images)
    tokens = model.embed(images).flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens[:, :1], tokens], 1)
    weights = model.layers[0](tokens, tokens, tokens)[1][:, 0, 1:].detach()
    np.testing.assert_allclose(seen, weights.reshape(6, 24, 12).numpy(), atol=1e-6)


class _Prompts(nn.Module):
    """Class prompts, projected to queries, ask the patches of 2×2 pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.query, self.prompts = nn.Conv2d(1, 8, 2, 2), nn.Linear(8, 8), nn.Parameter(torch.randn(3, 8))

    def weights(self, images):
        patches = self.embed(images).flatten(2).transpose(1, 2)
        return (self.query(self.prompts) @ patches.transpose(1, 2)).softmax(-1), patches

    def forward(self, images):
        weights, patches = self.weights(images)
        return (weights @ patches).sum(-1)


def test_looking_at_images_asks_each_samples_own_class_prompt():
    model = _Prompts()
    visualizer = AttentionVisualizer(model, query_labels={"*": ["a", "b", "c"]})
    asked = ["c", "a", "b", "b"]
    seen = visualizer.look_at(IMAGES[:4], asked)
    weights = model.weights(IMAGES[:4])[0].detach()
    expected = np.stack([weights[i, "abc".index(q)].reshape(4, 4) for i, q in enumerate(asked)])
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    assert visualizer.look_at(IMAGES[:2], ["a", "of another attribute"]) is None


def test_looking_at_what_is_no_image_finds_nothing_and_leaves_the_model_as_it_was():
    model = _Classifier().train()
    before = copy.deepcopy(model.state_dict())
    assert AttentionVisualizer(model, modules=["none"]).look_at(IMAGES[:2]) is None
    assert AttentionVisualizer(_Patches(windows=True)).look_at(torch.rand(2, 3, 32, 32)) is None
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_the_end_draws_only_what_was_not_drawn():
    visualizer = AttentionVisualizer(_Patches(), probe=torch.rand(2, 3, 32, 32))
    assert visualizer.closing() == []
    visualizer.update(epoch=0)
    assert visualizer.closing()
    assert visualizer.closing() == []
