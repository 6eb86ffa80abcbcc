"""Operations that a user brings along."""

import pytest
import torch
from torch import nn

from spikeport.convert import ConversionError
from spikeport.convert.graph.operations.spikes import MIXED, SCALED
from spikeport.convert.saving.container import load, save
from spikeport.convert.tracing import register_op as extension
from spikeport.zoo.pipeline import to_snn

pytestmark = pytest.mark.usefixtures("forget_operations")


@torch.no_grad()
def check(model, x, converted, neurons=None):
    snn = converted(model, x)
    expected = model(x)
    assert torch.allclose(snn.analog(x), expected, atol=1e-5)
    assert (snn(x, 128) - expected).abs().max() < 0.1 * expected.abs().max()
    if neurons is not None:
        assert list(snn.neurons) == neurons
    return snn


def test_a_linear_function(written, images, converted, tmp_path):
    model = written(
        lambda self, x: self.conv2(
            torch.trapezoid(self.conv(x).relu(), dim=2).unsqueeze(2).repeat(1, 1, 6, 1)
        )
    )
    with pytest.raises(ConversionError, match="register_op"):
        converted(model, images)
    extension.register_op(torch.trapezoid, "linear", spikes=MIXED)
    snn = check(model, images, converted)
    save(snn, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn")(images, 4), snn(images, 4))


def test_the_name_of_a_method(written, images, converted):
    model = written(lambda self, x: self.conv(x).relu().igammac(torch.ones(())))
    extension.register_op("igammac", "difference", macs=lambda call: 0.0)
    check(model, images, converted)


@torch.library.custom_op("spikeport_test::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


@halved.register_fake
def _(x):
    return torch.empty_like(x)


def test_an_operator_of_ones_own(written, images, converted, tmp_path):
    op = torch.ops.spikeport_test.halved
    model = written(lambda self, x: self.conv2(op(self.conv(x).relu())))
    extension.register_op(op, "linear", spikes=SCALED)
    snn = check(model, images, converted)
    save(snn, tmp_path / "net.snn")
    assert torch.equal(load(tmp_path / "net.snn")(images, 4), snn(images, 4))


class Data(nn.Module):
    """Code that no graph can hold."""

    def forward(self, x):
        return x / x.max() if x.max() > 1e9 else x.sigmoid()


def test_a_module_is_called_as_a_whole(written, images, converted):
    model = written(lambda self, x: self.conv2(self.gate(self.conv(x).relu())), gate=Data())
    with pytest.raises(ConversionError, match="'gate'"):
        converted(model, images)
    extension.register_op(Data, "difference", macs=lambda call: 0.0)
    snn = check(model, images, converted, ["relu", "gate#out"])
    assert type(snn.gate) is Data


def test_what_keeps_a_network_from_being_saved_is_said_before_calibration(written, images):
    model = written(lambda self, x: self.conv2(self.gate(self.conv(x).relu())), gate=Data())
    extension.register_op(Data, "difference", macs=lambda call: 0.0)

    def batches():
        yield images  # the example
        raise InterruptedError

    message = r"can be run, but not be saved: module 'gate' is a '.*\.Data'"
    with pytest.warns(UserWarning, match=message), pytest.raises(InterruptedError):
        to_snn(model, Batches(batches), progress=False)


class Batches:
    def __init__(self, read):
        self.read = read

    def __iter__(self):
        return self.read()


class Clamped(nn.Module):
    def __init__(self):
        super().__init__()
        self.top = nn.Parameter(torch.tensor(0.8))

    def forward(self, x):
        return torch.where(x > self.top, self.top, x.relu())


def test_a_module_is_replaced_by_layers_that_are_known(written, images, converted):
    model = written(lambda self, x: self.conv2(self.act(self.conv(x))), act=Clamped())
    extension.register_op(Clamped, instead=lambda module: nn.Hardtanh(0.0, float(module.top)))
    snn = check(model, images, converted, ["act"])
    assert snn.neurons["act"].high == pytest.approx(0.8)
    assert type(model.act) is Clamped


@torch.library.custom_op("spikeport_test::rectified", mutates_args=())
def rectified(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(min=0)


@rectified.register_fake
def _(x):
    return torch.empty_like(x)


def test_a_function_is_replaced_by_operations_that_are_known(written, images, converted):
    model = written(lambda self, x: torch.ops.spikeport_test.rectified(self.conv(x)))
    extension.register_op(torch.ops.spikeport_test.rectified, instead=lambda x: x.relu())
    check(model, images, converted, ["relu"])


@pytest.mark.parametrize(
    ("op", "how", "message"),
    [
        (torch.cumsum, "quadratic", "'difference', 'fixed', 'linear'"),
        (torch.cumsum, None, "in_time is None"),
        (torch.cumsum, "weighted", "in_time is 'weighted'"),
        (3, "linear", "op is 3"),
        (int, "linear", "op is <class 'int'>"),
    ],
)
def test_what_cannot_be_registered(op, how, message):
    with pytest.raises(ConversionError, match=message):
        extension.register_op(op, how)


def test_a_row_says_what_it_lacks(written, images, converted):
    model = written(
        lambda self, x: self.conv2(
            torch.trapezoid(self.conv(x).relu(), dim=2)[..., None].expand(-1, -1, -1, 6)
        )
    )
    with pytest.warns(UserWarning, match="'trapezoid' has no spikes="):
        extension.register_op(torch.trapezoid, "linear")
    snn = check(model, images, converted)
    assert not any(n.meta["spikes"] for n in snn.graph.nodes if n.meta.get("op") == "trapezoid")


def test_a_field_that_no_row_has():
    with pytest.raises(ConversionError, match="'colour'.*'spikes'"):
        extension.register_op(torch.trapezoid, "linear", colour=1)


def test_a_rule_that_no_spikes_have():
    with pytest.raises(ConversionError, match="spikes is 'eaten'.*'scaled'"):
        extension.register_op(torch.trapezoid, "linear", spikes="eaten")
