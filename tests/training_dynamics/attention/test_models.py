"""Captured attention of real architectures with random weights, against their own eager attentions."""

import pytest
import torch

from tbmetrics.training_dynamics.attention.capture import AttentionCapture
from tbmetrics.training_dynamics.attention.weights import Bounds

transformers = pytest.importorskip("transformers", reason="needs transformers (in the dev extra)")
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TOKENS = {"input_ids": torch.arange(2, 14).reshape(2, 6), "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2])}
PIXELS = {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))}
VISION = {"image_size": 32, "patch_size": 8}


def _bert():
    return transformers.BertModel, transformers.BertConfig(vocab_size=50, **SMALL), TOKENS, "attentions"


def _vit():
    return transformers.ViTModel, transformers.ViTConfig(**SMALL, **VISION), PIXELS, "attentions"


def _gpt2():
    config = transformers.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=16)
    return transformers.GPT2Model, config, TOKENS, "attentions"


def _llama():
    config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=2, **SMALL)
    return transformers.LlamaModel, config, TOKENS, "attentions"


def _swin():
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 4], window_size=4
    )
    return transformers.SwinModel, config, PIXELS, "attentions"


def _clip():
    config = transformers.CLIPVisionConfig(**SMALL, **VISION)
    return transformers.CLIPVisionModel, config, PIXELS, "attentions"


def _built(make, implementation):
    kind, config, inputs, where = make()
    torch.manual_seed(0)
    config._attn_implementation = implementation
    return kind._from_config(config, attn_implementation=implementation).eval(), inputs, where


def _captured(model, inputs, samples=64):
    capture = AttentionCapture(model, Bounds(samples, 512), 1 << 28)
    with torch.no_grad(), capture:
        model(**inputs)
    return capture.report()


@pytest.mark.parametrize("make", [_bert, _vit, _gpt2, _llama, _clip, _swin], ids=lambda f: f.__name__[1:])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_maps_equal_the_models_own(make, implementation):
    eager, inputs, where = _built(make, "eager")
    with torch.no_grad():
        expected = getattr(eager(**inputs, output_attentions=True), where)
    model, _, _ = _built(make, implementation)
    model.load_state_dict(eager.state_dict())
    report = _captured(model, inputs)
    assert len(report.maps) == len(expected)
    for found, reference in zip(report.maps, expected, strict=True):
        reference = reference.reshape(-1, *reference.shape[-3:])
        rows = inputs.get("attention_mask", torch.ones(len(reference), 1))[:, None, :, None].bool()
        rows = rows if rows.shape[2] == reference.shape[2] else torch.ones(1, 1, 1, 1, dtype=torch.bool)
        torch.testing.assert_close(found.weights * rows, reference * rows, rtol=0, atol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_an_encoder_and_decoder_with_cross_attention(implementation):
    config = transformers.T5Config(
        vocab_size=50,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )

    def make():
        inputs = {**TOKENS, "decoder_input_ids": torch.arange(2, 12).reshape(2, 5)}
        return transformers.T5Model, config, inputs, ""

    eager, inputs, _ = _built(make, "eager")
    with torch.no_grad():
        output = eager(**inputs, output_attentions=True)
    model, _, _ = _built(make, implementation)
    model.load_state_dict(eager.state_dict())
    maps = _captured(model, inputs).maps
    own = zip(output.decoder_attentions, output.cross_attentions, strict=True)
    expected = [*output.encoder_attentions, *(one for pair in own for one in pair)]
    assert len(maps) == len(expected)
    for found, reference in zip(maps, expected, strict=True):
        torch.testing.assert_close(found.weights, reference, rtol=0, atol=1e-5)
