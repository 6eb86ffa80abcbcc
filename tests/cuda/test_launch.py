"""The launcher against the stand-in: each kind of mistake is found, by one or by the other."""

import ctypes

import pytest
import torch
from kernelhost.building import COMPILER, HostError, parameter_types
from kernelhost.running import run, run_blocks

from spikeport.cuda import launch as launching
from spikeport.cuda.launch import LaunchError, launch
from spikeport.cuda.rules import Rules
from spikeport.cuda.scan import scan
from spikeport.cuda.shapes import channel_numbers
from spikeport.cuda.signature import MACROS, signature_of
from spikeport.cuda.source import KERNELS, Build, text_of
from spikeport.scripts.experiments.kernel_table import BUDGET

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
FORM = Build.of("emit_difference", SP_IN="float", SP_OUT="float", SP_VECTOR=4)


def arguments(**changes):
    given = {
        **{"at_mean": torch.randn(3, 16), "previous": torch.zeros(16)},
        **{"y": torch.empty(3, 16), "T": 3, "N": 16, "time": 0, "multiply": True},
    }
    return given | changes


def test_the_right_ones_are_taken(cupy):
    given = arguments()
    launch(FORM, (4,), **given)
    steps = torch.arange(1, 4)[:, None]
    expected = torch.diff(given["at_mean"] * steps, dim=0, prepend=torch.zeros(1, 16))
    assert torch.equal(given["y"], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at_mean": torch.randn(3, 16).half()}, "expected contiguous torch.float32"),
        ({"at_mean": torch.randn(16, 3).t()}, "strides"),
        ({"at_mean": torch.randn(3, 8)}, r"'at_mean' is \[3, 8\].* \[3, 16\]"),
        ({"previous": None}, "may not be None"),
        ({"previous": torch.zeros(16, device="meta")}, "one cpu device"),
        ({"y": [1, 2]}, "list"),
        ({"T": 2}, "expected contiguous"),
        ({"N": 2**63}, "expected i64"),
        ({"time": 2**31}, "expected int"),
        ({"time": -1}, ">= 0"),
        ({"time": 1.0}, "expected int"),
        ({"typo": 1}, "typo"),
    ],
)
def test_wrong_arguments_are_refused_by_the_launcher(cupy, changes, message):
    with pytest.raises(LaunchError, match=message):
        launch(FORM, (4,), **arguments(**changes))
    assert not cupy.launches


def swapped(first, second):
    def change(args):
        args[first], args[second] = args[second], args[first]

    return change


def replaced(index, value):
    return lambda args: args.__setitem__(index, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swapped(3, 4), "int64; expected int32"),
        (swapped(0, 3), "expected the address|int; expected"),
        (swapped(0, 1), r"\[16\]; expected \[3, 16\]"),
        (replaced(5, 0), "'time' is int; expected int32"),
        (replaced(0, 12345), "expected the address of a tensor"),
        (replaced(1, None), "is None"),
        (lambda args: args.pop(), "6 arguments; expected 7"),
    ],
)
def test_a_launcher_that_passes_them_wrongly_is_found(cupy, monkeypatch, change, message):
    own = launching._launch_on

    def wrong(device, build, grid, args):
        change(args)
        own(device, build, grid, args)

    monkeypatch.setattr(launching, "_launch_on", wrong)
    with pytest.raises(HostError, match=message):
        launch(FORM, (4,), **arguments())


@pytest.mark.parametrize("wrong", ["dtype", "strides"])
def test_a_launcher_that_checks_nothing_is_found(cupy, monkeypatch, wrong):
    monkeypatch.setattr(launching, "_check_array", lambda *args: None)
    bad = torch.randn(3, 16).half() if wrong == "dtype" else torch.randn(16, 3).t()
    with pytest.raises(HostError, match="float16|strides"):
        launch(FORM, (4,), **arguments(at_mean=bad))


def test_the_stream_the_device_and_the_options_are_checked(cupy, monkeypatch):
    function = launching._function(FORM, 0)
    with pytest.raises(HostError, match="current stream and device"):
        function((1,), (128,), ())
    monkeypatch.setattr(launching, "FIXED_OPTIONS", ())
    launching._function.cache_clear()
    with pytest.raises(HostError, match="--fmad=false"):
        launch(FORM, (4,), **arguments())


@pytest.mark.parametrize("grid", [(0,), (2**31,), (1, 65536), (1, 1, 1, 1), (1.0,)])
def test_grids_that_cuda_refuses(cupy, grid):
    with pytest.raises(HostError, match="grid"):
        launching._launch_on(torch.device("cpu"), FORM, grid, [])


def test_empty_launches_are_left_out(cupy):
    launch(FORM, (0,), **arguments())
    assert not cupy.launches


def test_a_grid_is_never_larger_than_allowed(cupy, monkeypatch):
    grids = []
    monkeypatch.setattr(launching, "_launch_on", lambda *given: grids.append(given[2]))
    launch(FORM, (2**50, 2**20, 2**20), **arguments())
    assert grids == [(2**20, 65535, 65535)]


# What the host build finds in a kernel.


def run_text(old, new, **changes):
    """emit_difference with a change in its source."""
    text = text_of("emit_difference")
    assert old in text
    given = arguments(**changes)
    values = [given[p.name] for p in signature_of("emit_difference")]
    run(FORM, (1,), 128, values, text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("t * N, group)", "t * N, group + 1)", "past the end of 'at_mean'"),
        ("group < groups;", "group <= groups;", "past the end of"),
        ("at_mean + t * N", "at_mean + t * N - 4", "before 'at_mean'"),
        ("group < groups;", "group < groups - 1;", "never written"),
        ("y + t * N, group", "y, group", "never written"),
        ("int t = 0; t < T", "int t = 0; t < T && group != 2", "never written"),
        ("i64 group = first_item()", "int group = 1 << 30 << (int)first_item()", "overflow"),
        (
            "before[i] = total;",
            "before[i] = total + (threadIdx.x == 1 ? previous[0] : 0);",
            "depend on the order",
        ),
    ],
)
def test_what_a_kernel_does_wrong_is_found(old, new, message):
    with pytest.raises(HostError, match=message):
        run_text(old, new)


def test_a_missing_barrier_is_found(cupy, monkeypatch):
    from spikeport.cuda.packed import linear

    text = text_of("linear")
    wrong = text.replace("__syncthreads();", "", 1)
    assert wrong != text
    monkeypatch.setattr(Build, "text", property(lambda build: wrong))
    packed = torch.randint(-(2**31), 2**31 - 1, (2, 64), dtype=torch.int32)
    with pytest.raises(HostError):
        linear(packed, torch.randn(2048, 140), None, 1, 1, False, torch.float32)


def test_threads_that_never_come_are_found():
    build = Build.of("scan", **dict(BUDGET["scan one by one"][0].defines))
    text = text_of("scan").replace("; base < groups", "; base + threadIdx.x < groups")
    values = dict.fromkeys(p.name for p in signature_of("scan"))
    values |= {"current": torch.randn(1, 5), "v": torch.zeros(5), "total": torch.zeros(5)}
    values |= dict.fromkeys(("threshold", "value", "lowest", "highest"), torch.ones(5))
    values |= {"v_after": torch.zeros(5), "total_after": torch.zeros(5)}
    values |= {"out": torch.zeros(1, 1, dtype=torch.int32), "T": 1, "N": 5, "D": 1, "time": 0}
    values |= channel_numbers(5, 5, 1) | Rules(1).arguments()
    with pytest.raises(HostError, match="never come"):
        run(build, (1,), 128, list(values.values()), text)


def test_indices_have_64_bits():
    """Blocks at the end of 3e9 neurons: arrays that are reserved, not filled."""
    neurons = 3 * 2**30
    size = neurons * 4
    from kernelhost.building import runtime

    places, bases = [], []
    for length in (size, size, size):
        begin = ctypes.c_void_p()
        bases.append((runtime().host_guarded(length, 16, 1, ctypes.byref(begin)), length))
        places.append(begin)
    build = Build.of("emit_difference", SP_IN="float", SP_OUT="float", SP_VECTOR=1)
    last = ctypes.c_float.from_address(places[0].value + size - 4)
    last.value = 5.0
    numbers = [*places, ctypes.c_int(1), ctypes.c_int64(neurons), ctypes.c_int(2), ctypes.c_int(1)]
    blocks = neurons // 128
    text = build.text
    run_blocks(build, (blocks,), 128, numbers, text, blocks=(blocks - 2, blocks))
    assert ctypes.c_float.from_address(places[2].value + size - 4).value == 15.0
    wrong = text.replace("return (i64)blockIdx.x * blockDim.x", "return (int)blockIdx.x * 128")
    assert wrong != text
    with pytest.raises(HostError):
        run_blocks(build, (blocks,), 128, numbers, wrong, blocks=(blocks - 2, blocks))
    for base, length in bases:
        runtime().host_release(base, length)


@pytest.mark.parametrize("name", [file.stem for file in sorted(KERNELS.glob("*.cu"))])
def test_signatures_are_those_the_compiler_sees(name):
    build = next(build for build, _ in BUDGET.values() if build.kernel == name)
    types = {"i64": "long long int", "u32": "unsigned int", "u64": "long long unsigned int"}
    types["i8"] = "signed char"
    expected = []
    for parameter in signature_of(name):
        ctype = parameter.ctype
        ctype = dict(build.defines)[MACROS[ctype]] if ctype in MACROS else ctype
        star = "" if parameter.role == "scalar" else "*"
        const = "const " if parameter.role == "in" else ""
        expected.append(f"{const}{types.get(ctype, ctype)}{star}")
    assert parameter_types(build) == expected


def test_signature_lines_that_are_not_understood(monkeypatch):
    from spikeport.cuda import signature

    for line, message in (
        ("int x", "is not"),
        ("float *__restrict__ x,  // how many", "does not fit"),
        ("const float *__restrict__ x,  // out [N]", "does not fit"),
    ):
        with pytest.raises(ValueError, match=message):
            signature._parameter("k", line)
    monkeypatch.setattr(signature, "text_of", lambda kernel: "")
    with pytest.raises(ValueError, match="0 kernels"):
        signature.signature_of.__wrapped__("scan")


@pytest.mark.parametrize(("emit", "match"), [("counts", "int8"), ("spikes", "expected one of")])
def test_emissions_that_do_not_exist(cupy, emit, match):
    state = (torch.ones(1), None, None, None, torch.zeros(8), None, Rules(128).listed)
    with pytest.raises(ValueError, match=match):
        scan(torch.randn(2, 8), None, *state, 2, 8, 0, emit, False)


def test_kernels_take_no_doubles(cupy):
    state = (torch.ones(1), None, None, None, torch.zeros(8), None, Rules(1).listed)
    with pytest.raises(TypeError, match=r"not torch\.float64"):
        scan(torch.randn(2, 8).double(), None, *state, 2, 8, 0, "values", False)
