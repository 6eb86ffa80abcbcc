"""A copy of the source network that can be traced and taken apart."""

import copy
import types
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils import _pytree as pytree

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.group_norm import open_group_norm
from spikeport.convert.graph.recurrent import open_recurrent
from spikeport.convert.tracing.attention import open_attention
from spikeport.convert.tracing.register_op import replace_modules
from spikeport.convert.tracing.source_check import unwrapped

MAKE_WEIGHTS = (WeightNorm, SpectralNorm, BasePruningMethod)  # in a hook, at every call
FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
PLAIN = (list, dict, set, tuple)


def copied(network: nn.Module) -> nn.Module:
    """A deep copy without wrappers, in eval mode where the network is.

    Also where a hook has left weights that autograd computed. Functions that hold on to modules of
    the network (hooks, lambdas kept as attributes) hold on to the copied ones in the copy.
    """
    network = unwrapped(network)
    memo: dict[int, Any] = {}
    for module in network.modules():
        for value in pytree.tree_leaves(dict(vars(module))):
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    for module in network.modules():
        if unwrapped(module) is not module:
            memo[id(module)] = copy.deepcopy(unwrapped(module), memo)
    try:
        root = copy.deepcopy(network, memo)
    except Exception as cause:
        raise ConversionError(_why_no_copy(network, cause)) from cause
    for module in root.modules():
        _hold_on_to_copies(module, memo)
    if any(module.training for module in root.modules()):
        root.eval()  # some copies are not what their original was
    return root


def _why_no_copy(network: nn.Module, cause: Exception) -> str:
    """The attribute that cannot be copied, if it is one."""
    why = f"{type(cause).__name__}: {cause}"
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            try:
                copy.deepcopy(value)
            except Exception:
                if not name.startswith("_"):
                    where = f"module '{path}'" if path else "the model"
                    return (
                        f"the model cannot be copied ({why}), and a conversion works on a copy: "
                        f"delete the attribute '{name}' of {where}, or keep it elsewhere"
                    )
    return f"the model cannot be copied ({why}), and a conversion works on a copy"


def _hold_on_to_copies(module: nn.Module, memo: dict[int, Any]) -> None:
    own = vars(module)
    for holder in (own, *(own[key] for key in FORWARD_HOOKS)):
        for key, value in list(holder.items()):
            if isinstance(value, types.FunctionType) and value.__closure__:
                holder[key] = _rebound(value, memo)


def _rebound(function: types.FunctionType, memo: dict[int, Any]) -> types.FunctionType:
    """A function whose closure has the copies of what was copied, and plain containers copied."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            cells.append(cell)
            continue
        known = id(value) in memo
        taken = memo[id(value)] if known else _container_copy(value, memo)
        cells.append(types.CellType(taken))
    made = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells),
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__dict__.update(function.__dict__)
    return made


def _container_copy(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of a container: a hook may collect values in it, not in the source network's."""
    if type(value) not in PLAIN:
        return value
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # something in it has no copy
        return copy.copy(value)


def plain_copy(network: nn.Module) -> nn.Module:
    """A copy without parametrizations, whose forward hooks may fail.

    Args:
        network: never modified.
    """
    root = copied(network)
    replace_modules(root)
    for module in root.modules():
        open_attention(module)
        open_recurrent(module)
        open_group_norm(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, MAKE_WEIGHTS):
                hook.remove(module)
        _keep_forward_hooks(module)
        made = module._modules.get("parametrizations")
        if parametrize.is_parametrized(module) and isinstance(made, nn.ModuleDict):
            # not remove_parametrizations: it edits the class, which is the source network's too
            weights = {name: getattr(module, name).detach() for name in made}
            del module._modules["parametrizations"]
            module.__class__ = type(module).__bases__[0]
            others = dict(module._parameters)
            module._parameters.clear()  # a layer's weight comes before its bias
            for name, value in weights.items():
                module.register_parameter(name, nn.Parameter(value))
            module._parameters.update(others)
    return root


def _keep_forward_hooks(module: nn.Module) -> None:
    """Others have nothing to do with what the network computes."""
    for name, value in vars(module).items():
        if "_hooks" in name and isinstance(value, dict):
            if not name.startswith(FORWARD_HOOKS):
                value.clear()
            elif name in FORWARD_HOOKS:
                for key, hook in value.items():
                    value[key] = _tolerant(hook)


def _tolerant(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that may look at data, which a traced value has not: then it only watches."""

    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return hook(*args, **kwargs)
        except Exception:  # the result is compared with the source network, which calls the hook
            return None

    return called


def drop_hooks(root: nn.Module) -> None:
    """Remove all hooks: their work has been recorded and must not be done again."""
    for module in root.modules():
        for name, value in vars(module).items():
            if "_hooks" in name and isinstance(value, dict):
                value.clear()
