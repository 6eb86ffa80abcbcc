"""Names of the ImageNet classes, for people."""

from collections import Counter

from torch import nn


def class_names(model_or_count: nn.Module | int) -> list[str] | None:
    """Names the outputs of a classifier that was trained on ImageNet.

    The data set is guessed from the number of classes, the only trace a model keeps of it: 1000 is
    ImageNet-1k, 21841 is ImageNet-22k, and so on.

    Args:
        model_or_count: a timm model or one from `load_model`, or the number of classes.

    Returns:
        The first synonym of every class, in output order ("tench", "goldfish", ...). Where two
        classes share it, the index follows: "crane (134)", "crane (517)". None if the number of
        classes belongs to no ImageNet.
    """
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    is_count = isinstance(model_or_count, int)
    subset = infer_imagenet_subset({"num_classes": model_or_count} if is_count else model_or_count)
    if subset is None:
        return None
    short = [text.split(",")[0] for text in ImageNetInfo(subset).label_descriptions()]
    uses = Counter(short)
    return [f"{name} ({i})" if uses[name] > 1 else name for i, name in enumerate(short)]
