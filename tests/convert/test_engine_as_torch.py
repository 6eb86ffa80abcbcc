"""Whatever torch simulates, the engine does too, whatever torch's defaults are meanwhile.

The weights are on a grid where every sum is exact, so that outputs are equal but for the last
linear layer, which torch evaluates at the mean over time.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeport.convert import KINDS, build
from spikeport.cpu.loader import why_unavailable
from tests.convert.grid import on_grid, rounded

pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))
FEATURES = 8


class Between(nn.Module):
    """Two layers of neurons of rank 2 to 5 with a written function between them."""

    def __init__(self, rank: int, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        layer = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[rank]
        size = {} if rank == 2 else {"kernel_size": 3, "padding": 1}
        self.first = layer(3, FEATURES, **size)
        self.second = layer(FEATURES, FEATURES, **size)
        self.shift = nn.Parameter(torch.full((FEATURES, *[1] * (rank - 2)), 0.25))
        self.third, self.head = layer(FEATURES, FEATURES, **size), nn.Linear(FEATURES, 4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = self.function(self, self.first(x).relu())
        x = self.third(self.second(x).relu()).relu()
        return self.head(x.flatten(2).mean(2) if x.ndim > 2 else x)


SPELLINGS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "plain": lambda m, x: x,
    # tensors made from sizes
    "zeros_like": lambda m, x: x + torch.zeros_like(x),
    "ones_like": lambda m, x: torch.ones_like(x) + x,
    "full_like": lambda m, x: x - torch.full_like(x, 0.5),
    "new_full": lambda m, x: x + x.new_full(x.shape, 0.5),
    "new_zeros": lambda m, x: x + x.new_zeros(x.size()),
    "new_ones of a row": lambda m, x: x + x.new_ones((1, *x.shape[1:])),
    "zeros of a batch": lambda m, x: x + torch.zeros(x.size(), dtype=x.dtype, device=x.device),
    "ones in a sum of currents": lambda m, x: (m.second(x) + torch.ones_like(x)).relu(),
    "ones beside a parameter": lambda m, x: x + (m.shift + torch.ones_like(x)),
    "zeros in a concatenation": lambda m, x: torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1),
    # tuples handed on whole
    "cat of chunk": lambda m, x: torch.cat(x.chunk(2, 1), 1),
    "cat of split": lambda m, x: torch.cat(torch.split(x, 4, 1), 1),
    "cat of sizes": lambda m, x: torch.cat(x.split([3, 5], 1), dim=1),
    "cat of tensor_split": lambda m, x: torch.cat(x.tensor_split(3, 1), 1),
    "stack of unbind": lambda m, x: torch.stack(x.unbind(1), 1),
    "list of chunk": lambda m, x: torch.cat(list(x.chunk(2, 1)), 1),
    "reversed chunk": lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "unpacked chunk": lambda m, x: torch.add(*x.chunk(2, 1)).repeat(1, 2, *[1] * (x.ndim - 2)),
    "concat of chunk": lambda m, x: torch.concat(x.chunk(2, 1), -x.ndim + 1),
    # arguments by name
    "dropout(input=)": lambda m, x: F.dropout(input=x, training=False),
    "cat(tensors=)": lambda m, x: torch.cat(tensors=[x, x], dim=1)[:, :FEATURES],
    "cat(axis=)": lambda m, x: torch.cat([x[:, :4], x[:, 4:]], axis=1),
    "add(input=)": lambda m, x: torch.add(input=x, other=x),
    # numbers of other types inside
    "double and back": lambda m, x: x.double().float(),
    "half neurons": lambda m, x: m.second(x).half().relu().float(),
    "double neurons": lambda m, x: m.second(x).double().relu().float(),
}


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


CIRCUMSTANCES = {
    "as usual": contextlib.nullcontext,
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
}


def images(rank: int) -> Tensor:
    return rounded(torch.randn(3, 3, *[5, 4, 6][: rank - 2]))


def outputs(snn, x: Tensor, backend: str) -> Tensor:
    snn.backend = backend
    return torch.cat(list(snn.chunks(x, 11, 4)))


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_in_all_circumstances(spelling, rank):
    x = images(rank)
    snn = on_grid(build(Between(rank, SPELLINGS[spelling]).eval(), x, KINDS["multi-level"]))
    wanted = outputs(snn, x, "torch")
    assert bool(wanted.std(1).any()), "nothing depends on the images"
    for name, circumstance in CIRCUMSTANCES.items():
        with circumstance():
            found = outputs(snn, x, "auto" if name == "as usual" else "cpu")
        assert found.dtype == torch.float32, name
        torch.testing.assert_close(found, wanted, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_every_rank(kind, rank):
    x = images(rank)
    snn = on_grid(build(Between(rank, lambda m, x: x + m.second(x)).eval(), x, KINDS[kind]))
    wanted = outputs(snn, x, "torch")
    for backend in ("cpu", "auto") if KINDS[kind].native_rule else ("auto",):
        torch.testing.assert_close(outputs(snn, x, backend), wanted)
        other = images(rank)[:1].repeat_interleave(2, -1) if rank > 2 else images(rank)[:1]
        snn.backend = "torch"
        expected = snn(other, 8)
        snn.backend = backend
        torch.testing.assert_close(snn(other, 8), expected)


@pytest.mark.parametrize("circumstance", CIRCUMSTANCES)
def test_the_first_run_may_be_in_any_circumstances(circumstance):
    """Layers are arranged in it, for all later ones."""
    x = images(4)
    snn = on_grid(build(Between(4, lambda m, x: x).eval(), x, KINDS["multi-level"]))
    with CIRCUMSTANCES[circumstance]():
        found = outputs(snn, x, "cpu")
    wanted = outputs(snn, x, "torch")
    for later in (found, outputs(snn, x, "cpu")):
        torch.testing.assert_close(later, wanted)


def test_threads_share_a_network():
    x = images(4)
    snn = on_grid(build(Between(4, lambda m, x: m.second(x) + x).eval(), x, KINDS["signed"]))
    batches = [images(4).repeat_interleave(1 + side % 3, 3) for side in range(8)]
    wanted = [outputs(snn, batch, "torch") for batch in batches]
    snn.backend = "cpu"
    found: dict[int, Tensor] = {}

    def work(index: int) -> None:
        for _ in range(4):
            found[index] = torch.cat(list(snn.chunks(batches[index], 11, 4)))

    threads = [threading.Thread(target=work, args=[index]) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(8):
        torch.testing.assert_close(found[index], wanted[index])
