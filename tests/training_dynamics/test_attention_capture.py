"""Captured attention against eager references, over the ways in which models attend; outputs are left as they are."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tbmetrics.training_dynamics.attention_capture import AttentionCapture
from tbmetrics.training_dynamics.attention_weights import Bounds

BOUNDS = Bounds(max_samples=2, max_tokens=512)


def _capture(model, *args, bounds=BOUNDS, max_bytes=1 << 28, modules=None, **kwargs):
    capture = AttentionCapture(model, bounds, max_bytes, modules)
    with capture:
        output = model(*args, **kwargs)
    return output, capture.report()


def _maps(report):
    return {found.module: found.weights for found in report.maps}


def _softmax64(query, key, mask=None, scale=None):
    query, key = query.double(), key.double()
    if key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = query @ key.transpose(-1, -2) * (scale or query.shape[-1] ** -0.5)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.double()
    return torch.softmax(scores, -1)


class _Fused(nn.Module):
    """Fused attention with the options of the functional form."""

    def forward(self, q, k, v, **options):
        return F.scaled_dot_product_attention(q, k, v, **options)


def _qkv(batch=3, heads=4, queries=10, keys=10, width=8, groups=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch, heads, queries, width), *[(batch, groups or heads, keys, width)] * 2)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


CAUSAL = torch.ones(10, 10, dtype=torch.bool).tril()
FLOAT_MASK = torch.randn(3, 1, 10, 10, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        ({}, None),
        ({"is_causal": True}, CAUSAL),
        ({"attn_mask": CAUSAL}, CAUSAL),
        ({"attn_mask": FLOAT_MASK}, FLOAT_MASK),
        ({"attn_mask": FLOAT_MASK[0, 0]}, FLOAT_MASK[0, 0]),
        ({"scale": 0.3}, None),
        ({"dropout_p": 0.5}, None),
    ],
)
@pytest.mark.parametrize("backend", ["flash", "math"])
def test_fused_attention_with_its_options(options, mask, backend):
    kernel = {"flash": nn.attention.SDPBackend.FLASH_ATTENTION, "math": nn.attention.SDPBackend.MATH}[backend]
    if backend == "flash" and options.get("dropout_p"):
        pytest.skip("the CPU's flash kernel has no dropout")
    q, k, v = _qkv()
    with nn.attention.sdpa_kernel(kernel):
        _, report = _capture(_Fused(), q, k, v, **options)
    expected = _softmax64(q, k, mask, options.get("scale"))[:2]
    (found,) = report.maps
    assert found.weights.shape == (2, 4, 10, 10)
    torch.testing.assert_close(found.weights.double(), expected, rtol=0, atol=1e-5)


def test_grouped_queries_and_keys_of_another_length():
    q, k, v = _qkv(heads=4, groups=2, queries=7, keys=12)
    _, report = _capture(_Fused(), q, k, v, enable_gqa=True)
    torch.testing.assert_close(report.maps[0].weights.double(), _softmax64(q, k)[:2], rtol=0, atol=1e-5)


def test_a_row_that_sees_nothing_is_zero():
    mask = CAUSAL.clone()
    mask[3] = False
    q, k, v = _qkv()
    _, report = _capture(_Fused(), q, k, v, attn_mask=mask)
    weights = report.maps[0].weights
    assert weights[:, :, 3].abs().max() == 0
    torch.testing.assert_close(weights.sum(-1)[:, :, 4:], torch.ones(2, 4, 6))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_multihead_attention(need_weights, batch_first, training):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(16, 4, batch_first=batch_first).train(training)
    x = torch.randn(3, 5, 16)
    given = x if batch_first else x.transpose(0, 1)
    padding = torch.tensor([[False] * 5, [False, False, False, True, True], [False] * 5])
    options = {"key_padding_mask": padding, "need_weights": need_weights, "average_attn_weights": False}
    with torch.set_grad_enabled(training):
        _, report = _capture(layer, given, given, given, **options)
        _, expected = layer(given, given, given, **{**options, "need_weights": True})
    (found,) = report.maps
    torch.testing.assert_close(found.weights, expected[:2].detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_transformer_encoder_in_training_and_on_its_fast_path(norm_first, training, padded):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first).train(training)
    x = torch.randn(3, 6, 16)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 4:] = padded
    masks = {"src_key_padding_mask": padding} if padded else {}
    with torch.set_grad_enabled(training):
        _, report = _capture(encoder, x, **masks)
    maps = _maps(report)
    assert list(maps) == ["layers.0.self_attn", "layers.1.self_attn"]
    first = encoder.layers[0]
    with torch.no_grad():
        seen = first.norm1(x) if norm_first else x
        options = {"key_padding_mask": padding} if padded else {}
        _, expected = copy.deepcopy(first.self_attn).train()(seen, seen, seen, average_attn_weights=False, **options)
    valid = ~padding[:2, None, :, None]
    torch.testing.assert_close(maps["layers.0.self_attn"] * valid, expected[:2] * valid, rtol=0, atol=1e-5)


class _Explicit(nn.Module):
    """Class prompts that look at image features with a softmax written out; a router and a classifier beside it."""

    def __init__(self, heads=2):
        super().__init__()
        torch.manual_seed(0)
        self.heads = heads
        self.prompts = nn.Parameter(torch.randn(4, 8))
        self.gate = nn.Linear(8, 3)
        self.experts = nn.Parameter(torch.randn(3, 8, 8))
        self.classifier = nn.Linear(8, 5)

    def scores(self, x):
        q = self.prompts.expand(len(x), -1, -1).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return q @ k.transpose(-1, -2) / 2

    def forward(self, x):
        weights = F.dropout(self.scores(x).softmax(-1), 0.0)
        v = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        seen = (weights @ v).transpose(1, 2).flatten(2)
        routed = torch.einsum("bqe,eij,bqj->bqi", self.gate(seen).softmax(-1), self.experts, seen)
        return self.classifier(routed.mean(1)).softmax(-1)


def test_an_explicit_softmax_is_found_by_the_data_that_flows_and_no_other():
    model, x = _Explicit(), torch.randn(3, 6, 8)
    _, report = _capture(model, x)
    (found,) = report.maps
    torch.testing.assert_close(found.weights, model.scores(x).softmax(-1)[:2].detach(), rtol=0, atol=1e-6)
    assert found.tokens == (4, 6)


def test_a_classifier_is_rejected_and_says_why():
    _, report = _capture(nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), torch.randn(4, 8))
    assert report.maps == []
    assert report.rejected == {"1": "its scores do not come from a batched matrix product"}


def test_attention_scores_that_nothing_takes_are_rejected():
    class Similarity(nn.Module):
        def forward(self, x):
            return (x @ x.transpose(-1, -2)).softmax(-1).sum()

    _, report = _capture(Similarity(), torch.randn(2, 4, 8))
    assert report.maps == []
    assert report.rejected == {"model": "no matrix product took its result"}


def test_a_module_that_attends_twice_is_numbered_and_modules_are_chosen_by_pattern():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.MultiheadAttention(8, 2, batch_first=True), nn.MultiheadAttention(8, 2)

        def forward(self, x):
            return self.b(*[self.a(*[self.a(x, x, x)[0]] * 3)[0]] * 3)[0]

    x = torch.randn(2, 4, 8)
    assert list(_maps(_capture(Twice(), x)[1])) == ["a#0", "a#1", "b"]
    assert list(_maps(_capture(Twice(), x, modules=["b"])[1])) == ["b"]


def test_maps_are_bounded_in_tokens_and_bytes():
    q, k, v = _qkv(batch=2, queries=300, keys=300)
    _, report = _capture(_Fused(), q, k, v, bounds=Bounds(1, 50))
    rows = Bounds(1, 50).positions(300)
    expected = _softmax64(q, k)[:1][:, :, rows][..., rows]
    torch.testing.assert_close(report.maps[0].weights.double(), expected, rtol=0, atol=1e-5)
    assert report.maps[0].tokens == (300, 300)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(24, 12, 24, batch_first=True), 12)
    _, report = _capture(encoder, torch.randn(2, 1024, 24), bounds=Bounds(2, 1024), max_bytes=2 * 12 * 1024**2 * 4 * 3)
    assert len(report.maps) == 3
    assert len(report.over_budget) == 9


def test_checkpointing_is_captured_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

        def forward(self, x):
            return checkpoint(self.layer, x, use_reentrant=False).sum()

    model = Net()
    loss, report = _capture(model, torch.randn(2, 5, 16))
    loss.backward()
    assert list(_maps(report)) == ["layer.self_attn"]


def test_autocast_maps_are_float32_and_close():
    q, k, v = _qkv(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, report = _capture(_Fused(), q, k, v)
    assert report.maps[0].weights.dtype == torch.float32
    torch.testing.assert_close(report.maps[0].weights.double(), _softmax64(q, k)[:2], rtol=0, atol=1e-5)


def test_windowed_attention_keeps_its_windows_as_samples():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            windows = x.reshape(-1, 4, 8)
            return self.attention(windows, windows, windows)[0]

    _, report = _capture(Windows(), torch.randn(3, 16, 8))
    assert report.maps[0].weights.shape == (2, 2, 4, 4)


class _Block(nn.Module):
    """A transformer block as vision libraries write it: one projection to q, k and v; fused or written out."""

    def __init__(self, fused, width=16, heads=4):
        super().__init__()
        self.fused, self.heads = fused, heads
        self.qkv, self.proj, self.norm = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.LayerNorm(width)

    def scores(self, x):
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q * q.shape[-1] ** -0.5, k, v

    def forward(self, x):
        q, k, v = self.scores(x)
        if self.fused:
            seen = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        else:
            weights = (q @ k.transpose(-2, -1)).softmax(dim=-1)
            seen = F.dropout(weights, 0.1, self.training) @ v
        return x + self.proj(seen.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_vision_transformer_in_the_usual_style(fused, training):
    torch.manual_seed(0)
    model = nn.Sequential(_Block(fused), _Block(fused)).train(training)
    x = torch.randn(2, 17, 16)
    _, report = _capture(model, x)
    maps = _maps(report)
    assert list(maps) == ["0", "1"]
    q, k, _ = model[0].scores(x)
    torch.testing.assert_close(maps["0"].double(), _softmax64(q, k, scale=1.0), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_with_a_modified_score_and_a_block_mask():
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def bias(score, b, h, q, k):
        return score + 0.1 * (q - k)

    class Flex(nn.Module):
        def forward(self, q, k, v, mask):
            return flex_attention(q, k, v, score_mod=bias, block_mask=mask)

    q, k, v = (t.detach() for t in _qkv())
    mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, 10, 10, device="cpu")
    _, report = _capture(Flex(), q, k, v, mask)
    difference = torch.arange(10)[:, None] - torch.arange(10)[None]
    scores = q.double() @ k.double().transpose(-1, -2) / math.sqrt(8) + 0.1 * difference
    expected = scores.masked_fill(difference < 0, -math.inf).softmax(-1)[:2]
    torch.testing.assert_close(report.maps[0].weights.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [_Explicit, lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)])
def test_outputs_gradients_and_random_state_are_bit_identical(make):
    def step(captured):
        torch.manual_seed(0)
        model = make()
        x = torch.randn(3, 6, 8)
        output = _capture(model, x)[0] if captured else model(x)
        output.square().sum().backward()
        return output.detach(), [p.grad for p in model.parameters()], torch.get_rng_state()

    torch.testing.assert_close(step(True), step(False), rtol=0, atol=0)
