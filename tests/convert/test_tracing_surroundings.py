"""What tracing leaves alone: other threads, the network, its hooks, what it keeps; and wrappers."""

import copy
import threading
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spikeport.convert import KINDS, ConversionError, build
from spikeport.convert.tracing.tracer import trace
from spikeport.zoo.pipeline import to_snn


class Layers(nn.Module):
    def __init__(self, between=lambda self, x: x):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4)
        self.between = between
        self.eval()

    def forward(self, x):
        return self.b(torch.relu(self.between(self, self.a(x))))


def plain_calls(found):
    """What another thread does meanwhile."""
    net, x = Layers(), torch.randn(3, 6)
    values = [net(x), torch.zeros(2), torch.eye(2)[:1], nn.ReLU()(x), F.relu(x), x.sum()]
    found.append({type(value) for value in values})
    found.append(nn.Module.__call__)


def test_other_threads_see_nothing():
    """Another network runs, and a third is traced, in the midst of this one's forward."""
    found, call, zeros = [], nn.Module.__call__, torch.zeros
    x = torch.randn(2, 6)

    def elsewhere():
        plain_calls(found)
        graph, _ = trace(Layers(), (x,))
        found.append(len(graph.nodes))

    def meanwhile(self, y):
        other = threading.Thread(target=elsewhere)
        other.start()
        other.join()
        return y * 1

    graph, _ = trace(Layers(meanwhile), (x,))
    assert found[:2] == [{torch.Tensor}, call]
    assert len(graph.nodes) == found[2] + 1
    assert (nn.Module.__call__, torch.zeros) == (call, zeros)


@torch.no_grad()
def test_two_threads_at_once():
    x, failed = torch.randn(3, 6), []

    def convert():
        try:
            for _ in range(3):
                net = Layers()
                assert torch.allclose(build(net, x, KINDS["if"]).analog(x), net(x))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=convert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_failure_leaves_nothing_behind():
    def fails(self, y):
        raise LookupError("as it happens")

    net = Layers(fails)
    with pytest.raises(ConversionError, match="LookupError in 'the top module'"):
        trace(net, (torch.randn(2, 6),))
    assert type(torch.zeros(2)) is torch.Tensor
    assert Layers()(torch.randn(2, 6)).shape == (2, 4)


class Collecting(Layers):
    """Takes its hidden states from hooks, as libraries of transformers do."""

    def __init__(self):
        super().__init__()
        self.seen, self.hooked = [], False

    def forward(self, x):
        if not self.hooked:
            for layer in (self.a, self.b):
                layer.register_forward_hook(lambda module, args, out: self.seen.append(out))
            self.hooked = True
        self.seen.clear()
        self.b(torch.relu(self.a(x)))
        return torch.relu(self.seen[0]).sum(1, keepdim=True) * self.seen[1]


@pytest.mark.parametrize("run_before", [False, True])
def test_hooks_that_collect(run_before):
    net, x = Collecting().eval(), torch.randn(3, 6)
    if run_before:
        net(x)  # outside no_grad: what it keeps has a history
    snn = build(net, x, KINDS["signed"])
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    assert all(type(value) is torch.Tensor for value in net.seen)


@torch.no_grad()
@pytest.mark.parametrize(
    "hook",
    [
        lambda module, args, out: out * 2,
        lambda module, args, out: None,
        lambda module, args, out: print(float(out.sum()), out.numpy()),  # it only watches
    ],
)
def test_hooks_take_part(hook, capsys):
    net, x = Layers(), torch.randn(3, 6)
    net.a.register_forward_hook(hook)
    net.b.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    snn = build(net, x, KINDS["signed"])
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in snn.modules())


def test_a_list_that_a_hook_fills_gets_no_traced_values():
    net, kept = Layers(), []
    net.a.register_forward_hook(lambda module, args, out: kept.append(out))
    trace(net, (torch.randn(2, 6),))
    assert kept == []


@torch.no_grad()
def test_functions_kept_as_attributes_call_the_copied_layers():
    net = nn.Module()
    net.a, net.b = nn.Linear(6, 8), nn.Linear(8, 4)
    net.forward = lambda x: net.b(net.a(x).relu())
    net.eval()
    x = torch.randn(3, 6)
    snn = build(net, x, KINDS["signed"])
    assert {"a", "b"} <= dict(snn.named_modules()).keys()
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    assert "forward" in vars(net)
    assert isinstance(net.a.weight, nn.Parameter)


class Caching(Layers):
    """Keeps what it computed, as LeViT does in inference."""

    def __init__(self):
        super().__init__()
        self.cache = {}

    def forward(self, x):
        if x.device not in self.cache:
            self.cache[x.device] = self.b.bias.exp() * 2
        return self.b(torch.relu(self.a(x))) + self.cache[x.device]


@torch.no_grad()
def test_what_a_network_caches():
    net, x = Caching(), torch.randn(3, 6)
    trace(net, (x,))
    assert net.cache == {}
    net(x)
    snn = build(net, x, KINDS["signed"])
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
    assert type(copy.deepcopy(net).cache[x.device]) is torch.Tensor


KEPT = {}


def test_a_value_kept_outside_the_network_is_refused_by_name():
    trace(Layers(lambda self, y: KEPT.setdefault("y", y) * 2), (torch.randn(2, 6),))
    with pytest.raises(ConversionError, match="a trace that is over"):
        KEPT["y"] + 1


class Wrapper(nn.Module):
    """As low-rank adapters wrap a network: Python code around it."""

    def __init__(self, inner):
        super().__init__()
        self.base = inner
        self.eval()

    def forward(self, x):
        return self.base(x)


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "compiled": torch.compile,
    "compiled twice": lambda net: torch.compile(nn.DataParallel(torch.compile(net))),
}


@torch.no_grad()
@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("inside", [False, True])
def test_wrappers_of_torch_are_looked_through(name, inside):
    torch.manual_seed(0)
    net, x = Layers(), torch.randn(3, 6)
    expected = net(x)
    wrapped = WRAPPERS[name](net).eval()
    if inside:
        wrapped = Wrapper(wrapped)
    graph, _ = trace(wrapped, (x,))
    called = [node.target for node in graph.nodes if node.op == "call_module"]
    assert called == (["base.a", "base.b"] if inside else ["a", "b"])
    if name == "DataParallel":
        assert torch.allclose(build(wrapped, x, KINDS["signed"]).analog(x), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_network_of_python_is_refused_in_one_line():
    x = torch.randn(3, 6)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    exported = torch.export.export(net, (x,))
    cases = [
        (torch.jit.trace(net, x), "TorchScript"),
        (nn.Sequential(torch.jit.script(net)).eval(), "module '0' .* TorchScript"),
        (exported.module(), "torch.export"),
        (exported, "torch.export"),
        (torch.export.unflatten(exported), "torch.export"),
        (net.state_dict(), "is a OrderedDict.*load_state_dict"),
        (type("ModelProto", (), {"__module__": "onnx.onnx_ml_pb2"})(), "ONNX"),
        (nn.Sequential, "the class Sequential"),
        (torch.relu, "function"),
        (torch.ao.quantization.quantize_dynamic(net, {nn.Linear}), "integer kernels"),
        (nn.Sequential(nn.LazyLinear(3), nn.ReLU()).eval(), "lazy"),
        (copy.deepcopy(net).to("meta"), "'0.weight' is on the meta device"),
    ]
    for model, message in cases:
        with pytest.raises(ConversionError, match=message) as caught:
            build(model, x, KINDS["signed"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("net.onnx", "ONNX"),
        (Path("net.onnx"), "ONNX"),
        ("net.pt2", "torch.export"),
        ("net.pt", "load_state_dict"),
        ("net.snn", "spikeport.load"),
    ],
)
def test_files_are_refused_in_one_line_before_the_data_is_read(file, message):
    with pytest.raises(ConversionError, match=message) as caught:
        to_snn(file, [])
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_the_mode_of_a_wrapper_is_not_that_of_its_network():
    net = Layers().eval()
    for wrapped in (nn.DataParallel(net), torch.optim.swa_utils.AveragedModel(net)):
        assert wrapped.training
        build(wrapped, torch.randn(3, 6), KINDS["signed"])
    with pytest.raises(ConversionError, match="training mode"):
        build(nn.DataParallel(Layers().train()), torch.randn(3, 6), KINDS["signed"])


@torch.no_grad()
def test_one_process_of_several(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        net, x = Layers().eval(), torch.randn(3, 6)
        snn = build(nn.parallel.DistributedDataParallel(net), x, KINDS["signed"])
    finally:
        torch.distributed.destroy_process_group()
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)


@torch.no_grad()
def test_a_copy_that_leaves_eval_mode():
    class Copied(Layers):
        def __deepcopy__(self, memo):
            made = Layers(self.between)
            made.load_state_dict(self.state_dict())
            return made.train()

        def forward(self, x):
            assert not self.training
            return super().forward(x)

    net, x = Copied(), torch.randn(3, 6)
    assert torch.allclose(build(net, x, KINDS["signed"]).analog(x), net(x), atol=1e-5)


@torch.no_grad()
def test_conversion_inside_autocast():
    net, x = Layers(), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        snn = build(net, x, KINDS["signed"])
    assert torch.allclose(snn.analog(x), net(x), atol=1e-5)
