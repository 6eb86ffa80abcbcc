"""The models that the coverage sweep goes over: how each is built, and what kind of network it is.

What a model is made of is read off one forward pass of it on the meta device (shapes, no numbers):
a dispatch mode notes each operation on values that depend on the image. Nothing about a model is
typed in by hand but its name in the registry.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

TIMM, CLASSIFIER, SEGMENTER = "timm", "torchvision classifier", "torchvision segmenter"
SIZES = (64, 96, 128, 160, 192, 224, 256)  # of the images, the smallest that a model takes
CLASSES = 20

# what a ReLU network is made of: rectifiers and max-pools, gates, and what is linear
RECTIFIERS = {"relu", "hardtanh", "leaky_relu", "prelu", "max_pool2d_with_indices"}
GATES = {"sigmoid", "hardsigmoid"}
PRODUCTS = {"mul"}
# fmt: off
LINEAR = {
    "_adaptive_avg_pool2d", "_reshape_alias", "_to_copy", "_unsafe_view", "add", "addmm",
    "alias", "as_strided", "avg_pool2d", "bernoulli", "cat", "channel_shuffle", "clone",
    "constant_pad_nd", "convolution", "detach", "div", "expand", "flip", "full_like", "mean", "mm",
    "mul by constant", "native_batch_norm", "_native_batch_norm_legit_no_training", "ones_like",
    "permute", "reflection_pad2d", "select", "slice", "split", "split_with_sizes", "squeeze",
    "stack", "sub", "sum", "t", "transpose", "unbind", "unsqueeze", "upsample_bilinear2d",
    "upsample_bicubic2d", "upsample_nearest2d", "view", "zeros_like", "native_channel_shuffle",
    "cudnn_batch_norm", "native_dropout", "new_empty", "empty_like", "copy", "bmm by constant",
}
# fmt: on


@dataclass(frozen=True)
class Entry:
    """A model of a registry.

    Attributes:
        name: in this sweep, "resnet18" or "torchvision/resnet18".
        library: TIMM, CLASSIFIER or SEGMENTER.
        family: the module that defines it, such as "resnet".
    """

    name: str
    library: str
    family: str


def entries(patterns: list[str]) -> list[Entry]:
    """The models of all registries whose name matches one of the globs, in their order."""
    return [e for e in _all_entries() if any(fnmatch(e.name, pattern) for pattern in patterns)]


def _all_entries() -> Iterator[Entry]:
    for name in timm.list_models():
        module = timm.models.model_entrypoint(name).__module__
        yield Entry(name, TIMM, module.rpartition(".")[2])
    for folder, library in (
        (torchvision.models, CLASSIFIER),
        (torchvision.models.segmentation, SEGMENTER),
    ):
        for name in torchvision.models.list_models(module=folder):
            module = torchvision.models.get_model_builder(name).__module__
            yield Entry(f"torchvision/{name}", library, module.rpartition(".")[2])


def create(entry: Entry, img_size: int | None = None) -> nn.Module:
    """The model with random weights, in eval mode.

    Args:
        entry: which.
        img_size: for models of a fixed image size that can be built for another one.
    """
    sized: dict[str, Any] = {} if img_size is None else {"img_size": img_size}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initialisations that take long, of old names
        if entry.library == TIMM:
            return timm.create_model(entry.name, num_classes=CLASSES, **sized).eval()
        options: dict[str, Any] = {"weights": None, "num_classes": CLASSES}
        if entry.library == SEGMENTER:
            options["weights_backbone"] = None
        name = entry.name.rpartition("/")[2]
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = False
        return torchvision.models.get_model(name, **options, **sized).eval()


def survey(entry: Entry) -> dict[str, Any]:
    """Size, image shape and operations of a model, without computing anything.

    Returns:
        ``parameters``; ``pixels``, the side of the smallest image that it takes, and ``img_size``,
        the argument it has to be built with for that or None; ``channels``; ``operations`` that
        are not linear; ``group``: "relu" or "other".
    """
    with torch.device("meta"):
        model, shape, img_size = _smallest(entry)
        with _Operations() as seen, torch.no_grad():
            model(seen.image(torch.empty(2, *shape)))
    operations = sorted(seen.names - LINEAR)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "pixels": shape[1],
        "channels": shape[0],
        "img_size": img_size,
        "operations": operations,
        "group": "relu" if is_relu_family(seen.names) else "other",
    }


def is_relu_family(operations: set[str]) -> bool:
    """Rectifiers, max-pools and linear operations; gates and their products, too."""
    unlinear = operations - LINEAR - RECTIFIERS
    gated = bool(unlinear & GATES)
    return bool(operations & RECTIFIERS) and unlinear <= (GATES | PRODUCTS if gated else set())


def _smallest(entry: Entry) -> tuple[nn.Module, tuple[int, int, int], int | None]:
    """A model for the smallest images that it runs on, [C, S, S], and how it was built."""
    model = _without_numbers(entry)
    config = getattr(model, "pretrained_cfg", None) or {}
    channels, default, _ = config.get("input_size", (3, 224, 224))
    sizes = [size for size in SIZES if size < default] + [default]
    if config.get("fixed_input_size"):
        for size in sizes:
            try:
                sized = _without_numbers(entry, size)
                return _run(sized, (channels, size, size)), (channels, size, size), size
            except Exception:  # whatever a model says to an image size or to the argument
                continue
    for size in sizes[:-1]:
        try:
            return _run(model, (channels, size, size)), (channels, size, size), None
        except Exception:
            continue
    return model, (channels, default, default), None


def _without_numbers(entry: Entry, img_size: int | None = None) -> nn.Module:
    try:
        return create(entry, img_size)
    except NotImplementedError:  # its constructor looks at the numbers of a tensor
        with torch.device("cpu"):
            return create(entry, img_size).to("meta")


def _run(model: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
    with torch.no_grad():
        model(torch.empty(2, *shape))
    return model


class _Operations(TorchDispatchMode):
    """Notes the operations on values that depend on the image.

    Attributes:
        names: of aten's operations, without overload and trailing underscore.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self._dependent: dict[int, Tensor] = {}  # keeps them alive, or an id could return

    def image(self, x: Tensor) -> Tensor:
        """Say that ``x`` is the image."""
        self._dependent[id(x)] = x
        return x

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = pytree.tree_leaves((args, kwargs))
        dependent = [leaf for leaf in leaves if id(leaf) in self._dependent]
        if dependent:
            name = func.overloadpacket.__name__.rstrip("_")
            constant = name in ("mul", "bmm") and len(dependent) == 1
            self.names.add(f"{name} by constant" if constant else name)
            for leaf in pytree.tree_leaves(out):
                if isinstance(leaf, Tensor):
                    self._dependent[id(leaf)] = leaf
        return out
