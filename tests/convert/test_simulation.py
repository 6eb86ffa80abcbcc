"""One presentation in time: whatever the chunks, nothing outlives it, and it is computed once."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert import KINDS, ConversionError


def mixed(self, x):
    """A stem on the image, spikes, max pool, a gate of two streams, and a softmax."""
    x = F.max_pool2d(self.conv(x).relu(), 2)
    gate = torch.sigmoid(self.conv2(x).mean((2, 3), keepdim=True))
    x = torch.cat([x * gate, self.conv2(x).clamp(0, 6)], 1)
    return self.fc(x.mean((2, 3))).softmax(-1)


@pytest.fixture
def snn(written, images, converted):
    """In double precision: rounding never moves a spike, so that equal means equal."""
    model = written(mixed, fc=nn.Linear(8, 5)).double()
    return converted(model, images.double(), "signed").requires_grad_(False)


@pytest.fixture
def x(images):
    return images.double()


def test_the_last_of_anytime_is_forward(snn, x):
    outputs = snn.anytime(x, 12)
    assert outputs.shape == (12, 3, 5)
    for timesteps in (1, 5, 12):
        assert torch.allclose(outputs[timesteps - 1], snn(x, timesteps), atol=1e-12)


@pytest.mark.parametrize("neuron", KINDS)
@pytest.mark.parametrize("chunk", [1, 2, 5, 12, 100])
def test_results_do_not_depend_on_the_chunk(chunk, neuron, written, images, converted, randomise):
    x = images.double()
    snn = converted(written(mixed, fc=nn.Linear(8, 5)).double(), x, neuron)
    assert torch.allclose(snn(x, 12, chunk=chunk), snn(x, 12), atol=1e-12)
    assert torch.allclose(snn.anytime(x, 12, chunk=chunk), snn.anytime(x, 12), atol=1e-12)


def test_images_do_not_see_each_other(snn, x):
    together = snn(x, 8)
    for index in range(3):
        assert torch.allclose(snn(x[index : index + 1], 8)[0], together[index], atol=1e-12)
    assert torch.allclose(snn(x[[0, 1, 2, 0, 1]], 8)[3:], together[:2], atol=1e-12)


def test_no_state_outlives_a_call(snn, x):
    before = copy.deepcopy(snn.state_dict())
    first = snn(x, 6)
    snn(-x, 3)
    next(iter(snn.chunks(x[:1], 20, 2)))  # left in the middle
    assert torch.equal(snn(x, 6), first)
    assert list(snn.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in snn.state_dict().items())


def test_what_depends_on_the_image_alone_is_computed_once(snn, x):
    calls = {"conv": 0, "conv2": 0}
    for name in calls:
        snn.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: calls.update({name: calls[name] + 1})
        )
    snn(x, 12, chunk=3)
    assert calls == {"conv": 1, "conv2": 8}  # conv2 stands twice in the graph, four chunks


def test_static_layers_see_the_batch_and_others_the_folded_batch(snn, x):
    sizes = []
    for layer in (snn.conv, snn.conv2):
        layer.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    snn(x, 4, chunk=4)
    assert sizes == [3, 12, 12]


def test_training_mode_changes_nothing(snn, x):
    outputs = snn(x, 6)
    assert torch.equal(snn.train()(x, 6), outputs)
    assert not snn.eval().training


def test_copies_are_equal_and_independent(snn, x):
    outputs = snn(x, 6)
    for again in (copy.deepcopy(snn), copy.deepcopy(copy.deepcopy(snn))):
        assert torch.equal(again(x, 6), outputs)
        assert torch.equal(again.analog(x), snn.analog(x))
        for parameter in again.parameters():
            parameter.data.fill_(0.5)
        assert torch.equal(snn(x, 6), outputs)


def test_state_dict_round_trip(snn, x):
    outputs, state = snn(x, 6), pickle.loads(pickle.dumps(snn.state_dict()))
    other = copy.deepcopy(snn)
    for parameter in other.parameters():
        parameter.data.fill_(0.5)
    assert not torch.equal(other(x, 6), outputs)
    other.load_state_dict(state)
    assert torch.equal(other(x, 6), outputs)
    assert {"relu.threshold", "relu.v0", "conv.weight", "fc.bias"} <= state.keys()


def test_float_and_double_agree(snn, x):
    """A spike that rounding moves would change the output by some θ/T."""
    outputs = snn(x, 16)
    single = copy.deepcopy(snn).float()(x.float(), 16)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), outputs, atol=0.02)


def test_gradients_reach_the_layer_behind_the_last_spikes_and_others_are_named(
    written, images, converted
):
    snn = converted(written(lambda self, x: self.conv2(self.conv(x).relu())), images)
    for parameter in snn.parameters():
        parameter.requires_grad_()
    with pytest.warns(UserWarning, match="layer 'conv' and others before spikes get no gradient"):
        snn(images, 4).square().sum().backward()
    for name in ("conv2.weight", "relu.threshold"):
        assert torch.isfinite(snn.get_parameter(name).grad).all()
        assert snn.get_parameter(name).grad.abs().max() > 0


@pytest.mark.parametrize("chunk", [None, 3])
def test_structured_outputs(chunk, written, images, converted):
    def forward(self, x):
        x = self.conv(x).relu()
        return {"deep": (self.conv2(x), None), "spikes": [x], "image": images_of(x)}

    def images_of(x):
        return x.chunk(2, 1)

    snn = converted(written(forward), images)
    with torch.no_grad():
        expected, found = snn.analog(images), snn(images, 64, chunk=chunk)
        steps = snn.anytime(images, 64, chunk=chunk)
    assert found.keys() == expected.keys() == steps.keys()
    assert found["deep"][1] is None
    assert steps["deep"][1] is None
    for a, b, c in [
        (expected["deep"][0], found["deep"][0], steps["deep"][0]),
        (expected["spikes"][0], found["spikes"][0], steps["spikes"][0]),
        (expected["image"][1], found["image"][1], steps["image"][1]),
    ]:
        assert (a - b).abs().max() < 0.1 * a.abs().max()
        assert c.shape == (64, *a.shape)
        assert torch.allclose(c[-1], b, atol=1e-5)


def test_an_output_that_does_not_change_in_time(written, images, converted):
    snn = converted(written(lambda self, x: (self.conv(x).relu(), 2 * x)), images)
    assert torch.allclose(snn(images, 5)[1], 2 * images, atol=1e-5)


OPERATIONS = {  # whose mean over time is not what they make of the mean
    "maximum with a constant": lambda self, x, y: torch.maximum(x, torch.full((1, 4, 1, 1), 0.3)),
    "maximum with the image": lambda self, x, y: torch.maximum(x, self.still.abs()),
    "maximum of two": lambda self, x, y: torch.maximum(x, y),
    "minimum": lambda self, x, y: torch.minimum(x, y + 0.1),
    "amax": lambda self, x, y: x.amax((2, 3)),
    "product": lambda self, x, y: x * y,
    "square": lambda self, x, y: x * x,
    "quotient": lambda self, x, y: x / (1 + y),
    "reciprocal": lambda self, x, y: 1 / (1 + x),
    "division by keyword": lambda self, x, y: torch.div(input=x, other=1 + y),
    "division by a number": lambda self, x, y: torch.div(x, other=2.0),
    "matmul": lambda self, x, y: x @ y,
    "softmax": lambda self, x, y: x.flatten(1).softmax(-1),
    "group norm": lambda self, x, y: F.group_norm(x + y, 2),
    "adaptive max pool": lambda self, x, y: F.adaptive_max_pool2d(x, 2),
    "subtraction": lambda self, x, y: 1 - x - y,
    "standard deviation": lambda self, x, y: (x + self.still).std((2, 3)),
}


@torch.no_grad()
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_converge_to_their_value_at_the_mean(name, written, images, converted):
    def forward(self, x):
        self.still = self.conv(x)
        x = self.still.relu()
        return OPERATIONS[name](self, x, self.conv2(x).relu())

    x = images.double()
    snn = converted(written(forward).double(), x, "signed")
    target = snn.analog(x)
    early, late = ((snn(x, t) - target).abs().max() / target.abs().max() for t in (16, 256))
    assert late < 0.02
    assert late < max(0.5 * early, 1e-6)


@pytest.mark.parametrize("timesteps", [0, -1, 1.5, True, None, "4"])
def test_timesteps_that_are_none_are_refused(timesteps, snn, x):
    for run in (snn, snn.anytime):
        with pytest.raises(ConversionError, match=f"timesteps is {timesteps!r}"):
            run(x, timesteps)


@pytest.mark.parametrize("chunk", [0, -2, 1.5, True])
def test_chunks_that_are_none_are_refused(chunk, snn, x):
    for run in (snn, snn.anytime):
        with pytest.raises(ConversionError, match=f"{chunk!r}; expected an int >= 1"):
            run(x, 4, chunk=chunk)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[0], r"shape \[3, 8, 8\]; expected \[B, 3, 8, 8\]"),
        (lambda x: x[:, :2], r"shape \[3, 2, 8, 8\]; expected \[B, 3, 8, 8\]"),
        (lambda x: x[:0], r"shape \[0, 3, 8, 8\]"),
        (lambda x: x.to(torch.uint8), r"torch.uint8 .*; expected a float tensor"),
        (lambda x: x.tolist(), "a list .*; expected a float tensor"),
        (lambda x: x.index_fill(0, torch.tensor(1), float("nan")), "NaN or infinite"),
        (lambda x: x / 0, "NaN or infinite"),
    ],
)
def test_inputs_that_cannot_be_are_refused(spoil, message, snn, x):
    for run in (snn.analog, lambda x: snn(x, 4), lambda x: snn.anytime(x, 4)):
        with pytest.raises(ConversionError, match=message):
            run(spoil(x))


@pytest.mark.parametrize(
    ("name", "bad"),
    [("threshold", bad) for bad in (float("nan"), 0.0, -1.0, float("inf"))]
    + [("v0", bad) for bad in (float("nan"), float("inf"))],
)
def test_thresholds_that_cannot_be_are_refused_and_named(name, bad, snn, x):
    snn.get_parameter(f"clamp.{name}").data[1] = bad
    with pytest.raises(ConversionError, match=r"1 neuron layer\(s\).*'clamp'.*calibration"):
        snn(x, 4)
    snn.analog(x)  # needs none
    next(iter(snn.neurons.values())).threshold.data.fill_(float("nan"))
    with pytest.raises(ConversionError, match=r"2 neuron layer\(s\).*'relu'"):
        snn.anytime(x, 4)


@pytest.mark.parametrize("backend", ["cuda", "tpu"])
def test_backends_that_are_not_there_are_refused(backend, snn):
    with pytest.raises(ConversionError, match=f"backend '?{backend}"):
        snn.backend = backend
    assert snn.backend == "auto"
    snn.backend = "torch"
    assert snn.backend == "torch"
