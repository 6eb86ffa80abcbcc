"""timm's layers in terms that the tracer keeps whole."""

from timm.layers.cond_conv2d import CondConv2d
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from timm.utils.model import reparameterize_model
from torch import nn

from spikeport.convert.graph import same_padding
from spikeport.convert.tracing.register_op import register_op

SAME_PADDED = {
    Conv2dSame: same_padding.Conv2dSame,
    AvgPool2dSame: same_padding.AvgPool2dSame,
    MaxPool2dSame: same_padding.MaxPool2dSame,
}

# its weights are mixed for each image, which it does by making channels of the batch
register_op(CondConv2d, "difference")


def simplify(network: nn.Module) -> None:
    """Merge re-parameterisable branches and keep 'SAME' padding a layer, in place.

    RepVGG, MobileOne and their like become plain convolutions (timm's own rewrite, the same
    numbers). A layer with 'SAME' padding stays one layer for every image size.
    """
    before = {path: (m, next(m.parameters(), None)) for path, m in network.named_modules()}
    reparameterize_model(network, inplace=True)
    for path, module in network.named_modules():
        merged, weight = before.get(path, (module, None))
        if module is not merged and weight is not None:
            module.to(weight.dtype)  # some are merged in float32, whatever they were
    for module in network.modules():
        if type(module) in SAME_PADDED:
            module.__class__ = SAME_PADDED[type(module)]
