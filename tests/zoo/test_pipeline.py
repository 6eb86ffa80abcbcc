"""The one call, on names, modules and bad input."""

import copy

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from spikeport.convert import ConversionError, Neuron
from spikeport.zoo.pipeline import load_source, to_snn
from spikeport.zoo.timm_layers import simplify


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 64, 64, generator=generator) for _ in range(2)]


def randomised(name):
    torch.manual_seed(0)
    model = timm.create_model(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def test_a_name_is_loaded_and_its_preparation_noted(images):
    torch.manual_seed(0)
    snn = to_snn("resnet10t", images, checkpoint="random", progress=False)
    assert snn.info["source"] == "resnet10t"
    assert snn.info["neuron"].startswith("Neuron(max_up=1, max_down=1")
    assert snn.info["input"]["input_size"] == [3, 176, 176]
    assert "layer1.0.act2" in snn.neurons


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0", "regnety_002"])
@torch.no_grad()
def test_the_answer_follows_the_source(name, images):
    model = randomised(name)
    snn = to_snn(model, images, neuron=Neuron(4, 4), recipe="max", progress=False)
    expected = model(images[0])
    errors = [
        float((output - expected).norm() / expected.norm())
        for output in snn.anytime(images[0], 64)[[3, 15, 63]]
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.1


def test_labels_are_ignored(images):
    model = randomised("resnet10t")
    with_labels = to_snn(model, [(batch, torch.zeros(2)) for batch in images], progress=False)
    without = to_snn(model, images, progress=False)
    for name, neuron in without.neurons.items():
        assert torch.equal(neuron.threshold, with_labels.neurons[name].threshold)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "repvgg_a0"])
@torch.no_grad()
def test_simplified_layers_compute_the_same_at_any_size(name):
    model = randomised(name)
    simple = copy.deepcopy(model)
    simplify(simple)
    for size in (64, 65, 97):
        x = torch.randn(1, 3, size, size)
        assert torch.allclose(model(x), simple(x), rtol=1e-4, atol=1e-4)
    assert any(
        type(module).__module__.endswith("same_padding") for module in simple.modules()
    ) == name.startswith("tf_")


@torch.no_grad()
def test_same_padding_keeps_the_freedom_of_image_size(images):
    model = randomised("tf_efficientnet_lite0")
    snn = to_snn(model, images, recipe="max", progress=False)
    x = torch.randn(1, 3, 75, 75)
    assert torch.allclose(snn.analog(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"neuron": "lif"}, r"unknown neuron 'lif'.*'burst'.*'if'"),
        ({"recipe": "magic"}, r"unknown recipe 'magic'.*'default'"),
        ({"recipe": "mse"}, "timesteps=16"),
        ({"checkpoint": "weights.pt"}, "goes with a model's name"),
        ({"data": []}, "no batch"),
        ({"data": iter([torch.zeros(1, 3, 64, 64)])}, "read only once"),
        ({"data": [torch.full((1, 3, 64, 64), torch.nan)]}, "NaN"),
        ({"data": [torch.zeros(1, 3, 64, 64, dtype=torch.long)]}, "float tensor"),
        ({"data": [torch.zeros(1, 1, 64, 64)]}, "cannot be traced"),
        ({"data": [torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)]}, r"\[1, 1, 64, 64\]"),
    ],
)
def test_bad_input_is_refused(arguments, message, images):
    given = {"model": randomised("resnet10t"), "data": images, "progress": False} | arguments
    with pytest.raises(ConversionError, match=message):
        to_snn(**given)


def test_a_model_in_training_mode_is_refused(images):
    with pytest.raises(ConversionError, match=r"training mode.*model.eval\(\)"):
        to_snn(timm.create_model("resnet10t").train(), images, progress=False)


def test_the_source_model_is_left_alone(images):
    model = randomised("tf_efficientnet_lite0")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    classes = [type(module) for module in model.modules()]
    to_snn(model, images, progress=False)
    assert classes == [type(module) for module in model.modules()]
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@torch.no_grad()
def test_a_checkpoint_file_goes_into_a_network_converted_by_name(images, tmp_path):
    snn = to_snn("resnet10t", images, checkpoint="random", progress=False)
    tuned = randomised("resnet10t")
    save_file(tuned.state_dict(), tmp_path / "tuned.safetensors")
    load_source(snn, tmp_path / "tuned.safetensors")
    assert torch.allclose(snn.analog(images[0]), tuned(images[0]), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_file_needs_a_name(images, tmp_path):
    snn = to_snn(randomised("resnet10t"), images, progress=False)
    with pytest.raises(ConversionError, match="a ResNet, not by name.*pass the module"):
        load_source(snn, tmp_path / "tuned.safetensors")


@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0", "fastvit_t8", "ghostnetv3_050"])
@torch.no_grad()
def test_branches_are_merged_first(name, images):
    model = randomised(name)
    snn = to_snn(model, images, recipe="max", progress=False)
    merged = copy.deepcopy(model)
    simplify(merged)

    def layers(network):
        return sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in network.modules())

    assert layers(snn) == layers(merged) < layers(model)
    expected = model(images[0])
    assert (snn.analog(images[0]) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_merged_branches_keep_their_type(dtype):
    model = timm.create_model("efficientvit_m0", num_classes=5, img_size=64).eval().to(dtype)
    expected = model(torch.ones(1, 3, 64, 64, dtype=dtype))
    simplify(model)
    found = model(torch.ones(1, 3, 64, 64, dtype=dtype))
    assert found.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float64 else 0.1  # timm makes the merged layers in float32
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


class LayerOfThatName(nn.Module):
    """A layer called ``fuse``, and methods that mean something else than timm's."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fuse = (nn.Linear(n, 4) for n in (4, 4, 8))

    def reparameterize(self):
        self.b = None

    def forward(self, x):
        return torch.relu(self.fuse(torch.cat([torch.relu(self.a(x)), self.b(x)], 1)))


class MethodOfThatName(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def fuse(self, u, v):
        return torch.relu(u + v)

    def switch_to_deploy(self):
        raise AssertionError("called by its name")

    def forward(self, x):
        return self.fuse(torch.relu(self.a(x)), self.b(x))


@pytest.mark.parametrize("kind", [LayerOfThatName, MethodOfThatName])
@pytest.mark.parametrize("timm_too", [False, True])
@torch.no_grad()
def test_methods_of_other_networks_are_not_called_by_name(kind, timm_too):
    torch.manual_seed(0)
    extra = [timm.layers.Mlp(4)] if timm_too else []
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), *extra, kind(), nn.Linear(4, 2)).eval()
    if timm_too:
        model[2].act = nn.ReLU().eval()
    x = torch.randn(50, 3)
    snn = to_snn(model, [x], progress=False)
    assert torch.allclose(snn.analog(x), model(x), atol=1e-5)


@pytest.mark.parametrize("make", [torchvision.models.googlenet, torchvision.models.inception_v3])
@torch.no_grad()
def test_auxiliary_heads_are_left_out(make):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 80, 80)
    model = make(weights=None, init_weights=False, num_classes=10, aux_logits=True).eval()
    snn = to_snn(model, [x], recipe="max", progress=False)
    assert not [name for name, _ in snn.named_modules() if "aux" in name.lower()]
    assert torch.allclose(snn.analog(x), model(x), rtol=1e-4, atol=1e-5)
    assert snn(x, 2).shape == (2, 10)


@pytest.mark.gpu
@torch.no_grad()
def test_a_model_on_a_gpu_stays_there(images):
    model = randomised("resnet10t")
    expected = to_snn(model, images, progress=False)
    snn = to_snn(model.cuda(), [batch.cuda() for batch in images], progress=False)
    assert {value.device.type for value in snn.state_dict().values()} == {"cuda"}
    for name, neuron in snn.neurons.items():
        assert torch.allclose(neuron.threshold.cpu(), expected.neurons[name].threshold, rtol=1e-3)
    assert snn(images[0].cuda(), 4).is_cuda
