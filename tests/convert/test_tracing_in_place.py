"""Writing into tensors and their views, recorded as operations on values that never change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from spikeport.convert import KINDS, ConversionError, build
from spikeport.convert.tracing.tracer import trace
from tests.convert.test_tracing import Net, assert_same, run

# views of [B, C, H, W] with C, H, W even, as [B, ...] again
VIEWS = {
    "index": lambda x: x[:, 1:],
    "step": lambda x: x[..., ::2],
    "one": lambda x: x[:, 0][:, None],
    "ellipsis": lambda x: x[..., 1:, :],
    "flatten": lambda x: x.flatten(1)[:, :, None, None],
    "view": lambda x: x.view(x.size(0), -1, 2, 1),
    "reshape": lambda x: x.reshape(x.shape[0], 2, -1, 1) if x.is_contiguous() else x,
    "transpose": lambda x: x.transpose(2, 3),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "mT": lambda x: x.mT,
    "movedim": lambda x: x.movedim(1, -1),
    "squeeze": lambda x: x.unsqueeze(2).squeeze(2),
    "select": lambda x: x.select(1, 0).unsqueeze(1),
    "narrow": lambda x: x.narrow(1, 0, x.shape[1] // 2),
    "chunk": lambda x: x.chunk(2, 1)[-1],
    "split": lambda x: torch.split(x, 1, dim=1)[0],
    "unbind": lambda x: x.unbind(1)[-1].unsqueeze(1),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "contiguous": lambda x: x.contiguous(),
    "same": lambda x: x.to(torch.float32),
    "copied": lambda x: x * 1,
}
WRITES = {
    "relu_": lambda x: x.relu_(),
    "F.relu": lambda x: F.relu(x, inplace=True),
    "module": lambda x: nn.ReLU(inplace=True)(x),
    "mul_": lambda x: x.mul_(0.5),
    "add_ itself": lambda x: x.add_(x),
    "zero_": lambda x: x.zero_(),
    "fill_": lambda x: x.fill_(0.3),
    "copy_": lambda x: x.copy_(x.flip(0) * 0 + 0.1),
    "clamp_": lambda x: torch.clamp_(x, -0.5, 0.4),
    "item": lambda x: x.__setitem__((slice(None), 0), 0.7),
    "masked": lambda x: x.masked_fill_(x > 0.5, -1.0),
    "by a mask": lambda x: x.__setitem__(x > 0.3, 0.25),
    "out": lambda x: torch.mul(x, 2, out=x),
}


class Writing(nn.Module):
    """Takes views of views, writes into them, and returns them all."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.eval()

    def forward(self, x):
        values = [x]
        for of, view, write in self.steps:
            taken = VIEWS[view](values[of % len(values)])
            values.append(taken)
            if write is not None:
                WRITES[write](taken)
        return [value * 1 for value in values]


STEP = st.tuples(
    st.integers(0, 5), st.sampled_from(sorted(VIEWS)), st.none() | st.sampled_from(sorted(WRITES))
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(STEP, min_size=1, max_size=5))
def test_views_of_views(steps):
    """A program that torch itself runs is traced to the same values, also at other batch sizes."""
    torch.manual_seed(0)
    model, x = Writing(steps), torch.randn(2, 4, 4, 4)
    try:
        model(x.clone())
    except (RuntimeError, IndexError):
        return
    graph, root = trace(model, (x.clone(),))
    for batch in (x, torch.randn(3, 4, 4, 4)):
        before = batch.clone()
        assert_same(run(graph, root, batch), model(batch.clone()))
        assert torch.equal(batch, before)


@torch.no_grad()
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("write", ["mul_", "item", "relu_"])
def test_each_view(view, write):
    model, x = Writing([(0, view, write), (0, "same", None)]), torch.randn(2, 4, 4, 4)
    graph, root = trace(model, (x,))
    for batch in (x, torch.randn(3, 4, 4, 4)):
        assert_same(run(graph, root, batch.clone()), model(batch.clone()))


@torch.no_grad()
@pytest.mark.parametrize("write", WRITES)
def test_each_write(write):
    model, x = Writing([(0, "transpose", write), (0, "chunk", write)]), torch.randn(2, 4, 4, 4)
    graph, root = trace(model, (x,))
    assert_same(run(graph, root, x.clone()), model(x.clone()))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.expand(2, -1, -1, -1, -1)[0],
        lambda x: x.diagonal(dim1=2, dim2=3),
        lambda x: x.unfold(2, 2, 2),
        lambda x: x.as_strided((2, 2), (1, 1)),
    ],
)
def test_a_view_that_cannot_be_put_back_is_refused(view):
    model = Net(lambda s, x: (view(x).mul_(2), x)[1])
    with pytest.raises(ConversionError, match="module 'top': a value is written into what"):
        trace(model, (torch.randn(2, 3, 8, 8),))


def test_a_constant_written_under_another_name_is_refused():
    def forward(self, x):
        table = torch.zeros(4, 8)
        row = table[0]
        table[1] = x.mean((0, 1, 2))
        return x + row

    with pytest.raises(ConversionError, match="shares its memory"):
        trace(Net(forward), (torch.randn(2, 3, 8, 8),))


@torch.no_grad()
def test_one_module_that_writes_in_place_at_every_call(written, images):
    def forward(self, x):
        first, second = self.conv(x), self.conv2(x[:, [0, 1, 2, 0]])
        return self.act(first) + first + self.act(second) + second

    model = written(forward, act=nn.ReLU(inplace=True))
    snn = build(model, images, KINDS["signed"])
    assert torch.allclose(snn.analog(images), model(images), atol=1e-5)
    assert model.act.inplace


def test_reshaping_in_place():
    def forward(self, x):
        y = x * 1
        y.unsqueeze_(1).transpose_(2, 3)
        z = (x * 2).flatten(1)
        z.t_().mul_(3)
        return y, y.size(3), z

    graph, root = trace(Net(forward), (torch.randn(2, 3, 8, 8),))
    x = torch.randn(3, 3, 8, 8)
    y, size, z = run(graph, root, x)
    assert y.shape == (3, 1, 8, 4, 8)
    assert size == 4
    assert z.shape == (256, 3)


@torch.no_grad()
@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: (x.view(x.size(0), -1).relu_(), self.conv(x).relu() + x[:, :1])[1],
        lambda self, x: (x.transpose(2, 3).clamp_(0, 1), self.conv(x).relu())[1],
        lambda self, x: self.conv(x.sub_(0.5).div_(0.2)).relu(),
    ],
)
def test_a_network_that_writes_into_its_input(forward, written, images):
    """The check compares on the batch as it was, and the batch stays as it was."""
    model, x = written(forward), torch.cat([images, images])[:3]
    before = x.clone()
    snn = build(model, x, KINDS["signed"])
    assert torch.equal(x, before)
    assert_same(snn.analog(x), model(x.clone()))
    assert torch.equal(x, before)
