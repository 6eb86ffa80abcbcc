"""Questions that a network's code asks of a tensor: facts, and data."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from spikeport.convert.errors import ConversionError
from spikeport.convert.tracing.traced_tensor import TracedTensor

# known of a tensor whatever its size is
FACTS = {
    "dim", "ndimension", "ndim", "layout", "is_contiguous", "is_floating_point", "is_complex",
    "is_signed", "is_conj", "is_neg", "is_inference", "is_pinned", "is_shared", "get_device",
    "element_size", "itemsize", "is_cuda", "is_cpu", "is_meta", "is_mps", "is_xpu", "is_mkldnn",
    "is_sparse", "is_sparse_csr", "is_quantized", "is_nested", "names", "has_names", "is_coalesced",
}  # fmt: skip
# the same for every tensor in inference
ALWAYS = {
    "requires_grad": False, "is_leaf": True, "grad": None, "_grad": None, "grad_fn": None,
    "_grad_fn": None, "_base": None, "_backward_hooks": None, "retains_grad": False, "output_nr": 0,
    "_version": 0, "_is_view": False,
}  # fmt: skip
# return the tensor, or nothing that matters without gradients
WITHOUT_EFFECT = {"requires_grad_", "retain_grad", "share_memory_", "rename_", "rename"}
HOOKS = {"register_hook", "register_post_accumulate_grad_hook"}
GRADIENTS = {"_make_dual", "_unpack_dual", "backward", "grad"}
# a number of a tensor, which a network's code may decide on
NUMBERS = {"__bool__", "__int__", "__float__", "__index__", "item", "is_nonzero"}
# need numbers that only a real input has
DATA = {
    "__bool__", "__int__", "__float__", "__index__", "__complex__", "item", "tolist", "numpy",
    "__array__", "__contains__", "is_nonzero", "equal", "allclose", "__reduce_ex__", "data_ptr",
    "storage", "untyped_storage", "_typed_storage", "storage_type", "__dlpack__",
    "__dlpack_device__", "__cuda_array_interface__", "is_set_to",
}  # fmt: skip


def asked(recorder: Any, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The answer to a question, or NotImplemented for a call that computes something."""
    name = getattr(function, "__name__", "")
    if name in ("__get__", "__set__", "__delete__"):
        attribute = function.__self__.__name__
        if name == "__get__":
            return _attribute(recorder, args[0], attribute)
        return _set_attribute(recorder, args[0], attribute, args[1:])
    if name in _ANSWERS:
        return _ANSWERS[name](recorder, args, kwargs)
    first = args[0] if args else None
    if name in NUMBERS and type(first) is TracedTensor:
        return recorder.values.number(first.fx_node, function)
    if name in DATA:
        real = recorder.concrete((args, kwargs), name)
        return function(*real[0], **real[1])
    if name in GRADIENTS:
        raise ConversionError(
            f"'{name}' makes gradients, which have no form in a graph for inference; convert a "
            "submodule, or write the derivative out"
        )
    if type(first) is not TracedTensor:
        return NotImplemented
    if name in FACTS or (name == "type" and len(args) == 1 and not kwargs):
        with torch._C.DisableTorchFunction():
            return function(first.traced_value, *args[1:], **kwargs)
    if name in ALWAYS:
        return ALWAYS[name]
    if name in WITHOUT_EFFECT:
        return first
    return RemovableHandle(OrderedDict()) if name in HOOKS else NotImplemented


def _attribute(recorder: Any, tensor: TracedTensor, name: str) -> Any:
    value = tensor.traced_value
    if name in ALWAYS:
        return ALWAYS[name]
    if name in ("dtype", "device"):
        return recorder.read(tensor, getattr(value, name))
    if name in FACTS:
        return getattr(value, name)
    if name == "shape":
        return recorder.shape(tensor)
    if name == "data":
        return recorder.call("call_method", "detach", (tensor,), {})
    return recorder.call("call_function", getattr, (tensor, name), {})


def _set_attribute(recorder: Any, tensor: Any, name: str, values: tuple[Any, ...]) -> None:
    if name == "data":
        recorder.call("call_method", "copy_", (tensor, *values), {})


def _length(recorder: Any, args: Any, kwargs: Any) -> int:
    return int(recorder.shape(args[0])[0])


def _rows(recorder: Any, args: Any, kwargs: Any) -> Any:
    return iter([args[0][index] for index in range(int(recorder.shape(args[0])[0]))])


def _printed(recorder: Any, args: Any, kwargs: Any) -> str:
    value = args[0].traced_value if type(args[0]) is TracedTensor else args[0]
    return f"tensor(..., size={tuple(value.shape)}, dtype={value.dtype})"


def _copied(recorder: Any, args: Any, kwargs: Any) -> Any:
    return recorder.call("call_method", "clone", args[:1], {})


def _set_item(recorder: Any, args: Any, kwargs: Any) -> None:
    recorder.set_item(*args)


def _assert(recorder: Any, args: Any, kwargs: Any) -> None:
    if not args[0]:
        raise AssertionError(*args[1:])


def _made(recorder: Any, args: Any, kwargs: Any) -> Any:
    """``torch.tensor`` and its like, of traced values."""
    data = args[0] if args else kwargs.get("data", kwargs.get("obj"))
    made = _tensor_of(recorder, data)
    wanted = {key: kwargs[key] for key in ("dtype", "device") if kwargs.get(key) is not None}
    return recorder.call("call_method", "to", (made,), wanted) if wanted else made


def _tensor_of(recorder: Any, data: Any) -> Any:
    if isinstance(data, Tensor):
        return recorder.call("call_method", "clone", (data,), {})
    if isinstance(data, (list, tuple)):
        return recorder.call(
            "call_function", torch.stack, ([_tensor_of(recorder, item) for item in data],), {}
        )
    return recorder.call("call_function", torch.full, ((), data), {})


_ANSWERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "__len__": _length,
    "__iter__": _rows,
    "__hash__": lambda recorder, args, kwargs: id(args[0]),
    "__repr__": _printed,
    "__str__": _printed,
    "__format__": _printed,
    "__deepcopy__": _copied,
    "__setitem__": _set_item,
    "_assert": _assert,
    "tensor": _made,
    "as_tensor": _made,
    "asarray": _made,
    "as_subclass": lambda recorder, args, kwargs: args[0],
}
