"""What the headers compute, against torch: halves, bfloats, quotients, channels."""

import ctypes

import pytest
import torch
from kernelhost.building import COMPILER
from kernelhost.running import run_blocks

from spikeport.cuda.rules import Rules
from spikeport.cuda.shapes import channel_numbers
from spikeport.cuda.source import Build, text_of

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


FORM = Rules(2).form(bounded=False) | {"SP_VALUE": 0}
TYPES = {torch.float32: "float", torch.int16: "unsigned short", torch.int64: "i64"}
PROBE = """
extern "C" __global__ void probe(const void *a, const void *b, void *c, i64 N, u64 inverse) {
    const IN *x = (const IN *)a, *y = (const IN *)b;
    Shape shape = {7, 9, inverse};
    for (i64 i = first_item(); i < N; i += item_stride()) ((OUT *)c)[i] = EXPRESSION;
}
"""


def probe(expression, x, y, out_dtype=torch.float32):
    """An expression in x[i], y[i] and shape, for every i, with the headers of the scan."""
    text = text_of("scan")
    text = text[: text.index("// Timesteps whose loads")] + PROBE
    for name, value in (("IN", x.dtype), ("OUT", out_dtype)):
        text = text.replace(f"const {name} *", f"const {TYPES[value]} *")
        text = text.replace(f"({name} *)", f"({TYPES[value]} *)")
    text = text.replace("EXPRESSION", expression)
    build = Build.of("probe", SP_IN="float", SP_OUT="float", SP_VECTOR=1, **FORM)
    out = torch.zeros(len(x), dtype=out_dtype)
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, y, out)]
    inverse = channel_numbers(63, 7, 9)["image_inverse"]
    numbers = [ctypes.c_int64(len(x)), ctypes.c_uint64(inverse)]
    run_blocks(build, (64,), 128, [*pointers, *numbers], text)
    return out


def test_every_half_reads_as_torch_reads_it():
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    found = probe("half_bits_to_float(x[i])", bits, bits)
    assert torch.equal(found.nan_to_num(7), bits.view(torch.float16).float().nan_to_num(7))


@pytest.mark.parametrize(
    ("function", "dtype"),
    [("float_to_half_bits(x[i])", torch.float16), ("bits_as(x[i], (bfloat_t *)0)", torch.bfloat16)],
)
def test_rounding_is_torchs(function, dtype):
    torch.manual_seed(0)
    edges = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype).float()
    edges = edges[edges.isfinite()]
    between = (edges[1:] + edges[:-1]) / 2  # ties
    x = torch.cat([torch.randn(20000), torch.randn(20000) * 1e-6, edges, between, edges * 1.0001])
    x = x[x.abs() < torch.finfo(dtype).max]
    found = probe(function, x, x, torch.int16)
    assert torch.equal(found, x.to(dtype).view(torch.int16))


def test_quotient_is_the_rounded_one():
    torch.manual_seed(0)
    y = torch.rand(200000) * 10 ** torch.randint(-8, 8, (200000,)) + 1e-9
    near = (y * torch.randint(-20, 20, (200000,))).nextafter(torch.randn(200000) * 1e9)
    for x in (torch.randn(200000), near, torch.randn(200000) * y * 1e6):
        assert torch.equal(probe("quotient(x[i], y[i], 1.0f / y[i])", x, y), x / y)


def test_one_spike_is_a_comparison():
    torch.manual_seed(0)
    theta = torch.rand(200000) + 1e-3
    for v in (theta, theta.nextafter(torch.tensor(0.0)), torch.randn(200000), -theta):
        compared = torch.where(v >= theta, 1.0, torch.where(v < 0, -1.0, 0.0))
        assert torch.equal(compared, (v / theta).floor().clamp(-1, 1))


def test_channel_without_a_division():
    first = torch.arange(5000)
    far = torch.cat([first, first + 2**40, first + 63 * 2**45])
    found = probe(
        "place_of(x[i], shape).channel * 100 + place_of(x[i], shape).inside", far, far, torch.int64
    )
    assert torch.equal(found, far // 9 % 7 * 100 + far % 9)
    found = probe("after(place_of(x[i], shape), shape).channel", far, far, torch.int64)
    assert torch.equal(found, (far + 1) // 9 % 7)


def test_sizes_that_would_not_be_exact_are_refused():
    with pytest.raises(ValueError, match="smaller batches"):
        channel_numbers(2**40, 2**15, 2**15)
