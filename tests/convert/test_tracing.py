"""Whatever Python does with tensors: traced, and equal at other batch sizes, or refused by name.

At the level of the graph alone: which operations have a spiking form is said elsewhere.
"""

import copy
import math
import operator
import warnings

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from spikeport.convert import ConversionError
from spikeport.convert.graph.nodes import call_node, returned
from spikeport.convert.tracing.tracer import trace


def run(graph, root, *inputs):
    """The graph's output, node by node."""
    values, inputs = {}, iter(inputs)
    for node in graph.nodes:
        if node.op == "output":
            return returned(node, values.__getitem__)
        if node.op == "placeholder":
            values[node] = next(inputs)
            continue
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        values[node] = call_node(root, node, args, kwargs)
        if "guard" in node.meta:
            assert values[node] == node.meta["guard"], node
    raise AssertionError


class Round(torch.autograd.Function):
    """A gradient that passes straight through, with the context in forward."""

    @staticmethod
    def forward(ctx, x, levels):
        ctx.save_for_backward(x)
        ctx.levels = levels
        return torch.floor(x * levels + 0.5) / levels

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Clamped(torch.autograd.Function):
    """Likewise, with the context set up apart."""

    @staticmethod
    def forward(x, top):
        return torch.minimum(x.clamp(min=0), top), x.sign()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, gradient, unused):
        return gradient, None


class Swish(torch.autograd.Function):
    """Returns its input's own memory, written in place."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(torch.sigmoid(x))

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Reversed(torch.autograd.Function):
    """A gradient reversal layer returns its input as it is."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Unchanged(torch.autograd.Function):
    """Returns the very tensor that it takes."""

    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def with_mean(x, factor: float):
    return torch.relu(x) * factor + x.abs().mean(1, keepdim=True)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecated, and still in people's networks
    scripted = torch.jit.script(with_mean)


def checkpointed(x, reentrant):
    inner = torch.utils.checkpoint.checkpoint
    return inner(lambda y: (y * 2).relu(), x, use_reentrant=reentrant)


def written_into_zeros(x):
    grid = torch.zeros(8, 2)
    grid[:, 1] = torch.arange(8.0)
    table = torch.zeros(4)
    table[1] = x.shape[2]
    table[2:] += 1
    return x @ grid + table[:, None, None]


def tried(x):
    try:
        return x.matmul(torch.ones(3, 3))
    except RuntimeError:
        return x * 2


def with_default_device(x):
    with torch.device("cpu"):
        return x + torch.ones(x.shape[-1])


# after a convolution and a ReLU: [B, 4, 8, 8], not negative
TRACED = {
    # functions, with numbers where C++ code expects tensors
    "pow": lambda s, x: torch.pow(x, 2) + torch.pow(2.0, x) + x**3 + torch.pow(x, x) + 2**x,
    "float_power": lambda s, x: torch.float_power(x, 2),
    "remainder": lambda s, x: torch.remainder(x, 2) + torch.fmod(x, 2) + x % 3 + x // 0.3,
    "where numbers": lambda s, x: torch.where(x > 0.5, x, 0.0) + torch.where(x > 1, 1.0, x),
    "where": lambda s, x: x.where(x > 0.5, -x),
    "clamp by tensors": lambda s, x: torch.clamp(x, min=x * 0, max=torch.tensor(1.0)),
    "sub and rsub": lambda s, x: torch.sub(1, x) + (1 - x) + torch.rsub(x, 2) + torch.div(x, 3),
    "alpha": lambda s, x: torch.add(x, x, alpha=2),
    "comparisons": lambda s, x: x * ((x > 0.1) & (x < 0.9) | ~(x != 0)),
    "round by hand": lambda s, x: (
        torch.floor(x * 4 + 0.5).clamp(0, 7).sign() + x.ceil() + x.trunc()
    ),
    "heaviside": lambda s, x: torch.heaviside(x, torch.tensor(0.5)),
    "sort": lambda s, x: torch.sort(x, 1)[0] + torch.topk(x, 2, 1).values.sum(1, keepdim=True),
    "gather": lambda s, x: torch.gather(x, 1, torch.zeros_like(x, dtype=torch.long)),
    "argmax": lambda s, x: F.one_hot(x.argmax(1), 4).permute(0, 3, 1, 2).float(),
    "einsum": lambda s, x: torch.einsum("bchw,bdhw->bcd", x, x),
    "complex": lambda s, x: (
        torch.fft.rfft2(x).abs() + torch.view_as_real(torch.complex(x, x))[..., :5, 0]
    ),
    "norms": lambda s, x: (
        F.normalize(x, dim=1) + x.norm(dim=1, keepdim=True) + x.std(1, keepdim=True)
    ),
    "attention": lambda s, x: F.scaled_dot_product_attention(x, x, x),
    "pools": lambda s, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "unfold": lambda s, x: (
        x.unfold(2, 3, 1).sum(-1) + F.unfold(x, 3).mean((1, 2))[:, None, None, None]
    ),
    "meshgrid": lambda s, x: (
        x
        + torch.meshgrid(
            torch.arange(x.shape[2] * 1.0), torch.arange(x.shape[3] * 1.0), indexing="ij"
        )[0]
    ),
    "special": lambda s, x: (
        torch.special.expit(x) + torch.linalg.vector_norm(x, dim=1, keepdim=True)
    ),
    "from torch's internals": lambda s, x: (
        torch._C._nn.gelu(x) + torch._C._VariableFunctions.relu(x)
    ),
    "operators of aten": lambda s, x: torch.ops.aten.relu(x) + torch.ops.aten.add.Tensor(x, x),
    # functions that hide what they do
    "scripted": lambda s, x: scripted(x, 3.0),
    "compiled": lambda s, x: torch.compile(lambda y: (y * 2).relu())(x),
    "checkpointed": lambda s, x: checkpointed(x, False),
    "checkpointed reentrant": lambda s, x: checkpointed(x, True),
    "straight through": lambda s, x: Round.apply(x, 4),
    "straight through weights": lambda s, x: F.conv2d(x, Round.apply(s.conv2.weight, 8), padding=1),
    "context apart": lambda s, x: sum(Clamped.apply(x, s.top)),
    "gradient reversed": lambda s, x: Reversed.apply(x) * 2 + x,
    "unchanged by a function": lambda s, x: Unchanged.apply(x) * 2 + x,
    "written by a function": lambda s, x: Swish.apply(x * 1) + x,
    "detached estimator": lambda s, x: x + (x.round() - x).detach(),
    # making tensors of tensors
    "tensor of a tensor": lambda s, x: (
        torch.tensor(x) + torch.as_tensor(x) + torch.asarray(x) + torch.Tensor(x)
    ),
    "parameter of a tensor": lambda s, x: (
        nn.Parameter(x, requires_grad=False) + x.data + x.detach()
    ),
    "copies": lambda s, x: copy.deepcopy(x) + copy.copy(x) + x.clone() + x.new_tensor([1.0]),
    "tensor of sizes": lambda s, x: (
        x * torch.tensor([x.shape[-1], x.shape[1]]).float().mean() / torch.tensor(x.shape[-1])
    ),
    "stacked": lambda s, x: torch.stack([row for row in x.unbind(1)] + [x[:, 0]], 1),
    "max of a list": lambda s, x: max([x, x * 2], key=lambda y: y.shape[1]),
    # facts
    "facts": lambda s, x: (
        x
        if x.ndim == 4 == x.dim()
        and x.is_floating_point()
        and not x.is_cuda
        and torch.is_tensor(x)
        and isinstance(x, torch.Tensor)
        and not x.requires_grad
        and x.is_contiguous()
        else None
    ),
    "types": lambda s, x: x.to(x.device).to(x.dtype).type_as(x) + torch.finfo(x.dtype).eps,
    "gradients are off": lambda s, x: (
        x.requires_grad_() + (x if x.grad is None and x.is_leaf else None)
    ),
    "printed": lambda s, x: (f"{x} {x!r} {x.shape} {x.shape[0]}", x)[1],
    "sizes in Python": lambda s, x: (
        x * math.ceil(x.shape[2] / 3) * np.sqrt(x.shape[1]) / math.sqrt(x.size(1))
    ),
    "numel": lambda s, x: (
        x / x[0].numel() / torch.numel(x[0]) / x.nelement() * len(x.shape) * x.shape.numel()
    ),
    "divmod": lambda s, x: (
        x * divmod(x.shape[2], 3)[1] * (x.shape[2] & 12) * -x.shape[1] * (x.shape[1] ** -0.5)
    ),
    "is an int": lambda s, x: (
        x if isinstance(x.shape[1], int) and isinstance(x.shape, torch.Size) else None
    ),
    "range and lists": lambda s, x: sum(x[:, i] for i in range(x.shape[1])) * ([1] * x.size(1))[-1],
    "slices of shapes": lambda s, x: (
        x.view(*x.shape[:2], -1).view(x.shape[:1] + (-1,)).view(x.size())
    ),
    # made in forward
    "factories": lambda s, x: (
        x
        + torch.zeros(x.size(0), 4, 1, 1)
        + torch.full((x.shape[0], 1, 1, 1), 0.5)
        + torch.eye(8).repeat(x.size(0), 1, 1)[:, None]
        + torch.linspace(0, 1, x.shape[-1])
        + torch.arange(x.shape[-1])
    ),
    "like": lambda s, x: (
        torch.ones_like(x) + x.new_full((len(x.shape), 1), 2.0)[0] + torch.empty_like(x).zero_()
    ),
    "expanded": lambda s, x: (
        x * torch.ones(1, 4, 1, 1).expand(x.size(0), -1, -1, -1)
        + s.table.repeat(x.size(0), 1, 1, 1)
    ),
    "buffer by index": lambda s, x: x + s.table[:, :, : x.shape[2], s.places],
    "numbers of a buffer": lambda s, x: (
        x * s.table.sum().item() if s.table[0, 0, 0, 0] > -9 else None
    ),
    "buffer as a list": lambda s, x: x[..., s.places.tolist()] + x[..., : int(s.places[-1]) + 1],
    "chosen of a buffer": lambda s, x: (
        x[..., :2] + s.table[s.table > -9][:2] + s.places.nonzero().float().mean()
    ),
    "written into zeros": lambda s, x: written_into_zeros(x),
    "layers made in forward": lambda s, x: (
        nn.ReLU()(x)
        + nn.Softmax(1)(x)
        + nn.Identity()(x)
        + nn.Flatten(2)(x).mean(2)[..., None, None]
    ),
    "out of the list": lambda s, x: s.kept[0](x) + s.kept[1](x),
    "parameters of a layer": lambda s, x: F.conv2d(
        x, s.conv2.weight.transpose(0, 1), next(s.conv2.parameters())[0, :, 0, 0], padding=1
    ),
    "default device": lambda s, x: with_default_device(x),
    "no_grad": lambda s, x: torch.no_grad()(lambda y: y * 2)(x),
    "autocast off": lambda s, x: torch.autocast("cpu", enabled=False)(lambda y: y * 2)(x),
    "caught": lambda s, x: tried(x),
    "out": lambda s, x: torch.add(x, 1, out=torch.empty_like(x)) * 2,
    "out of a tensor of zeros": lambda s, x: (lambda z: (torch.mul(x[0], 2, out=z), z + x)[1])(
        torch.zeros(4, 8, 8)
    ),
    "structures": lambda s, x: {"a": (x, [x + 1]), "b": torch.max(x, 1), "c": None},
    "sparse": lambda s, x: x.relu().to_sparse().to_dense(),
    "flags of modules": lambda s, x: F.dropout(x, 0.5, s.training),
}

REFUSED = {
    "if": ("__bool__", lambda s, x: x if x.sum() > 0 else -x),
    "item": ("item", lambda s, x: x * x.max().item()),
    "float": ("__float__", lambda s, x: x * float(x.mean())),
    "int": ("getitem", lambda s, x: x[: x.argmax()]),
    "numpy": ("numpy", lambda s, x: torch.from_numpy(x.numpy())),
    "asarray": ("__array__", lambda s, x: torch.from_numpy(np.asarray(x))),
    "tolist": ("tolist", lambda s, x: torch.tensor(x.tolist())),
    "equal": ("equal", lambda s, x: x if torch.equal(x, x) else None),
    "contains": ("__contains__", lambda s, x: x if 1.0 in x else None),
    "mask": ("getitem", lambda s, x: x[x > 0]),
    "nonzero": ("nonzero", lambda s, x: torch.nonzero(x).float()),
    "unique": ("unique", lambda s, x: torch.unique(x)),
    "storage": ("untyped_storage", lambda s, x: (x.untyped_storage(), x)[1]),
    "pointer": ("data_ptr", lambda s, x: (x.data_ptr(), x)[1]),
    "saved": ("__reduce_ex__", lambda s, x: (torch.save(x, "/dev/null"), x)[1]),
    "dlpack": ("dlpack", lambda s, x: torch.from_dlpack(x)),
    "dlpack capsule": (
        "",
        lambda s, x: torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(x)),
    ),
    "nested": ("_nested_tensor_from_tensor_list", lambda s, x: torch.nested.nested_tensor([x])),
    "gradient": ("threshold_backward", lambda s, x: torch.func.grad(lambda y: y.relu().sum())(x)),
    "forward gradient": ("_make_dual", lambda s, x: torch.func.jvp(torch.relu, (x,), (x,))[0]),
    "backward": ("backward", lambda s, x: x.sum().backward()),
    "own error": ("no such thing", lambda s, x: operator.getitem({}, "no such thing")),
    "deleted": ("", lambda s, x: operator.delitem(x, 0)),
    "other shape in place": ("resize", lambda s, x: x.resize_(2, 2)),
    "in place only": ("cauchy_", lambda s, x: x.cauchy_()),
    "legacy constructor": ("torch.zeros", lambda s, x: torch.FloatTensor(x.size(0), 8)),
}


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.top = nn.Parameter(torch.tensor(0.8))
        self.register_buffer("table", torch.randn(1, 4, 8, 8))
        self.register_buffer("places", torch.arange(8))
        self.kept = [nn.ReLU(), nn.Conv2d(4, 4, 1)]  # in a list that torch does not know
        self.function = function
        self.eval()

    def forward(self, x):
        return self.function(self, self.conv(x).relu())


def assert_same(found, expected):
    assert type(found) is type(expected) or isinstance(expected, tuple)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.allclose(found, expected, atol=1e-5)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif expected is not None:
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRACED)
def test_traced_and_equal(name):
    model, x = Net(TRACED[name]), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    graph, root = trace(model, (x,))
    for batch in (x, torch.randn(1, 3, 8, 8), torch.randn(5, 3, 8, 8)):
        assert_same(run(graph, root, batch.clone()), model(batch.clone()))
    assert any(node.op == "placeholder" and node.users for node in graph.nodes)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    operation, function = REFUSED[name]
    outer = nn.Sequential(nn.Identity(), Net(function)).eval()
    with pytest.raises(ConversionError) as caught:
        trace(outer, (torch.randn(2, 3, 8, 8),))
    assert operation in str(caught.value)
    assert "'1'" in str(caught.value)


def test_a_network_with_several_arguments():
    class Several(nn.Module):
        def forward(self, ids, mask=None, *, scale=1, options=None):
            first = ids * scale + (0 if mask is None else mask["a"])
            return first + options[0], options[1]

    inputs = [torch.randn(2, 3) for _ in range(4)]
    graph, root = trace(
        Several().eval(), (inputs[0], {"a": inputs[1]}), {"scale": 3, "options": inputs[2:]}
    )
    names = [node.name for node in graph.nodes if node.op == "placeholder"]
    assert names == ["ids", "mask", "options", "options_1"]
    new = [torch.randn(5, 3) for _ in range(4)]
    assert_same(run(graph, root, *new), (new[0] * 3 + new[1] + new[2], new[3]))
