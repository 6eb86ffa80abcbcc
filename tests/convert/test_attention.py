"""torch's own transformer layers."""

import pytest
import torch
from torch import nn

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


def test_what_it_does_not_take_is_refused(written, images, converted):
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True, batch_first=True)
    model = written(lambda self, x: self.attention(*[tokens(self, x)] * 3)[0], attention=attention)
    with pytest.raises(ConversionError, match="add_bias_kv"):
        converted(model, images)
