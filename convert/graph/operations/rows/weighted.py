"""Layers with weights: convolutions, linear and recurrent layers, embeddings."""

import torch
from torch import Tensor, nn

from spikeport.convert.graph.channel_affine import ChannelAffine
from spikeport.convert.graph.operations import lifted
from spikeport.convert.graph.operations.channels import ChannelRule, last, second
from spikeport.convert.graph.operations.macs import of_bilinear, of_recurrence, of_weights
from spikeport.convert.graph.operations.operation import Example, Operation
from spikeport.convert.graph.operations.spikes import MIXED
from spikeport.convert.graph.recurrent import GRU, LSTM, RNN
from spikeport.convert.graph.same_padding import Conv2dSame

_CONV = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "bias",
    "padding_mode",
)
_TRANSPOSED = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "output_padding",
    "groups",
    "bias",
    "dilation",
    "padding_mode",
)
_CALL = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_CALL_TRANSPOSED = (
    *("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
)
_RECURRENT = (
    *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
    "bidirectional",
)
_CELL = ("input_size", "hidden_size", "bias")


def _weighted(
    name: str,
    layers: dict[type[nn.Module], tuple[str, ...]],
    arguments: tuple[str, ...],
    channels: ChannelRule,
    lift: lifted.Lift,
    example: Example,
) -> Operation:
    """A layer with synapses, whose function becomes one where its weights are constant."""
    return Operation(
        name,
        "weighted",
        MIXED,
        layers=layers,
        arguments=arguments,
        constant=("weight", "bias"),
        channels=channels,
        macs=of_weights,
        lift=lift,
        examples=(example,),
    )


def _kernel(dims: int) -> Tensor:
    """Weights for two groups of 4 channels."""
    return torch.linspace(-1, 1, 4 * 2 * 3**dims).view(4, 2, *[3] * dims)


def _convolution(dims: int, cls: type[nn.Module], *others: type[nn.Module]) -> Operation:
    shapes = {1: (4, 9), 2: (4, 6, 6), 3: (4, 3, 4, 4)}
    return _weighted(
        f"conv{dims}d",
        dict.fromkeys((cls, *others), _CONV),
        _CALL,
        second,
        lifted.convolution(cls),
        Example(
            lambda x: (x, _kernel(dims), None, 2, 1, 1, 2),
            shapes[dims],
            layer=lambda cls: cls(4, 4, 3, 2, 2 if cls is not Conv2dSame else 0, 2, 2),
        ),
    )


def _transposed(dims: int, cls: type[nn.Module]) -> Operation:
    shapes = {1: (4, 5), 2: (4, 4, 4), 3: (4, 2, 3, 3)}
    return _weighted(
        f"conv_transpose{dims}d",
        {cls: _TRANSPOSED},
        _CALL_TRANSPOSED,
        second,
        lifted.convolution(cls),
        Example(
            lambda x: (x, _kernel(dims), None, 2, 1, 1, 2),
            shapes[dims],
            layer=lambda cls: cls(4, 4, 3, 2, 1, 1, 2),
        ),
    )


ROWS = [
    _convolution(1, nn.Conv1d),
    _convolution(2, nn.Conv2d, Conv2dSame),
    _convolution(3, nn.Conv3d),
    _transposed(1, nn.ConvTranspose1d),
    _transposed(2, nn.ConvTranspose2d),
    _transposed(3, nn.ConvTranspose3d),
    _weighted(
        "linear",
        {nn.Linear: ("in_features", "out_features", "bias")},
        ("input", "weight", "bias"),
        last,
        lifted.linear,
        Example(
            lambda x: (x, torch.linspace(-1, 1, 18).view(3, 6), torch.ones(3)),
            layer=lambda cls: cls(6, 5),
        ),
    ),
    Operation(
        "bilinear",
        "product",
        MIXED,
        layers={nn.Bilinear: ("in1_features", "in2_features", "out_features", "bias")},
        arguments=("input1", "input2", "weight", "bias"),
        channels=last,
        macs=of_bilinear,
        examples=(
            Example(
                lambda x: (x, x.flip(-1), torch.linspace(-1, 1, 72).view(2, 6, 6)),
                layer=lambda cls: cls(6, 6, 3),
            ),
        ),
    ),
    Operation(
        "batch_norm",  # folded into the layer before it, or a channel_affine
        "linear",
        MIXED,
        layers=dict.fromkeys(
            (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
            ("num_features", "eps", "momentum", "affine", "track_running_stats"),
        ),
        arguments=(
            *("input", "running_mean", "running_var", "weight", "bias", "training", "momentum"),
            "eps",
        ),
        channels=second,
        lift=lifted.batch_norm,
        examples=(
            Example(
                lambda x: (x, torch.linspace(-1, 1, 4), torch.linspace(0.5, 1, 4)),
                layer=lambda cls: cls(4),
            ),
        ),
    ),
    Operation(
        "channel_affine",
        "linear",
        MIXED,
        layers={ChannelAffine: ("channels",)},
        channels=second,
        examples=(Example(layer=lambda cls: cls(4)),),
    ),
    *(
        Operation(
            name,
            "difference",
            MIXED,
            layers={cls: (*_RECURRENT, *more)},
            arguments=("input", "hx"),
            channels=last,
            macs=of_recurrence,
            examples=(
                Example(shape=(5, 6), layer=lambda cls: cls(6, 4, batch_first=True)),
                Example(
                    shape=(5, 6),
                    layer=lambda cls: cls(6, 3, 2, batch_first=True, bidirectional=True),
                ),
            ),
        )
        for name, cls, more in (
            ("lstm", LSTM, ("proj_size",)),
            ("gru", GRU, ()),
            ("rnn", RNN, ("nonlinearity",)),
        )
    ),
    *(
        Operation(
            f"{name}_cell",
            "difference",
            MIXED,
            layers={cls: (*_CELL, *more)},
            arguments=("input", "hx"),
            channels=last,
            macs=of_recurrence,
            examples=(Example(shape=(6,), layer=lambda cls: cls(6, 4)),),
        )
        for name, cls, more in (
            ("lstm", nn.LSTMCell, ()),
            ("gru", nn.GRUCell, ()),
            ("rnn", nn.RNNCell, ("nonlinearity",)),
        )
    ),
    Operation(
        "embedding",
        "fixed",
        layers={nn.Embedding: ("num_embeddings", "embedding_dim", "padding_idx")},
        arguments=("input", "weight"),
        channels=last,
        examples=(
            Example(
                lambda x: ((x[:, 0, 0] > 0).long(), torch.linspace(-1, 1, 8).view(2, 4)),
                layer=lambda cls: cls(2, 4),
            ),
        ),
    ),
]
