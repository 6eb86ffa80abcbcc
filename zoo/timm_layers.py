"""timm's layers in terms that the tracer keeps whole."""

from functools import cache

from torch import nn

from spikeport.convert.graph import same_padding
from spikeport.convert.graph.operations.macs import measured
from spikeport.convert.graph.operations.spikes import MIXED
from spikeport.convert.tracing.register_op import register_op

# timm's names of merging branches that only training needs: the first returns what takes the
# module's place, the others work in place
FUSE, IN_PLACE = "fuse", ("reparameterize", "switch_to_deploy")


def simplify(network: nn.Module) -> None:
    """Merge re-parameterisable branches and keep 'SAME' padding a layer, in place.

    RepVGG, MobileOne and their like become plain convolutions (timm's own rewrite, the same
    numbers). A layer with 'SAME' padding stays one layer for every image size. Only timm's own
    classes are touched: a method of another network may have the same name and another meaning.
    """
    if any(map(_of_timm, network.modules())):
        _merge_branches(network)
        for module in network.modules():
            kept = _same_padded().get(type(module))
            if kept is not None:
                module.__class__ = kept


def _of_timm(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "timm"


def _merge_branches(parent: nn.Module) -> None:
    for name, child in list(parent.named_children()):
        if _of_timm(child):
            weight = next(child.parameters(), None)
            if hasattr(child, FUSE):
                child = getattr(child, FUSE)()
                setattr(parent, name, child)
            else:
                for method in IN_PLACE:
                    if hasattr(child, method):
                        getattr(child, method)()
                        break
            if weight is not None:
                child.to(weight.dtype)  # some are merged in float32, whatever they were
        _merge_branches(child)


@cache
def _same_padded() -> dict[type[nn.Module], type[nn.Module]]:
    """timm's layers with 'SAME' padding, and ours. Also says what another layer of timm's is."""
    from timm.layers.cond_conv2d import CondConv2d
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame

    # its weights are mixed for each image, which it does by making channels of the batch
    register_op(CondConv2d, "difference", spikes=MIXED, macs=measured)
    return {
        Conv2dSame: same_padding.Conv2dSame,
        AvgPool2dSame: same_padding.AvgPool2dSame,
        MaxPool2dSame: same_padding.MaxPool2dSame,
    }
