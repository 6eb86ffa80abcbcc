"""The way from a source network to a spiking network without thresholds yet."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.first_batch import signature_of, three_that_differ
from spikeport.convert.graph.nodes import location
from spikeport.convert.graph.notes import drop_notes
from spikeport.convert.graph.roles import assign_roles, in_time
from spikeport.convert.inputs import Input, Inputs, Signature, call, shapes, tensors_of
from spikeport.convert.network import SpikingNetwork
from spikeport.convert.neurons import NeuronModel
from spikeport.convert.output_types import left_out, plain
from spikeport.convert.replace import make_inputs_spike, replace_activations
from spikeport.convert.single_image import is_single_image
from spikeport.convert.staircases import replace_staircases
from spikeport.convert.tracing.normalize import normalize
from spikeport.convert.tracing.source_check import check_source
from spikeport.convert.tracing.source_copy import copied
from spikeport.convert.tracing.tracer import trace

TOLERANCE = 1e-3  # of the output's largest magnitude; folding batch norms rounds


@torch.inference_mode(False)  # its parameters could never be trained, nor counted through
@torch.no_grad()
def build(
    model: nn.Module,
    example: Input,
    neuron: NeuronModel,
    analog_bottlenecks: bool = False,
    simplify: Callable[[nn.Module], None] | None = None,
) -> SpikingNetwork:
    """Trace ``model``, put neurons in the places of its activations, and check the result.

    Args:
        model: source network in eval mode; never modified.
        example: one batch, [B, C, ...], or several inputs.
        neuron: how the neurons fire.
        analog_bottlenecks: leave linear bottlenecks analog instead of giving them signed neurons.
        simplify: see ``trace``.

    Returns:
        The network, in eval mode, its parameters frozen (``requires_grad_(True)`` to train them).

    Raises:
        ConversionError: the model is in training mode; an operation has no spiking form (all of
            them are listed); the graph does not compute what the model computes.
    """
    check_source(model)
    convert = partial(
        _convert, neuron=neuron, analog_bottlenecks=analog_bottlenecks, simplify=simplify
    )
    # at full precision, also where a training loop calls this in an autocast region
    with torch.autocast(example.device.type, enabled=False):
        try:
            return _checked(model, example, convert)
        except Exception as cause:
            if isinstance(example, Tensor) and is_single_image(model, example):
                raise ConversionError(
                    f"the first batch is {list(example.shape)}, which the model takes for a single "
                    f"image; pass batches, of one {[1, *example.shape]} (x[None]), or "
                    "DataLoader(dataset, batch_size=32) of a data set"
                ) from cause
            raise


def _checked(
    model: nn.Module, example: Input, convert: Callable[[nn.Module, Input], SpikingNetwork]
) -> SpikingNetwork:
    """The network that ``convert`` makes, if it computes what the model computes."""
    example = three_that_differ(example)  # or a mix of them could not be seen
    network = convert(model, example)
    if _worst_difference(model, network, example)[0] > TOLERANCE:
        # deep networks amplify float32's rounding, also that of the folded weights
        double = copied(model).double()
        again = convert(double, example.double())
        error, index = _worst_difference(double, again, example.double())
        if error > TOLERANCE:
            _check_answers_again(model, example)
            raise ConversionError(
                f"the traced graph differs from the model: output {index} by {error:.1e} of "
                "its magnitude. A forward hook or an in-place write to a view is the usual "
                "cause; write it out of place."
            )
    _check_images_apart(network, example)
    # frozen: autograd would keep every timestep of every inference in memory
    return network.requires_grad_(False)


@torch.no_grad()
def _check_answers_again(model: nn.Module, example: Input) -> None:
    """Raise ConversionError if the model gives the same input another answer the second time."""
    ask = partial(call, model)
    first, second = (plain(_run(ask, "the model itself", example.clone())) for _ in range(2))
    if not all(torch.equal(a, b) for a, b in _pairs(first, second)):
        raise ConversionError(
            "the model gives another answer each time it is given the same input, so that nothing "
            "can be compared with it: it draws random numbers or counts its calls. Is there a "
            "dropout with training=True, or a torch.rand in its forward?"
        )


def _convert(
    model: nn.Module,
    example: Input,
    neuron: NeuronModel,
    analog_bottlenecks: bool,
    simplify: Callable[[nn.Module], None] | None,
) -> SpikingNetwork:
    """``build`` without its checks of what the network computes."""
    args, kwargs = ((example[:2],), {}) if isinstance(example, Tensor) else example[:2].arguments()
    graph, root = trace(model, args, kwargs, simplify)
    _note_inputs(graph, tensors_of(example))
    normalize(graph, root)
    replace_staircases(graph, root, neuron)
    replace_activations(graph, root, neuron)
    unsupported = assign_roles(graph, root)
    if not unsupported and not analog_bottlenecks:
        make_inputs_spike(graph, root, neuron)
        unsupported = assign_roles(graph, root)
    if unsupported:
        raise ConversionError(
            f"{len(unsupported)} operation(s) of '{type(model).__name__}' have no spiking form:\n  "
            + "\n  ".join(unsupported)
            + "\nSay how they act in time with spikeport.register_op (see docs/coverage.md), "
            "replace them in the model, or convert the part before them."
        )
    graph.lint()
    network = SpikingNetwork(graph, root, tuple(tensors_of(example)[0].shape), {})
    drop_notes(network)
    options = example.options if isinstance(example, Inputs) else {}
    network.signature = Signature(signature_of(model).arguments, options=options)
    if not network.neurons:
        raise ConversionError(
            f"'{type(model).__name__}' has no activation that can spike (ReLU, "
            "ReLU6, hardtanh, clamp) and no layer that needs spikes"
        )
    return network


def _note_inputs(graph: fx.Graph, example: list[Tensor]) -> None:
    """Note what only the data tell of the inputs: the largest of the token ids."""
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, value in zip(placeholders, example, strict=True):
        if not value.is_floating_point():
            node.meta["largest"] = int(value.max())


def _worst_difference(
    model: nn.Module, network: SpikingNetwork, example: Input
) -> tuple[float, int]:
    """Distance of the analog reading from the source network at two batch sizes, and the output.

    Raises:
        ConversionError: the source network's output is not finite.
    """
    worst = 0.0, 0
    for batch in (example[:2], example):
        # it may write into its input
        expected = _run(partial(call, model), "the model itself", batch.clone())
        _say_what_is_left_out(expected)
        found = plain(_run(network.analog, "the traced graph", batch))
        for index, (a, b) in enumerate(_pairs(plain(expected), found)):
            if not bool(torch.isfinite(a).all()):
                raise ConversionError(
                    f"the model's own output {index} is not finite on the first batch; check its "
                    "weights and the input's normalisation"
                )
            worst = max(worst, (_difference(a, b), index))
    return worst


def _say_what_is_left_out(output: Any) -> None:
    lost = left_out(output)
    if lost:
        warnings.warn(
            f"the model's output holds {', '.join(lost)}: no tensors, and no output of the "
            "spiking network",
            stacklevel=2,
        )


def _run(function: Callable[[Any], Any], what: str, batch: Input) -> Any:
    try:
        return function(batch)
    except ConversionError:
        raise
    except Exception as cause:
        raise ConversionError(
            f"{what} fails on a batch {shapes(batch)}: {type(cause).__name__}: {cause}. If it "
            "is a matter of the batch size, code that torch does not show to Python (vmap, a "
            "scripted function) has taken it as a fixed number."
        ) from cause


def _check_images_apart(network: SpikingNetwork, example: Input) -> None:
    """Refuse values in time that depend on the other images of a batch."""
    mixed = _mixing(network, example)
    if mixed is not None:  # float32's rounding depends on the batch size
        mixed = _mixing(copy.deepcopy(network).double(), example.double())
    if mixed is not None:
        raise ConversionError(
            f"{mixed} depends on the other images of the batch, or does not have the batch as its "
            "first dimension (as in sequence-first attention). Time is folded into the batch, so "
            "images have to stay apart: keep [B, ...], or convert a submodule."
        )


def _mixing(network: SpikingNetwork, example: Input) -> str | None:
    """The first value that is another one for a batch than for its images one by one."""
    together = _image_by_image(network, example)
    rows = range(len(example))
    alone = [_image_by_image(network, example[row : row + 1]) for row in rows]
    for key, sums in together.items():
        error = _difference(sums, torch.cat([image[key] for image in alone]))
        if error > TOLERANCE:
            return key[0]
    return None


def _image_by_image(network: SpikingNetwork, batch: Input) -> dict[tuple[str, int], Tensor]:
    """A number that tells images apart, [B], for every value that has to be [B, ...]."""
    found: dict[tuple[str, int], Tensor] = {}

    def keep(where: str, value: Any) -> None:
        for leaf in pytree.tree_leaves(value):
            if isinstance(leaf, Tensor):
                apart = leaf.ndim > 0 and len(leaf) % len(batch) == 0
                rows = leaf.reshape(len(batch), -1) if apart else torch.zeros(1, 1) + math.nan
                finite = rows.double().masked_fill(rows.isinf(), 0.0)  # masks are infinite
                found[where, len(found)] = finite.abs().mean(1)

    def visit(node: fx.Node, args: Any, value: Any) -> None:
        where = f"node '{node.name}' in {location(node)}"
        if node.meta["role"] == "neuron":
            keep(where, args[0])
        elif node.meta["role"] == "difference":
            pairs = zip(node.args, args, strict=True)
            keep(where, [value, *(tensor for source, tensor in pairs if in_time(source))])
        elif node.meta["role"] == "static" and any(map(in_time, node.users)):
            keep(where, value)

    keep("the output", _run(lambda x: network.evaluate(x, visit), "the traced graph", batch))
    return found


def _pairs(expected: object, found: object) -> Iterator[tuple[Tensor, Tensor]]:
    for a, b in zip(pytree.tree_leaves(expected), pytree.tree_leaves(found), strict=True):
        if not isinstance(b, Tensor) and b is not None:
            raise ConversionError(
                f"the model returns a {type(b).__name__}; only tensors (and None) can be decoded"
            )
        if isinstance(b, Tensor):
            yield a, b


def _difference(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest magnitude; inf for another shape and for NaN."""
    if a.shape != b.shape:
        return math.inf
    worst = float((a - b).abs().max() / a.abs().max().clamp_min(1e-12))
    return math.inf if math.isnan(worst) else worst
