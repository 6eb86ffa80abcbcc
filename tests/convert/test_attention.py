"""torch's own transformer layers."""

import pytest
import torch
from torch import nn

import spikeport as sp
from spikeport.convert import ConversionError, Neuron
from spikeport.convert.saving.container import load, save


def tokens(self, x):
    return self.conv(x).flatten(2).transpose(1, 2)


@torch.no_grad()
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("mask", [False, True])
def test_attention_is_traced_through(first, mask, written, images, converted, tmp_path):
    def forward(self, x):
        x = tokens(self, x)
        if not first:
            x = x.transpose(0, 1)
        bias = self.bias if mask else None
        mixed, weights = self.attention(x, x, x, attn_mask=bias)
        other, _ = self.cross(x, mixed, mixed, need_weights=False)
        if not first:
            mixed, other = mixed.transpose(0, 1), other.transpose(0, 1)
        return mixed, other, weights

    kinds = {"batch_first": first, "num_heads": 2, "embed_dim": 4}
    model = written(
        forward,
        attention=nn.MultiheadAttention(**kinds),
        cross=nn.MultiheadAttention(**kinds, bias=False),
    )
    model.bias = nn.Parameter(torch.randn(64, 64))
    snn = converted(model, images, Neuron(16, 16))
    for found, at_128, expected in zip(
        snn.analog(images), snn(images, 128), model(images), strict=True
    ):
        assert torch.allclose(found, expected, atol=1e-5)
        assert (at_128 - expected).abs().max() < 0.05 * expected.abs().max()
    assert snn.analog_layers() == []
    assert type(model.attention) is nn.MultiheadAttention
    save(snn, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn").analog(images)[0], snn.analog(images)[0])


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layers_are_traced_through(norm_first, written, images, converted):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    model = written(lambda self, x: self.encoder(tokens(self, x)).mean(1), encoder=encoder)
    snn = converted(model, images, Neuron(16, 16))
    assert torch.allclose(snn.analog(images), model(images), atol=1e-5)
    assert {"encoder.layers.0.relu", "encoder.layers.1.relu"} <= snn.neurons.keys()


def masks(kind, sizes):
    """A mask for the pairs [L, S] and one for the padding [B, S]."""
    rows, length = sizes
    pairs = torch.ones(length, length, dtype=torch.bool).triu(2)
    padding = torch.zeros(rows, length, dtype=torch.bool)
    padding[1:, -3:] = True
    if kind == "bool":
        return pairs, padding
    return tuple(torch.randn(mask.shape).masked_fill(mask, -torch.inf) for mask in (pairs, padding))


class Masked(nn.Module):
    def __init__(self, pairs):
        super().__init__()
        self.first, self.attention = nn.Linear(4, 4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.register_buffer("pairs", pairs)

    def forward(self, x, padding=None):
        x = self.first(x).relu()
        return self.attention(x, x, x, attn_mask=self.pairs, key_padding_mask=padding)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("given", ["pairs", "padding", "both"])
def test_masks_hide_keys(kind, given):
    pairs, padding = masks(kind, (4, 6))
    model, x = Masked(None if given == "padding" else pairs).eval(), torch.randn(4, 6, 4)
    batch = {"x": x, "padding": padding} if given != "pairs" else {"x": x}
    snn = sp.to_snn(model, [batch], neuron="16:16", recipe="max", progress=False)
    found, expected, late = snn.analog(batch), model(**batch), snn(batch, 128)
    for a, b, c in zip(found, expected, late, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
        assert (c - b).abs().max() < 0.05 * b.abs().max()


def test_what_it_does_not_take_is_refused(written, images, converted):
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True, batch_first=True)
    model = written(lambda self, x: self.attention(*[tokens(self, x)] * 3)[0], attention=attention)
    with pytest.raises(ConversionError, match="add_bias_kv"):
        converted(model, images)
