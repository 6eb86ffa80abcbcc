"""Converting leaves the source network as it was, and takes no part of it along by reference."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from spikeport.convert import KINDS, ConversionError, build


@pytest.fixture
def model(written, randomise):
    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        return self.fc(self.drop(x + self.act(self.conv2(x))).mean((2, 3)))

    return randomise(
        written(
            forward,
            bn=nn.BatchNorm2d(4),
            act=nn.ReLU(inplace=True),
            drop=nn.Dropout(),
            fc=nn.Linear(4, 5),
        )
    )


@torch.no_grad()
def test_the_source_model_is_unchanged(model, images, converted):
    before = copy.deepcopy(model.state_dict())
    outputs, modules = model(images), dict(model.named_modules())
    snn = converted(model, images)
    snn(images, 4)
    for tensor in [*snn.parameters(), *snn.buffers()]:
        tensor.fill_(7)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(model(images), outputs)
    assert dict(model.named_modules()) == modules
    assert not any(module.training for module in model.modules())
    assert model.act.inplace
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(copy.deepcopy(model)(images), outputs)


def test_hooks_of_the_source_model_stay_there(model, images):
    called = []
    model.conv.register_forward_hook(lambda module, args, out: called.append("forward"))
    model.conv.register_forward_pre_hook(
        lambda module, args, kwargs: called.append("before"), with_kwargs=True
    )
    model.conv.register_full_backward_hook(lambda module, grads, out: called.append("backward"))
    snn = build(model, images, KINDS["if"])
    called.clear()
    assert not any(parameter.requires_grad for parameter in snn.parameters())
    snn.requires_grad_(True).analog(images).sum().backward()
    assert called == []
    model(images.requires_grad_()).sum().backward()
    assert sorted(called) == ["backward", "before", "forward"]


def test_the_source_model_still_trains(model, images):
    build(model, images, KINDS["signed"])
    model.train()(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.bn.num_batches_tracked == 1


@torch.no_grad()
def test_layers_keep_their_names(model, images):
    snn = build(nn.Sequential(model).eval(), images, KINDS["if"])
    assert list(snn.neurons) == ["0.act", "0.act#1"]
    assert {"0.conv", "0.conv2", "0.fc"} <= dict(snn.named_modules()).keys()
    assert snn.get_submodule("0.conv2").weight.equal(model.conv2.weight)


@torch.no_grad()
def test_layers_called_as_functions_keep_the_names_of_their_weights(written, images):
    def forward(self, x):
        x = F.conv2d(self.conv(x).relu(), self.conv2.weight, padding=1).mean((2, 3))
        x = F.linear(x, self.fc.weight, self.bias) + F.linear(x, self.fc.weight)
        return F.linear(x.relu(), self.last.weight) + self.last.bias

    model = written(forward, fc=nn.Linear(4, 4, bias=False), last=nn.Linear(4, 3))
    model.conv2.bias = None
    model.bias = nn.Parameter(torch.ones(4))
    snn = build(model, images, KINDS["signed"])
    assert snn.conv2.weight.equal(model.conv2.weight)
    assert snn.fc.weight.equal(model.fc.weight)
    assert snn.fc.bias.equal(model.bias)
    assert snn.last.bias.equal(model.last.bias)  # its module stays: another node reads the bias


@torch.no_grad()
@pytest.mark.parametrize(
    "parametrize", [parametrizations.weight_norm, parametrizations.spectral_norm]
)
def test_parametrized_weights_become_plain_ones(parametrize, written, images, converted):
    model = written(lambda self, x: self.conv2(self.conv(x).relu()))
    parametrize(model.conv)
    parametrize(model.conv2)
    names, outputs = list(model.state_dict()), model.eval()(images)
    snn = converted(model, images)
    assert type(snn.conv) is nn.Conv2d
    assert torch.allclose(snn.analog(images), outputs, atol=1e-5)
    assert list(model.state_dict()) == names
    assert torch.equal(model(images), outputs)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "hooked",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
)
def test_weights_made_in_a_hook_become_plain_ones(hooked, written, images, converted):
    model = written(lambda self, x: self.conv2(self.conv(x).relu()))
    hooked(model.conv2)
    names, outputs = list(model.state_dict()), model.eval()(images).detach()
    snn = converted(model, images)
    assert torch.allclose(snn.analog(images), outputs, atol=1e-5)
    assert sorted(snn.conv2.state_dict()) == ["bias", "weight"]
    assert list(model.state_dict()) == names
    model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_a_network_that_is_one_layer(images, converted):
    snn = converted(nn.ReLU().eval(), images)
    assert (snn(images, 64) - images.relu()).abs().max() < 0.1


def test_notes_on_layers_are_left_behind(images, converted):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.GELU()).eval()
    for layer in model:
        layer.note = lambda: None
    snn = converted(model, images)
    assert not any(hasattr(layer, "note") for layer in snn.modules())
    assert all(hasattr(layer, "note") for layer in model)
    assert torch.equal(pickle.loads(pickle.dumps(snn))(images, 2), snn(images, 2))


def test_what_cannot_be_copied_is_named(images, converted, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    with (tmp_path / "log").open("w") as file:
        model[2].log = file
        with pytest.raises(ConversionError, match="delete the attribute 'log' of module '2'"):
            converted(model, images)


def test_conversion_draws_no_random_numbers(model, images, converted):
    before = torch.get_rng_state()
    converted(model, images)
    assert torch.equal(torch.get_rng_state(), before)
