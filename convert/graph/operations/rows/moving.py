"""Moves: values go to other places and none is changed."""

import torch
from torch import nn

from spikeport.convert.graph.operations.channels import (
    exchanged,
    matrix_transposed,
    moved,
    permuted,
    reshaped,
    reversed_pair,
    turned,
)
from spikeport.convert.graph.operations.operation import Example, Operation
from spikeport.convert.graph.operations.spikes import MIXED, MOVED, PADDED

_EVERY_OTHER = torch.tensor([0, 2])


def _identity(
    name: str,
    *aliases: str,
    layers: dict[type[nn.Module], tuple[str, ...]] | None = None,
    arguments: tuple[str, ...] = ("input", "p", "training", "inplace"),
    example: Example | None = None,
) -> Operation:
    return Operation(
        name,
        "linear",
        MOVED,
        aliases,
        layers or {},
        arguments,
        identity=True,
        by_channel=True,
        engine="pass",
        examples=(example or Example(lambda x: (x, 0.5, False), layer=lambda cls: cls()),),
    )


def _move(
    name: str, *aliases: str, arguments: tuple[str, ...] = ("input",), **more: object
) -> Operation:
    return Operation(name, "linear", MOVED, aliases, arguments=arguments, **more)  # type: ignore[arg-type]


def _pads(*names: str) -> dict[type[nn.Module], tuple[str, ...]]:
    dims = ("1d", "2d", "3d")
    return {
        getattr(nn, f"{name}{dim}"): ("padding", "value") if name == "ConstantPad" else ("padding",)
        for name in names
        for dim in dims
    }


_PLAIN = Example(lambda x: (x,))

ROWS = [
    _identity("identity", layers={nn.Identity: ()}, example=Example()),
    _identity("dropout", layers={nn.Dropout: ("p",)}),
    _identity(
        "dropout1d",
        layers={nn.Dropout1d: ("p",)},
        example=Example(lambda x: (x, 0.5, False), (4, 6), layer=lambda cls: cls()),
    ),
    _identity("dropout2d", layers={nn.Dropout2d: ("p",)}),
    _identity(
        "dropout3d",
        layers={nn.Dropout3d: ("p",)},
        example=Example(lambda x: (x, 0.5, False), (4, 3, 4, 4), layer=lambda cls: cls()),
    ),
    _identity("alpha_dropout", layers={nn.AlphaDropout: ("p",)}),
    _identity("feature_dropout"),
    _identity("feature_alpha_dropout", layers={nn.FeatureAlphaDropout: ("p",)}),
    _identity(
        "stochastic_depth",  # of torchvision
        arguments=("input", "p", "mode", "training"),
        example=Example(lambda x: (x, 0.5, "batch", False)),
    ),
    _identity("contiguous", example=_PLAIN),
    _identity("detach", "data", "cpu", "requires_grad", example=_PLAIN),
    _identity("pos", "positive", example=_PLAIN),
    _identity("clone", "alias", example=_PLAIN),
    Operation(
        "cat",
        "linear",
        MOVED,
        ("concat", "concatenate"),
        arguments=("tensors", "dim"),
        engine="concatenate",
        examples=(
            Example(lambda x: ((x, x.roll(1, 1)), 1)),
            Example(lambda x: (x.chunk(2, 1), 1)),
            Example(lambda x: ([x, torch.ones_like(x[:, :1])], 1)),
        ),
    ),
    _move(
        "stack",
        arguments=("tensors", "dim"),
        examples=(Example(lambda x: ([x, x.roll(1, 1)], 2)), Example(lambda x: (x.unbind(1), 1))),
    ),
    _move(
        "hstack",
        "dstack",
        "column_stack",
        arguments=("tensors",),
        examples=(Example(lambda x: ((x, x),), shape=(4,)),),
    ),
    _move("atleast_1d", "atleast_2d", "atleast_3d", arguments=("*tensors",), examples=(_PLAIN,)),
    _move(
        "broadcast_tensors",
        arguments=("*tensors",),
        examples=(
            Example(lambda x: (x, x[:, :1])),
            Example(lambda x: (x[:, :1], torch.ones(4, 1, 1))),
        ),
    ),
    _move("diag_embed", arguments=("input", "offset", "dim1", "dim2"), examples=(_PLAIN,)),
    _move("vstack", "row_stack", arguments=("tensors",)),  # along the batch
    Operation(
        "flatten",
        "linear",
        MOVED,
        ("ravel",),
        {nn.Flatten: ("start_dim", "end_dim")},
        ("input", "start_dim", "end_dim"),
        channels=reshaped,
        engine="flatten",
        examples=(
            Example(lambda x: (x, 1), layer=lambda cls: cls()),
            Example(lambda x: (x, 2), layer=lambda cls: cls(2)),
        ),
    ),
    Operation(
        "reshape",
        "linear",
        MOVED,
        ("view", "reshape_as", "view_as", "unsafe_view"),
        arguments=("input", "*shape"),
        channels=reshaped,
        engine="flatten",
        examples=(
            Example(lambda x: (x, (x.size(0), -1))),
            Example(lambda x: (x, (x.shape[0], 2, 2, 6, 6))),
        ),
    ),
    Operation(
        "unflatten",
        "linear",
        MOVED,
        layers={nn.Unflatten: ("dim", "unflattened_size")},
        arguments=("input", "dim", "sizes"),
        channels=reshaped,
        examples=(Example(lambda x: (x, 1, (2, 2)), layer=lambda cls: cls(1, (2, 2))),),
    ),
    _move(
        "permute",
        arguments=("input", "*dims"),
        channels=permuted,
        examples=(Example(lambda x: (x, (0, 2, 3, 1))),),
    ),
    _move(
        "transpose",
        "swapaxes",
        "swapdims",
        arguments=("input", "dim0", "dim1"),
        channels=exchanged,
        examples=(Example(lambda x: (x, 1, 2)),),
    ),
    _move("t", channels=reversed_pair),  # turns the batch away
    _move("adjoint", channels=matrix_transposed, examples=(_PLAIN,)),
    _move(
        "movedim",
        "moveaxis",
        arguments=("input", "source", "destination"),
        channels=moved,
        examples=(Example(lambda x: (x, 1, -1)), Example(lambda x: (x, (1, 2), (2, 1)))),
    ),
    _move("squeeze", arguments=("input", "dim"), examples=(Example(lambda x: (x[:, :, :1], 2)),)),
    _move("unsqueeze", arguments=("input", "dim"), examples=(Example(lambda x: (x, 2)),)),
    _move(
        "expand",
        "expand_as",
        "broadcast_to",
        arguments=("input", "*size"),
        examples=(Example(lambda x: (x[:, :1], (x.size(0), 4, 6, 6))),),
    ),
    _move(
        "repeat", arguments=("input", "*repeats"), examples=(Example(lambda x: (x, (1, 2, 1, 1))),)
    ),
    _move("tile", arguments=("input", "*dims"), examples=(Example(lambda x: (x, (1, 1, 2, 1))),)),
    _move(
        "repeat_interleave",
        arguments=("input", "repeats", "dim"),
        constant=("repeats",),
        examples=(Example(lambda x: (x, 2, 2)),),
    ),
    _move(
        "narrow",
        arguments=("input", "dim", "start", "length"),
        examples=(Example(lambda x: (x, 1, 1, 2)),),
    ),
    _move("select", arguments=("input", "dim", "index"), examples=(Example(lambda x: (x, 2, 1)),)),
    _move(
        "index_select",
        arguments=("input", "dim", "index"),
        constant=("index",),
        examples=(Example(lambda x: (x, 2, _EVERY_OTHER)),),
    ),
    _move(
        "take_along_dim",
        arguments=("input", "index", "dim"),
        constant=("index",),
        examples=(Example(lambda x: (x, torch.zeros(1, 1, 6, 6, dtype=torch.long), 1)),),
    ),
    _move(
        "gather",
        arguments=("input", "dim", "index"),
        constant=("index",),
        examples=(
            Example(
                lambda x: (
                    x,
                    1,
                    torch.zeros(1, 1, 6, 6, dtype=torch.long).expand(x.size(0), -1, -1, -1),
                )
            ),
        ),
    ),
    _move(
        "getitem",
        arguments=("input", "index"),
        constant=("index",),
        examples=(
            Example(lambda x: (x, (slice(None), slice(0, 2)))),
            Example(lambda x: (x, (slice(None), slice(0, x.shape[1] // 2)))),
            Example(lambda x: (x, (..., [0, 3]))),
            Example(lambda x: (x, (slice(None), slice(None), None, 1))),
        ),
    ),
    _move("chunk", arguments=("input", "chunks", "dim"), examples=(Example(lambda x: (x, 2, 1)),)),
    _move(
        "split",
        "split_with_sizes",
        "unsafe_split",
        "unsafe_chunk",
        arguments=("input", "split_size_or_sections", "dim"),
        examples=(Example(lambda x: (x, [1, 3], 1)),),
    ),
    _move(
        "tensor_split",
        "hsplit",
        "vsplit",
        "dsplit",
        arguments=("input", "indices_or_sections", "dim"),
        examples=(Example(lambda x: (x, 2, 1)),),
    ),
    _move("unbind", arguments=("input", "dim"), examples=(Example(lambda x: (x, 2)),)),
    _move(
        "roll",
        arguments=("input", "shifts", "dims"),
        examples=(Example(lambda x: (x, 1, 2)),),
    ),
    _move(
        "flip",
        "fliplr",
        "flipud",
        arguments=("input", "*dims"),
        examples=(Example(lambda x: (x, (2, 3))),),
    ),
    _move(
        "rot90",
        arguments=("input", "k", "dims"),
        channels=turned,
        examples=(Example(lambda x: (x, 1, (2, 3))), Example(lambda x: (x, 2, (2, 3)))),
    ),
    Operation(
        "pad",
        "linear",
        PADDED,
        layers=_pads("ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"),
        arguments=("input", "pad", "mode", "value"),
        examples=(
            Example(
                lambda x: (x, (1, 2, 0, 1)),
                (4, 4, 6, 6),
                layer=lambda cls: cls(1, 0.0) if "Constant" in cls.__name__ else cls(1),
            ),
            Example(lambda x: (x, (1, 1), "constant", 0.5)),
        ),
    ),
    Operation(
        "pixel_shuffle",
        "linear",
        MOVED,
        layers={nn.PixelShuffle: ("upscale_factor",)},
        arguments=("input", "upscale_factor"),
        examples=(Example(lambda x: (x, 2), layer=lambda cls: cls(2)),),
    ),
    Operation(
        "pixel_unshuffle",
        "linear",
        MOVED,
        layers={nn.PixelUnshuffle: ("downscale_factor",)},
        arguments=("input", "downscale_factor"),
        examples=(Example(lambda x: (x, 2), layer=lambda cls: cls(2)),),
    ),
    Operation(
        "channel_shuffle",
        "linear",
        MOVED,
        layers={nn.ChannelShuffle: ("groups",)},
        arguments=("input", "groups"),
        examples=(Example(lambda x: (x, 2), layer=lambda cls: cls(2)),),
    ),
    _move(
        "diagonal",
        arguments=("input", "offset", "dim1", "dim2"),
        examples=(Example(lambda x: (x, 0, 2, 3)),),
    ),
    Operation(
        "getattr",  # x.T, x.mT, x.real
        "linear",
        MOVED,
        arguments=("input", "name"),
        channels=lambda call, axis, before, after: (
            matrix_transposed(call, axis, before, after)
            if call.given("name") in ("mT", "mH")
            else len(after) - 1 - axis
            if call.given("name") in ("T", "H")
            else axis
        ),
        examples=(Example(lambda x: (x, "mT")),),
    ),
    Operation(
        "view_as_real",
        "linear",
        MIXED,
        ("view_as_complex",),
        examples=(Example(lambda x: (x.unflatten(-1, (3, 2)).contiguous(),)),),
    ),
]
