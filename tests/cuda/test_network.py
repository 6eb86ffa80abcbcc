"""Whole networks with ``backend="cuda"``, on CPU tensors through the stand-in for CuPy."""

import sys

import pytest
import torch
from torch import nn

from spikeport.convert import KINDS, ConversionError, Neuron, build
from spikeport.convert.simulation.early_exit import EarlyExit
from spikeport.convert.simulation.gpu import run as cuda_run
from spikeport.cuda import launch
from spikeport.cuda.launch import LaunchError

TIMESTEPS = 12


class Block(nn.Module):
    """A residual block, with a ReLU after the addition."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return (x + self.conv2(self.conv1(x).relu())).relu()


def network(kind="signed", dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), Block(8), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1)),
        *(nn.ReLU6(), nn.AvgPool2d(2), nn.Conv2d(8, 16, 1), nn.Sigmoid(), nn.Conv2d(16, 8, 1)),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(32, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU()),
        nn.Linear(40, 5),
    ).eval()
    x = torch.randn(3, 3, 8, 8)
    snn = build(model, x, KINDS[kind] if isinstance(kind, str) else kind)
    largest = {}
    with torch.no_grad():
        snn.analog(x, lambda name, current: largest.update({name: float(current.abs().max())}))
        for name, neuron in snn.neurons.items():
            top = min(neuron.high, largest[name])
            neuron.threshold.fill_(top / neuron.max_up)
            neuron.v0.copy_(neuron.threshold / 2)
    return snn.to(dtype), x.to(dtype)


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**26, 2**30))


def kernels(cupy):
    return [(build.kernel, dict(build.defines)) for build, _ in cupy.launches]


KIND = ["if", "signed", "multi-level", "burst", Neuron(1, 1, leak=0.9), Neuron(2, hard_reset=True)]


@pytest.mark.parametrize("kind", KIND, ids=str)
@torch.no_grad()
def test_outputs_are_those_of_torch(cupy, kind):
    snn, x = network(kind)
    snn.backend = "torch"
    expected = dict(snn.readouts(x, [1, 5, TIMESTEPS]))
    snn.backend = "cuda"
    for chunk in (None, 5):
        found = dict(snn.readouts(x, [1, 5, TIMESTEPS], chunk))
        for timesteps, output in expected.items():
            torch.testing.assert_close(found[timesteps], output, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(snn.anytime(x, 6), torch.stack([snn(x, t + 1) for t in range(6)]))


@torch.no_grad()
def test_every_layer_emits_what_torch_emits(cupy):
    snn, x = network()
    seen = {}
    for backend in ("torch", "cuda"):
        snn.backend, parts = backend, {}

        def observe(name, values, first, parts=parts):
            parts.setdefault(name, []).append(values)

        assert len(list(snn.chunks(x, 7, 3, observe))) == 3
        seen[backend] = {name: torch.cat(values) for name, values in parts.items()}
    assert seen["cuda"].keys() == seen["torch"].keys()
    for name, emitted in seen["torch"].items():
        torch.testing.assert_close(seen["cuda"][name], emitted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_the_graph_allows_is_fused(cupy):
    snn, x = network()
    snn.backend = "cuda"
    snn(x, 4)
    ran = kernels(cupy)
    scans = [form for kernel, form in ran if kernel == "scan"]
    assert len(scans) == len(snn.neurons)
    assert [form["SP_CONSTANT"] for form in scans] == ["1"] + ["0"] * 7
    assert [form["SP_RESIDUAL"] for form in scans].count("1") == 1
    emits = [form["SP_EMIT"] for form in scans]
    assert emits.count("1") == 2  # packed for the average pool and for the linear layer
    assert emits[-1] == "0"  # totals for the readout
    names = [kernel for kernel, _ in ran]
    assert names.count("avgpool") == 1
    assert names.count("running_mean") == names.count("emit_difference") == 2  # pool and sigmoid


@torch.no_grad()
def test_few_spikes_are_added_up_and_many_multiplied(cupy, monkeypatch):
    snn, x = network()
    snn.backend = "cuda"
    outputs = []
    for below, kernel in ((2.0, "linear"), (0.0, "unpack")):
        monkeypatch.setattr(cuda_run, "SPARSE_BELOW", below)
        cupy.launches.clear()
        outputs.append(snn(x, 6, 3))
        assert kernel in [name for name, _ in kernels(cupy)]
    torch.testing.assert_close(*outputs)


class TwoReaders(nn.Module):
    """Spikes that a linear layer of the output reads, and another before the last neurons."""

    def __init__(self):
        super().__init__()
        self.front, self.left, self.right = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.front(x).relu()
        return self.left(x) + self.last(self.right(x).relu())


def require_the_same_on_both(snn, x):
    """Raise AssertionError unless the kernels give torch's outputs, in chunks of two timesteps."""
    outputs = []
    for backend in ("torch", "cuda"):
        snn.backend = backend
        outputs.append(snn(x, 7, 2))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_spikes_that_the_output_and_another_layer_read(cupy):
    x = torch.randn(3, 6)
    snn = build(TwoReaders().eval(), x, KINDS["signed"])
    for neuron in snn.neurons.values():
        neuron.threshold.fill_(0.7)
    require_the_same_on_both(snn, x)


@torch.no_grad()
def test_correction_currents(cupy):
    snn, x = network()
    for neuron in snn.neurons.values():
        neuron.correction.data = torch.randn(3, neuron.channels) * 0.1
    require_the_same_on_both(snn, x)


@torch.no_grad()
def test_channels_last_is_kept(cupy):
    snn, x = network()
    snn.backend = "torch"
    expected = snn(x, 5)
    snn.backend = "cuda"
    found = snn.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), 5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_halves(cupy, dtype):
    snn, x = network(dtype=dtype)
    first = next(iter(snn.neurons))
    outputs, fired = {}, {}
    for backend in ("torch", "cuda"):
        snn.backend = backend
        outputs[backend] = snn(x, 32)

        def observe(name, values, _, backend=backend):
            fired.setdefault((backend, name), []).append(values)

        list(snn.chunks(x, 32, 8, observe))
    assert outputs["cuda"].dtype == outputs["torch"].dtype == dtype
    assert "float" not in {form.get("SP_IN") for _, form in kernels(cupy)}
    same = [torch.cat(fired[backend, first]) for backend in outputs]
    assert torch.equal(*same)  # its currents are the same, bit for bit
    torch.testing.assert_close(outputs["cuda"], outputs["torch"], rtol=0.1, atol=0.05)


@torch.no_grad()
def test_a_kernel_is_compiled_once(cupy):
    snn, x = network()
    snn.backend = "cuda"
    snn(x, 4)
    compiled = cupy.compiled
    snn(x, 4)
    assert cupy.compiled == compiled


def test_gradients_are_left_to_torch(cupy):
    snn, x = network()
    for neuron in snn.neurons.values():
        neuron.threshold.requires_grad_()
    before = list(cupy.launches)
    snn(x, 9).sum().backward()
    assert cupy.launches == before
    snn.backend = "cuda"
    with pytest.raises(ConversionError, match="kernels have no gradients; use 'torch'"):
        snn(x, 9)
    with torch.no_grad():
        snn(x, 9)
    assert cupy.launches != before


@torch.no_grad()
def test_early_exit_drops_images_from_the_kernels_state(cupy):
    snn, x = network("multi-level")
    exit, rows = EarlyExit("gap", 0.0495, first=2), torch.arange(len(x))
    snn.backend = "cuda"
    answers = snn.anytime(x, TIMESTEPS)
    scores, times = snn.early_exit(x, TIMESTEPS, exit)
    assert len(times.unique()) == 3
    assert torch.allclose(scores, answers[times - 1, rows], atol=1e-5)


@torch.no_grad()
def test_a_changing_input_reaches_the_kernels(cupy):
    snn, x = network("signed")
    snn.encoding = "poisson"
    snn.backend = "torch"
    expected = snn(x, TIMESTEPS)
    snn.backend = "cuda"
    assert torch.allclose(snn(x, TIMESTEPS, 5), expected, atol=1e-5)


@torch.no_grad()
def test_auto_chooses_by_the_device(cupy, monkeypatch):
    snn, x = network()
    assert isinstance(cuda_run.start_on_gpu(snn, x, None), cuda_run.CudaRun)
    monkeypatch.setattr(launch, "DEVICE", "cuda")
    assert cuda_run.start_on_gpu(snn, x, None) is None
    snn.backend = "cuda"
    with pytest.raises(ConversionError, match="not on one GPU; use 'torch'"):
        snn(x, 2)
    monkeypatch.setattr(launch, "DEVICE", "cpu")
    with pytest.raises(ConversionError, match="float64"):
        snn.double()(x.double(), 2)


def test_without_cupy_one_line_says_so(monkeypatch):
    class OnGpu:
        device = torch.device("cuda")
        requires_grad = False

        def tensors(self):
            return [self]

    snn, _ = network()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with torch.no_grad(), pytest.warns(UserWarning, match="torch's own operations") as said:
        assert cuda_run.start_on_gpu(snn, OnGpu(), None) is None
    assert "\n" not in str(said[0].message)
    with pytest.raises(ConversionError, match="CuPy"):
        snn.backend = "cuda"


@torch.no_grad()
def test_kernels_take_no_cpu_tensors(cupy, monkeypatch):
    snn, x = network()
    snn.backend = "cuda"
    monkeypatch.setattr(cuda_run, "_why_not", lambda network, x: None)
    monkeypatch.setattr(launch, "DEVICE", "cuda")
    with pytest.raises(LaunchError, match="expected one cuda device"):
        snn(x, 2)
