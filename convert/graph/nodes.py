"""Small helpers on graphs and on the modules that they refer to by dotted path."""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn


def call_node(root: nn.Module, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Evaluate a node other than a placeholder or the output, on given arguments."""
    if node.op == "call_module":
        return module_at(root, node.target)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    if node.op == "get_attr":
        return attribute(root, node.target)
    return node.target(*args, **kwargs)


def module_of(node: fx.Node, root: nn.Module) -> nn.Module | None:
    """The module that a call_module node calls."""
    return module_at(root, str(node.target)) if node.op == "call_module" else None


def module_at(root: nn.Module, path: str) -> nn.Module:
    """``root.get_submodule(path)``, which is asked at every step of every node, without detours."""
    found: nn.Module | None = root
    for name in path.split("."):
        found = found._modules.get(name) if found is not None else None
    return root.get_submodule(path) if found is None else found


def location(node: fx.Node) -> str:
    """The place of a node in the source network, for messages."""
    return f"module '{node.meta.get('path') or 'top'}'"


def name_nodes(graph: fx.Graph) -> None:
    """Give every node a name of its own, ``meta["name"]``, after the source network's modules.

    ``layer1.conv1`` is a module, ``layer1.conv1#1`` its second call; ``layer1.add`` an operation in
    the code of ``layer1``, ``layer1.add#1`` the next one. The first call of a module, and so every
    neuron, has the module's name.
    """
    calls = [node for node in graph.nodes if node.op == "call_module"]
    used = {str(node.target) for node in calls}
    first = set(used)
    for node in (*calls, *(node for node in graph.nodes if node.op != "call_module")):
        if node.op in ("call_module", "get_attr"):
            name = str(node.target)
        elif node.op in ("placeholder", "output"):
            name = node.name
        else:
            name = f"{node.meta['path']}.{node.meta['op']}".lstrip(".")
        if node.op == "call_module" and name in first:
            first.remove(name)
        else:
            name = _unused(name, used)
        node.meta["name"] = name
        used.add(name)


def _unused(name: str, used: set[str]) -> str:
    """The name, or with ``#1``, ``#2``, … behind it."""
    candidate, count = name, 0
    while candidate in used:
        count += 1
        candidate = f"{name}#{count}"
    return candidate


def returned(output: fx.Node, value_of: Callable[[fx.Node], Any]) -> Any:
    """A graph's result in plain containers: fx's own can neither be changed nor compared."""
    return _plain(fx.node.map_arg(output.args[0], value_of))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return tuple(map(_plain, value)) if type(value) is tuple else value


def depending_on_input(graph: fx.Graph) -> set[fx.Node]:
    """The inputs and all that is computed from them."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def eliminate_dead(graph: fx.Graph) -> None:
    """Remove nodes nobody reads, but for the guards on the input's shape."""
    graph.eliminate_dead_code(
        lambda node: node.op in ("placeholder", "output") or "guard" in node.meta
    )


def attribute(root: nn.Module, path: str) -> Any:
    """The parameter, buffer or module at a dotted ``path``."""
    return functools.reduce(getattr, path.split("."), root)


def exists(root: nn.Module, path: str) -> bool:
    """Whether there is a module, parameter or buffer at a dotted ``path``."""
    try:
        attribute(root, path)
    except AttributeError:
        return False
    return True


def unique(root: nn.Module, path: str) -> str:
    """``path``, or ``path#1``, ``path#2``, … if something is there."""
    count, candidate = 0, path
    while exists(root, candidate):
        count += 1
        candidate = f"{path}#{count}"
    return candidate


def place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put ``module`` at a dotted ``path``; what was there keeps its children below it."""
    parent, _, name = path.rpartition(".")
    holder = holder_at(root, parent)
    old = holder._modules.get(name)
    if old is not None:
        for child, value in old.named_children():
            if child not in dict(module.named_children()):
                module.add_module(child, value)
    holder.add_module(name, module)


def place_tensor(root: nn.Module, path: str, value: Tensor) -> None:
    """Register a buffer at a dotted path, making the modules on the way."""
    parent, _, name = path.rpartition(".")
    holder_at(root, parent).register_buffer(name, value)


def holder_at(root: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path, made of empty modules where there are none."""
    for part in path.split(".") if path else []:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root
