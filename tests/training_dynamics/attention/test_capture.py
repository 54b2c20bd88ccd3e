"""Captured attention against eager references, over the ways in which models attend; outputs are left as they are."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tbmetrics.training_dynamics.attention import capture as attention_capture
from tbmetrics.training_dynamics.attention.capture import AttentionCapture
from tbmetrics.training_dynamics.attention.weights import Bounds


def _capture(model, *args, bounds=None, max_bytes=1 << 28, modules=None, **kwargs):
    capture = AttentionCapture(model, bounds or Bounds(max_samples=2, max_tokens=512), max_bytes, modules)
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
    assert found.sample.tokens == (4, 6)


class _Prompts(nn.Module):
    """Image features look at class prompts that all samples share: products of plain matrices, as authors write it."""

    def __init__(self, projected):
        super().__init__()
        torch.manual_seed(0)
        self.prompts = nn.Parameter(torch.randn(4, 8))
        self.key, self.value = (nn.Linear(8, 8) if projected else nn.Identity() for _ in range(2))

    def weights(self, x):
        return (x @ self.key(self.prompts).T * 8**-0.5).softmax(dim=-1)

    def forward(self, x):
        return self.weights(x) @ self.value(self.prompts)


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("shape", [(3, 6, 8), (5, 8)])
def test_class_prompts_shared_by_all_samples_are_keys(projected, shape):
    model, x = _Prompts(projected), torch.randn(shape)
    (found,) = _capture(model, x)[1].maps
    expected = model.weights(x).detach()
    expected = expected[:2, None] if x.dim() == 3 else expected[None, None]
    torch.testing.assert_close(found.weights, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tokens", [3, 5, 6])
@pytest.mark.parametrize("batched", [True, False])
def test_queries_that_are_the_models_own_weights_attend(tokens, batched):
    class Pooling(nn.Module):
        def __init__(self):
            super().__init__()
            self.queries = nn.Parameter(torch.randn(3, 8))

        def forward(self, x):
            queries = self.queries.expand(len(x), -1, -1) if batched else self.queries
            return (queries @ x.transpose(1, 2) / 3).softmax(-1) @ x

    found = _capture(Pooling(), torch.randn(2, tokens, 8))[1].maps
    assert [m.weights.shape for m in found] == [(2, 1, 3, tokens)]


def test_attention_pooling_is_one_learned_query():
    class Pooling(nn.Module):
        def __init__(self):
            super().__init__()
            self.score = nn.Linear(8, 1)

        def forward(self, x):
            return self.score(x).transpose(1, 2).softmax(-1) @ x

    model, x = Pooling(), torch.randn(2, 5, 8)
    (found,) = _capture(model, x)[1].maps
    torch.testing.assert_close(found.weights[:, 0, 0], model.score(x)[..., 0].softmax(-1).detach())


def test_a_sink_beside_the_keys_is_one_more_key():
    class Sink(nn.Module):
        def forward(self, q, k, v):
            scores = torch.cat([q @ k.transpose(-1, -2), q.new_zeros(*q.shape[:-1], 1)], -1)
            return scores.softmax(-1)[..., :-1] @ v

    assert _capture(Sink(), *_qkv())[1].maps[0].weights.shape == (2, 4, 10, 11)


def _gate(scores):
    class Gate(nn.Module):
        """A mixture of experts in which a matrix product takes the gate's softmax."""

        def __init__(self):
            super().__init__()
            self.gate, self.experts = nn.Parameter(torch.randn(8, 3)), nn.Parameter(torch.randn(3, 8, 8))

        def forward(self, x):
            return torch.einsum("bne,edf,bnd->bnf", scores(x, self.gate).softmax(-1), self.experts, x)

    return Gate()


@pytest.mark.parametrize(
    "scores",
    [
        lambda x, w: x @ w,
        lambda x, w: torch.einsum("bnd,de->bne", x, w),
        lambda x, w: torch.bmm(x, w.expand(len(x), -1, -1)),
        lambda x, w: F.normalize(x, dim=-1) @ F.normalize(w, dim=0),
        lambda x, w: (x.bfloat16() @ w.bfloat16()).float(),
    ],
    ids=["linear", "einsum", "batched", "cosine", "cast"],
)
def test_a_gate_is_no_attention_however_it_is_written(scores):
    _, report = _capture(_gate(scores), torch.randn(2, 5, 8))
    assert report.maps == []
    assert report.rejected == {"model": "its scores come from a layer's own weights, as a classifier's or a gate's do"}


def test_a_softmax_over_another_dimension_is_rejected():
    class Slots(nn.Module):
        def forward(self, q, k, v):
            return (q @ k.transpose(-1, -2)).softmax(-2) @ v

    _, report = _capture(Slots(), *_qkv())
    assert report.maps == []
    assert report.rejected == {"model": "it is not over the last dimension"}


def test_a_module_named_exactly_is_taken_at_its_word():
    class Additive(nn.Module):
        """Scores that are no product of queries and keys (Bahdanau et al., 2015)."""

        def forward(self, x):
            return (x[:, :, None] + x[:, None]).tanh().sum(-1).softmax(-1) @ x

    model = nn.Sequential(Additive())
    assert _capture(model, torch.randn(2, 5, 8))[1].maps == []
    assert _capture(model, torch.randn(2, 5, 8), modules=["*"])[1].maps == []
    assert list(_maps(_capture(model, torch.randn(2, 5, 8), modules=["0"])[1])) == ["0"]


def test_a_kernel_whose_weights_cannot_be_recomputed_is_named():
    @torch.library.custom_op("tbmetrics_test::paged_attention", mutates_args=())
    def paged_attention(q: torch.Tensor) -> torch.Tensor:
        return q.clone()

    class Paged(nn.Module):
        def forward(self, q):
            return paged_attention(q)

    _, report = _capture(nn.Sequential(Paged()), torch.randn(2, 3))
    assert report.rejected == {"0": "the weights of tbmetrics_test::paged_attention cannot be recomputed"}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_without_gradients(mode):
    q, k, v = (t.detach() for t in _qkv())
    model, x = _Explicit().eval(), torch.randn(3, 6, 8)
    with mode():
        output, fused = _capture(_Fused(), q, k, v, is_causal=True)
        explicit_output, explicit = _capture(model, x)
        assert torch.equal(output, _Fused()(q, k, v, is_causal=True))
        assert torch.equal(explicit_output, model(x))
    torch.testing.assert_close(fused.maps[0].weights.double(), _softmax64(q, k, CAUSAL)[:2], rtol=0, atol=1e-5)
    torch.testing.assert_close(explicit.maps[0].weights, model.scores(x).softmax(-1)[:2].detach(), rtol=0, atol=1e-6)


def test_a_fault_in_the_capture_never_reaches_the_pass(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(attention_capture, "handler_of", broken)
    q, k, v = _qkv()
    output, report = _capture(_Fused(), q, k, v)
    assert torch.equal(output, _Fused()(q, k, v))
    assert isinstance(report.fault, ZeroDivisionError)
    assert report.maps == []


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer_decoder_with_its_cross_attention(training, batch_first):
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(16, 4, 32, dropout=0.0, batch_first=batch_first).train(training)
    target, memory = torch.randn(3, 5, 16), torch.randn(3, 7, 16)
    given = (target, memory) if batch_first else (target.transpose(0, 1), memory.transpose(0, 1))
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    with torch.set_grad_enabled(training):
        _, report = _capture(layer, *given, tgt_mask=mask, tgt_is_causal=True)
    with torch.no_grad():
        options = {"average_attn_weights": False}
        own_output, own = layer.self_attn(*[given[0]] * 3, attn_mask=mask, **options)
        seen = layer.norm1(given[0] + own_output)
        _, cross = layer.multihead_attn(seen, given[1], given[1], **options)
    maps = _maps(report)
    assert list(maps) == ["self_attn", "multihead_attn"]
    torch.testing.assert_close(maps["self_attn"], own[:2], rtol=0, atol=1e-5)
    torch.testing.assert_close(maps["multihead_attn"], cross[:2], rtol=0, atol=1e-5)


class _Block(nn.Module):
    """Attention as vision transformers of the timm family write it: one projection, fused or not, norms on q and k."""

    def __init__(self, fused):
        super().__init__()
        self.fused, self.num_heads = fused, 3
        self.norm, self.qkv, self.proj = nn.LayerNorm(24), nn.Linear(24, 72), nn.Linear(24, 24)
        self.q_norm, self.k_norm, self.attn_drop = nn.LayerNorm(8), nn.LayerNorm(8), nn.Dropout(0.5)

    def qk(self, x):
        q, k, v = self.qkv(self.norm(x)).reshape(*x.shape[:2], 3, 3, 8).permute(2, 0, 3, 1, 4).unbind(0)
        return self.q_norm(q), self.k_norm(k), v

    def forward(self, x):
        q, k, v = self.qk(x)
        if self.fused:
            seen = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5 if self.training else 0.0)
        else:
            seen = self.attn_drop((q * 8**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)) @ v
        return x + self.proj(seen.transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_vision_transformer_in_the_style_of_timm(fused, training):
    torch.manual_seed(0)
    model = nn.Sequential(_Block(fused), _Block(fused), nn.Flatten(), nn.Linear(17 * 24, 5), nn.Softmax(-1))
    model.train(training)
    x = torch.randn(3, 17, 24)
    maps = _maps(_capture(model, x)[1])
    assert list(maps) == ["0", "1"]
    q, k, _ = model[0].qk(x)
    torch.testing.assert_close(maps["0"].double(), _softmax64(q, k)[:2].detach(), rtol=0, atol=1e-5)


def test_a_classifier_is_rejected_and_says_why():
    _, report = _capture(nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), torch.randn(4, 8))
    assert report.maps == []
    assert report.rejected == {"1": "its scores come from a layer's own weights, as a classifier's or a gate's do"}


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


def test_many_tokens_are_cut_and_what_overlays_need_is_not():
    q, k, v = _qkv(batch=2, queries=300, keys=300)
    _, report = _capture(_Fused(), q, k, v, bounds=Bounds(1, 50))
    expected = _softmax64(q, k)[:1]
    kept = report.maps[0].sample
    torch.testing.assert_close(kept.weights.double(), expected[:, :, ::8, ::8], rtol=0, atol=1e-5)
    assert (kept.tokens, kept.steps, kept.batch) == ((300, 300), (8, 8), 2)
    torch.testing.assert_close(kept.rows.double(), expected.mean(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(kept.mean.double(), expected.mean((1, 2)), rtol=0, atol=1e-5)


def test_rows_that_take_too_much_are_the_first_alone():
    q, k, v = _qkv(batch=1, heads=1, queries=1500, keys=1500)
    _, report = _capture(_Fused(), q, k, v, bounds=Bounds(1, 50, rows_bytes=100_000))
    kept, expected = report.maps[0].sample, _softmax64(q, k)
    torch.testing.assert_close(kept.weights.double(), expected[:, :, ::32, ::32], rtol=0, atol=1e-5)
    torch.testing.assert_close(kept.rows.double(), expected[:, 0, :1], rtol=0, atol=1e-5)
    torch.testing.assert_close(kept.mean.double(), expected[:, 0, ::32].mean(1), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_pass_stays_within_its_bytes_and_keeps_every_layer():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(24, 12, 24, batch_first=True), 12)
    x, bounds, most = torch.randn(2, 512, 24), Bounds(2, 512), 8 * 2**20
    _, report = _capture(encoder, x, bounds=bounds, max_bytes=most)
    assert len(report.maps) == 12
    assert sum(found.sample.size for found in report.maps) <= most
    assert len({found.weights.shape for found in report.maps}) == 1
    again = _capture(encoder, x, bounds=bounds, max_bytes=most)[1]
    assert again.maps[0].weights.shape == report.maps[-1].weights.shape
    torch.testing.assert_close(again.maps[0].weights, report.maps[0].weights, rtol=0, atol=1e-6)


def test_maps_that_fit_in_no_form_are_left_out_and_named():
    _, report = _capture(nn.MultiheadAttention(8, 2), *[torch.randn(4, 2, 8)] * 3, max_bytes=10)
    assert report.maps == []
    assert report.over_budget == ["model"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_captured_once(reentrant):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

        def forward(self, x):
            return checkpoint(self.layer, x, use_reentrant=reentrant).sum()

    model = Net()
    loss, report = _capture(model, torch.randn(2, 5, 16, requires_grad=True))
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


@pytest.mark.slow
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
