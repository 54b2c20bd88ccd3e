"""Hooks that stay out of copies, pickles, scripts, traces, exports, graphs and function transforms."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from tbmetrics import AttentionVisualizer, GradientTracker, TBMetrics
from tbmetrics.tracking.hooks import after_forward, before_forward
from tests.training import count_hooks

DATA = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def _saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    assert b"tbmetrics" not in file.getvalue()
    file.seek(0)
    return torch.load(file, weights_only=False)


def _unpickled(model):
    content = pickle.dumps(model)
    assert b"tbmetrics" not in content
    return pickle.loads(content)


def _per_sample(model):
    def loss(parameters, x):
        return functional_call(model, parameters, (x[None],)).square().sum()

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    return vmap(grad(loss), in_dims=(None, 0))(parameters, DATA)["0.weight"]


def _traced_by_proxies(model):
    graph = make_fx(model)(DATA)
    assert not [node for node in graph.graph.nodes if "amax" in str(node.target)]
    return graph(DATA)


USES = {
    "deepcopy": lambda model: copy.deepcopy(model)(DATA),
    "pickle": lambda model: _unpickled(model)(DATA),
    "torch.save": lambda model: _saved(model)(DATA),
    "jit.script": lambda model: torch.jit.script(model)(DATA),
    "jit.script within": lambda model: torch.jit.script(nn.Sequential(model, nn.ReLU()))(DATA),
    "jit.script of a copy": lambda model: torch.jit.script(copy.deepcopy(model))(DATA),
    "jit.trace": lambda model: torch.jit.trace(model, DATA)(DATA),
    "export": lambda model: torch.export.export(model, (DATA,)).module()(DATA),
    "fx": lambda model: torch.fx.symbolic_trace(model)(DATA),
    "make_fx": _traced_by_proxies,
    "compile": lambda model: torch.compile(model, backend="eager", fullgraph=True)(DATA),
    "averaged": lambda model: torch.optim.swa_utils.AveragedModel(model)(DATA),
    "vmap": _per_sample,
    "jacrev": lambda model: jacrev(model)(DATA),
    "checkpoint": lambda model: torch.utils.checkpoint.checkpoint(model, DATA, use_reentrant=False),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*TorchScript:", "ignore:.*torch.jit:")
@pytest.mark.parametrize("use", USES)
def test_a_watched_model_is_used_as_if_it_were_not(tmp_path, use):
    torch._dynamo.reset()
    model = _model()
    expected = USES[use](model).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    gradients = GradientTracker(model, optimizer, every=1, detail_every=1)
    attention = AttentionVisualizer(model, quiet=True)
    options = {"optimizer": optimizer, "gradients": gradients, "attention": attention, "strict": True}
    with TBMetrics(tmp_path, model=model, **options) as tb:
        tb.start_epoch(0)
        torch.testing.assert_close(USES[use](model).detach(), expected, rtol=0, atol=0)
        model.zero_grad()
        model(DATA).square().sum().backward()
        torch.testing.assert_close(USES[use](model).detach(), expected, rtol=0, atol=0)
        truth = model[0].weight.grad.double().norm().item()
        optimizer.step()
        tb.end_epoch()
        assert tb.get_metrics()["training_dynamics"]["gradient_norms"]["0.weight"] == [pytest.approx(truth, rel=1e-6)]
    assert count_hooks(model, optimizer) == 0


def _twice(module, args, output):
    return 2 * output


def test_beside_a_hook_of_the_users_ours_is_pickled_as_one_that_does_nothing_and_needs_no_tbmetrics():
    model = nn.Linear(4, 2)
    model.register_forward_hook(_twice)
    expected = model(DATA)
    after_forward(model, lambda *_: pytest.fail("the copy is watched"), always=True)
    before_forward(model, lambda *_: pytest.fail("the copy is watched"))
    for twin in (_unpickled(model), _saved(model), copy.deepcopy(model)):
        torch.testing.assert_close(twin(DATA), expected, rtol=0, atol=0)


def test_the_users_hooks_run_and_are_copied_and_removed_as_ever():
    model, calls = nn.Linear(4, 2), []
    ours = before_forward(model, lambda *_: calls.append("ours"))
    theirs = model.register_forward_pre_hook(lambda *_: calls.append("theirs"))
    model(DATA)
    copy.deepcopy(model)(DATA)
    ours.remove()
    model(DATA)
    theirs.remove()
    model(DATA)
    ours.remove()
    assert calls == ["ours", "theirs", "theirs", "theirs"]


def test_the_tables_of_hooks_are_torchs_own_again_afterwards():
    model = nn.Linear(4, 2)
    tables = type(model._forward_hooks), type(model._forward_pre_hooks)
    handles = [before_forward(model, print), after_forward(model, print), after_forward(model, print, always=True)]
    for handle in handles:
        handle.remove()
    assert (type(model._forward_hooks), type(model._forward_pre_hooks)) == tables


def test_a_scaler_is_copied_and_pickled_with_torchs_own_step():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    tracker = GradientTracker(model, optimizer, scaler=scaler)
    tracker.register_hooks()
    for twin in (copy.deepcopy(scaler), _saved(scaler)):
        before = model[0].weight.detach().clone()
        twin.scale(model(DATA).square().sum()).backward()
        twin.step(optimizer)
        twin.update()
        assert not torch.equal(model[0].weight, before)
    tracker.remove_hooks()
