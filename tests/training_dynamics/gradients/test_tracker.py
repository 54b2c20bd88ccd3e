"""GradientTracker in real loops: right numbers, nothing changed, nothing left behind."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import GradientTracker, InputError, TBMetrics, read_run
from tbmetrics.records import ACTIVATIONS_TAG, PARAMETERS_TAG
from tests.training import count_hooks, train


def _model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3))


DATA = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (32,), generator=torch.Generator().manual_seed(2))
BATCH = (DATA, TARGETS)


def _loss(model):
    return F.cross_entropy(model(DATA), TARGETS)


def _tracker(model, optimizer=None, **options):
    options = {"every": 1, "detail_every": 1, **options}
    tracker = GradientTracker(model, optimizer, **options)
    tracker.register_hooks()
    return tracker


def _column(tracker, column, step=None):
    series = tracker.history.tables[PARAMETERS_TAG]
    table = series[-1] if step is None else series.at(step)
    return dict(zip(table.rows, table.column(column).tolist(), strict=True))


# ------------------------------------------------------------------------------------------------- numbers


def test_norms_updates_and_cosines_equal_numpys():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    previous = {}
    for step in (1, 2):
        optimizer.zero_grad()
        _loss(model).backward()
        gradients = {n: p.grad.double().numpy().copy() for n, p in model.named_parameters()}
        before = {n: p.detach().double().numpy().copy() for n, p in model.named_parameters()}
        optimizer.step()
        tracker.update(epoch=step)
        for name, parameter in model.named_parameters():
            weight, change = np.linalg.norm(before[name]), np.linalg.norm(parameter.detach().numpy() - before[name])
            gradient = gradients[name].ravel()
            assert _column(tracker, "gradient_norm")[name] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
            assert _column(tracker, "weight_norm")[name] == pytest.approx(weight, rel=1e-5)
            if weight:
                assert _column(tracker, "update_ratio")[name] == pytest.approx(change / weight, rel=1e-3)
            if previous:
                cosine = gradient @ previous[name] / np.linalg.norm(gradient) / np.linalg.norm(previous[name])
                assert _column(tracker, "gradient_cosine")[name] == pytest.approx(cosine, abs=1e-5)
        previous = {name: gradient.ravel() for name, gradient in gradients.items()}
        common = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        assert tracker.history.scalars["training_dynamics/gradient_norm"].values[-1] == pytest.approx(common, rel=1e-5)


def test_clipped_gradients_are_measured_as_the_optimizer_sees_them():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    _loss(model).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()
    tracker.update(epoch=0)
    assert tracker.history.scalars["training_dynamics/gradient_norm"].values[-1] == pytest.approx(0.01, rel=1e-3)


def test_histograms_hold_every_value_and_activations_are_there():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    train(model, optimizer, [BATCH])
    tracker.update(epoch=0)
    for name, parameter in model.named_parameters():
        for of in ("gradients", "weights"):
            assert tracker.history.histograms[f"{of}/{name}"][-1].counts.sum() == parameter.numel()
    assert tracker.history.histograms["activations/1"][-1].counts.sum() == 32 * 16
    table = tracker.history.tables[ACTIVATIONS_TAG][-1]
    assert table.rows == ("1",)
    assert 0.2 < table.column("zero_share")[0] < 0.8


def test_cadences_say_which_steps_are_sampled():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer, every=5, detail_every=10)
    train(model, optimizer, [BATCH] * 23)
    tracker.update(epoch=0)
    assert tracker.history.tables[PARAMETERS_TAG].steps.tolist() == [5, 10, 15, 20]
    assert tracker.history.histograms["weights/0.weight"].steps.tolist() == [10, 20]
    assert np.isnan(_column(tracker, "update_ratio", 15)["0.weight"])


def test_patterns_choose_parameters():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer, include=["0", "4"], exclude=["*.bias"])
    train(model, optimizer, [BATCH])
    tracker.update(epoch=0)
    assert list(tracker.get_metrics()["gradient_norms"]) == ["0.weight", "4.weight"]


def test_without_weights_no_copy_of_them_is_made(monkeypatch):
    def refuse(*_):
        raise AssertionError("weights were copied")

    monkeypatch.setattr("tbmetrics.training_dynamics.gradients.sampling.WeightsBefore", refuse)
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer, track_weights=False)
    train(model, optimizer, [BATCH] * 2)
    tracker.update(epoch=0)
    metrics = tracker.get_metrics()
    assert metrics["gradient_norms"]
    assert metrics["weight_norms"] == metrics["update_ratios"] == {}
    assert not any(tag.startswith("weights/") for tag in tracker.history.histograms)


# ---------------------------------------------------------------------------------------------- real loops


def test_accumulated_gradients_are_one_step_and_give_the_noise_scale():
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    tracker = _tracker(model, optimizer)
    for _ in range(4):
        optimizer.zero_grad()
        for part in range(4):
            (F.cross_entropy(model(DATA[part * 8 :][:8]), TARGETS[part * 8 :][:8]) / 4).backward()
        optimizer.step()
    tracker.update(epoch=0)
    assert tracker.history.tables[PARAMETERS_TAG].steps.tolist() == [1, 2, 3, 4]
    assert "training_dynamics/noise_scale_passes" in tracker.history.scalars
    assert len(model.weight._post_accumulate_grad_hooks) == 2  # the counting one, and the next step's


def test_a_grad_scalers_norms_are_unscaled_and_its_skipped_steps_counted():
    model = nn.Linear(6, 3)
    reference = copy.deepcopy(model)
    F.cross_entropy(reference(DATA), TARGETS).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    tracker = _tracker(model, optimizer, scaler=scaler)
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale(_loss(model) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    tracker.update(epoch=0)
    norms = _column(tracker, "gradient_norm", 1)
    assert norms["weight"] == pytest.approx(reference.weight.grad.norm().item(), rel=1e-4)
    assert tracker.get_metrics()["skipped_steps"] == 1
    assert tracker.history.tables[PARAMETERS_TAG].steps.tolist() == [1, 2]
    assert tracker.history.scalars["training_dynamics/skipped_steps"].values.tolist() == [1]
    assert not tracker.detect_gradient_issues()["nonfinite"]["detected"]
    tracker.remove_hooks()
    assert "step" not in vars(scaler)


def test_a_fused_optimizer_under_a_scaler_is_read_through_its_scale():
    model = nn.Linear(6, 3)
    reference = copy.deepcopy(model)
    _loss(reference).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    tracker = _tracker(model, optimizer, scaler=scaler)
    for factor in (1.0, float("inf")):
        optimizer.zero_grad()
        scaler.scale(_loss(model) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    tracker.update(epoch=0)
    assert _column(tracker, "gradient_norm", 1)["bias"] == pytest.approx(reference.bias.grad.norm().item(), rel=1e-4)
    assert tracker.get_metrics()["skipped_steps"] == 1


def test_several_optimizers_make_one_step():
    model = _model()
    optimizers = [torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.Adam(model[4].parameters(), lr=0.1)]
    tracker = _tracker(model, optimizers)
    for _ in range(3):
        model.zero_grad()
        _loss(model).backward()
        for optimizer in optimizers:
            optimizer.step()
    tracker.update(epoch=0)
    assert tracker.history.tables[PARAMETERS_TAG].steps.tolist() == [1, 2, 3]
    norms = _column(tracker, "gradient_norm")
    assert np.isfinite([norms["0.weight"], norms["4.weight"]]).all()
    assert np.isnan(norms["2.weight"])  # no optimizer steps it


def test_an_optimizer_inside_the_backward_pass_makes_one_step_a_pass():
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def step_now(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step_now)
    tracker = _tracker(model, list(optimizers.values()))
    for _ in range(3):
        _loss(model).backward()
    tracker.update(epoch=0)
    assert tracker.history.tables[PARAMETERS_TAG].steps.tolist() == [1, 2, 3]
    for step in (1, 2, 3):
        assert np.isfinite(list(_column(tracker, "gradient_norm", step).values())).all()


def test_parameters_added_later_get_rows_of_their_own():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    train(model, optimizer, [BATCH])
    extra = nn.Parameter(torch.ones(5))
    optimizer.add_param_group({"params": [extra]})
    optimizer.zero_grad()
    (_loss(model) + extra.sum()).backward()
    optimizer.step()
    tracker.update(epoch=0)
    tracker.update(epoch=1)
    norms = _column(tracker, "gradient_norm")
    assert norms["optimizer.6"] == pytest.approx(np.sqrt(5))
    assert list(norms)[:6] == [name for name, _ in model.named_parameters()]


def test_shared_parameters_count_once_and_those_without_gradient_are_undefined():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "idle": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    model["idle"].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    model["b"](model["a"](torch.ones(2, 4))).sum().backward()
    optimizer.step()
    tracker.update(epoch=0)
    norms = _column(tracker, "gradient_norm")
    assert list(norms) == ["a.weight", "a.bias", "b.bias", "idle.weight", "idle.bias"]
    assert np.isnan(norms["idle.weight"])


def test_autocast_bfloat16_weights_and_checkpointing():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
            self.head = nn.Linear(16, 3).to(torch.bfloat16)

        def forward(self, x):
            hidden = torch.utils.checkpoint.checkpoint(self.body, x, use_reentrant=False)
            return self.head(hidden.to(torch.bfloat16)).float()

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = _loss(model)
    loss.backward()
    optimizer.step()
    tracker.update(epoch=0)
    assert np.isfinite(list(_column(tracker, "gradient_norm").values())).all()
    assert tracker.history.histograms["gradients/head.weight"][-1].counts.sum() == 48
    assert tracker.history.histograms["activations/body.1"][-1].counts.sum() == 32 * 16  # once, not twice


def test_lazy_sparse_complex_and_empty_parameters(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, 3, sparse=True)
            self.lazy = nn.LazyLinear(2)
            self.turn = nn.Parameter(torch.ones(2, dtype=torch.complex64))
            self.nothing = nn.Parameter(torch.empty(0))

        def forward(self, tokens):
            return (self.lazy(self.embedding(tokens)) * self.turn).abs().sum() + self.nothing.sum()

    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    tracker = GradientTracker(model, optimizer, every=1, detail_every=1)
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, gradients=tracker, strict=True) as tb:
        tb.start_epoch(0)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.tensor([1, 2, 2])).backward()
            optimizer.step()
    norms = read_run(tmp_path).tables[PARAMETERS_TAG][-1]
    known = dict(zip(norms.rows, np.isfinite(norms.column("gradient_norm")).tolist(), strict=True))
    assert known == {"turn": True, "nothing": False, "embedding.weight": True, "lazy.weight": True, "lazy.bias": True}


def test_a_compiled_model_is_neither_broken_up_nor_compiled_again():
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer, every=2, detail_every=4)
    counters = torch._dynamo.utils.counters
    counters.clear()
    train(compiled, optimizer, [BATCH] * 9)
    tracker.update(epoch=0)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert tracker.history.tables[PARAMETERS_TAG].steps.tolist() == [2, 4, 6, 8]
    wrapped = GradientTracker(compiled, optimizer)
    assert list(wrapped.get_metrics()["gradient_norms"]) == []
    assert wrapped._rows.names == [name for name, _ in model.named_parameters()]


def test_without_an_optimizer_gradients_are_measured_as_backward_passes_finish():
    model = nn.Linear(6, 3)
    tracker = _tracker(model)
    for epoch in range(3):
        model.zero_grad()
        _loss(model).backward()
        expected = model.weight.grad.norm().item()
        tracker.update(epoch=epoch)
    metrics = tracker.get_metrics()
    assert metrics["epochs"] == [0, 1, 2]
    assert metrics["gradient_norms"]["weight"][-1] == pytest.approx(expected, rel=1e-5)
    assert metrics["weight_norms"]["weight"][-1] == pytest.approx(model.weight.norm().item(), rel=1e-5)
    for tag in ("gradients/weight", "weights/bias"):
        assert tracker.history.histograms[tag].steps.tolist() == [1, 2, 3]


# ------------------------------------------------------------------------------- nothing changed, nothing left


@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "raise"}, {"activations": ["*"]}])
def test_training_is_bit_identical_with_the_tracker(options):
    def trained(tracked):
        model = _model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        torch.manual_seed(7)
        tracker = _tracker(model, optimizer, **options) if tracked else None
        train(model, optimizer, [BATCH] * 12)
        if tracker is not None:
            tracker.update(epoch=0)
        return model.state_dict(), optimizer.state_dict()["state"], torch.get_rng_state()

    plain, tracked = trained(False), trained(True)
    torch.testing.assert_close(tracked, plain, rtol=0, atol=0)


@pytest.mark.parametrize("raises", [False, True])
def test_nothing_is_left_on_model_or_optimizer(tmp_path, raises):
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attributes = set(vars(model)), set(vars(optimizer))
    try:
        with TBMetrics(tmp_path, model=model, optimizer=optimizer, strict=True) as tb:
            for _ in tb.epochs(range(1)):
                train(model, optimizer, [BATCH] * 3)
                assert count_hooks(model, optimizer) > 0
                if raises:
                    raise KeyError("mine")
    except KeyError:
        assert raises
    assert count_hooks(model, optimizer) == 0
    assert (set(vars(model)), set(vars(optimizer))) == attributes


def test_a_hooked_model_can_be_copied_and_pickled_and_its_copies_are_free():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin(DATA).sum().backward()
    assert tracker._sampler._forward is None
    train(model, optimizer, [BATCH])
    tracker.update(epoch=0)
    assert tracker.get_metrics()["epochs"] == [0]


@pytest.mark.slow
def test_memory_is_bounded_over_a_long_run():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    tracker = _tracker(model, optimizer, every=1, detail_every=10, activations=False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for step in range(7_000):
        optimizer.step()
        if step % 50 == 0:
            list(tracker.history.filed(tracker.arrived()))
    tracker.update(epoch=0)
    assert len(tracker.history.tables[PARAMETERS_TAG]) <= 2000
    assert max(len(s) for s in tracker.history.scalars.values()) <= 5000
    assert max(len(s) for s in tracker.history.histograms.values()) <= 32
    assert tracker._detail_every.every == 40  # 200 details at 10, 200 at 20, then at 40
    assert tracker.history.tables[PARAMETERS_TAG].steps[-1] == 7_000


# ------------------------------------------------------------------------------------------------- session


def test_a_session_writes_it_all_and_it_reads_back(tmp_path):
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, every=2, detail_every=4)
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, gradients=tracker, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            train(model, optimizer, [BATCH] * 5)
        metrics = tb.get_metrics()["training_dynamics"]
    assert metrics["epochs"] == [0, 1]
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.tables[PARAMETERS_TAG].steps.tolist() == [2, 4, 6, 8, 10]
    for kept, read in zip(tb.history.tables[PARAMETERS_TAG], history.tables[PARAMETERS_TAG], strict=True):
        np.testing.assert_array_equal(kept.values, read.values)
    assert history.histograms["gradients/0.weight"].steps.tolist() == [4, 8]
    assert history.scalars["training_dynamics/gradient_norm/0.weight"].steps.tolist() == [2, 4, 6, 8, 10]


def test_a_session_with_a_model_tracks_it_and_can_be_told_not_to(tmp_path):
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert TBMetrics(tmp_path / "a", model=model, optimizer=optimizer).gradients is not None
    assert TBMetrics(tmp_path / "b", model=model, optimizer=optimizer, gradients=False).gradients is None
    assert TBMetrics(tmp_path / "c", optimizer=optimizer).gradients is None


def test_samples_are_written_as_they_arrive_not_at_the_end_of_the_epoch(tmp_path):
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, strict=True) as tb:
        tb.start_epoch(0)
        train(model, optimizer, [BATCH] * 2)
        tb.flush()
        assert read_run(tmp_path).tables[PARAMETERS_TAG].steps.tolist() == [1]


def test_a_resumed_run_goes_on_with_its_steps(tmp_path):
    for epochs in (range(2), range(2, 4)):
        model = _model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with TBMetrics(tmp_path, model=model, optimizer=optimizer, strict=True) as tb:
            for _ in tb.epochs(epochs):
                train(model, optimizer, [BATCH] * 10)
    steps = read_run(tmp_path).tables[PARAMETERS_TAG].steps.tolist()
    assert steps[:6] == [1, 2, 5, 10, 20, 21]  # the first of a session always


def test_update_before_hooks_says_what_is_missing():
    with pytest.raises(InputError, match=r"call register_hooks\(\) before training"):
        GradientTracker(_model()).update(epoch=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": [1]}, r"model must be a torch.nn.Module, got list"),
        ({"optimizer": "adam"}, r"optimizer must be a torch.optim.Optimizer or a sequence of them, got str"),
        ({"every": 0}, r"every must be a whole number of at least 1, got 0"),
        ({"on_nonfinite": "stop"}, r"on_nonfinite must be one of 'warn', 'raise', 'ignore', got 'stop'"),
        ({"include": ["conv*"]}, r"no parameter fits 'conv\*'"),
        ({"scaler": 2.0}, r"scaler must be a torch.amp.GradScaler, got float"),
        ({"vanishing_threshold": 5, "exploding_threshold": 1}, r"below exploding_threshold, got 5 and 1"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, message):
    options = {"model": _model(), **options}
    with pytest.raises(InputError, match=message):
        GradientTracker(**options)


@pytest.mark.slow
def test_a_plain_loop_writes_its_figures(tmp_path):
    model = _model()
    tracker = GradientTracker(model=model, save_dir=tmp_path)
    tracker.register_hooks()
    _loss(model).backward()
    tracker.update(epoch=1, batch=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = tracker.visualize()
    tracker.remove_hooks()
    assert {path.stem for path in tmp_path.glob("*.png")} == set(drawn)
    assert {"gradient_flow", "gradient_heatmap", "gradient_by_depth"} <= set(drawn)


# ------------------------------------------------------------------------------------- steps with a closure


@pytest.mark.parametrize("by_keyword", [False, True])
def test_with_a_closure_the_gradients_are_those_that_it_makes(by_keyword):
    model, twin = _model(), _model()
    optimizer, of_twin = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin))
    tracker = _tracker(model, optimizer)

    def closure():
        optimizer.zero_grad()
        loss = _loss(model)
        loss.backward()
        return loss

    norms, losses = [], []
    torch.manual_seed(3)
    for _ in range(3):
        of_twin.zero_grad()
        loss = _loss(twin)
        loss.backward()
        norms.append(float(sum((p.grad.double() ** 2).sum() for p in twin.parameters()).sqrt()))
        of_twin.step()
        losses.append(float(loss.detach()))
    torch.manual_seed(3)
    returned = [optimizer.step(closure=closure) if by_keyword else optimizer.step(closure) for _ in range(3)]
    tracker.update(epoch=0)
    assert [float(loss.detach()) for loss in returned] == pytest.approx(losses)
    measured = tracker.history.scalars["training_dynamics/gradient_norm"]
    assert measured.values == pytest.approx(norms, rel=1e-5)
    ratios = _column(tracker, "update_ratio")
    for name, parameter in twin.named_parameters():
        change, before = 0.1 * parameter.grad.norm(), (parameter + 0.1 * parameter.grad).norm()
        assert ratios[name] == pytest.approx(float((change / before).detach()), rel=1e-2)


def test_a_closure_that_runs_many_times_is_measured_at_its_first():
    model = nn.Linear(6, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    tracker = _tracker(model, optimizer)
    norms = []

    def closure():
        optimizer.zero_grad()
        loss = _loss(model)
        loss.backward()
        norms.append(float(sum((p.grad.double() ** 2).sum() for p in model.parameters()).sqrt()))
        return loss

    optimizer.step(closure)
    tracker.update(epoch=0)
    assert len(norms) > 1
    measured = tracker.history.scalars["training_dynamics/gradient_norm"].values
    assert measured == pytest.approx(norms[:1], rel=1e-5)
