"""A copy of the source network that a graph can hold."""

import copy

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from spikeport.convert.graph.recurrent import drop_states
from spikeport.convert.tracing.attention import open_attention
from spikeport.convert.tracing.register_op import replace_modules

MAKE_WEIGHTS = (WeightNorm, SpectralNorm, BasePruningMethod)  # in a hook, at every call


def copied(network: nn.Module) -> nn.Module:
    """A deep copy, also where a hook has left weights that autograd computed."""
    kept: dict[int, Tensor] = {}
    for module in network.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                kept[id(value)] = value.detach().clone()
    return copy.deepcopy(network, kept)


def plain_copy(network: nn.Module) -> nn.Module:
    """A copy without hooks (they would run at trace time and never again) or parametrizations.

    Args:
        network: never modified.
    """
    root = copied(network)
    replace_modules(root)
    for module in root.modules():
        open_attention(module)
        drop_states(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, MAKE_WEIGHTS):
                hook.remove(module)
        for name, value in vars(module).items():
            if "_hooks" in name and isinstance(value, dict):
                value.clear()
        made = module._modules.get("parametrizations")
        if parametrize.is_parametrized(module) and isinstance(made, nn.ModuleDict):
            # not remove_parametrizations: it edits the class, which is the source network's too
            weights = {name: getattr(module, name).detach() for name in made}
            del module._modules["parametrizations"]
            module.__class__ = type(module).__bases__[0]
            for name, value in weights.items():
                module.register_parameter(name, nn.Parameter(value))
    return root
