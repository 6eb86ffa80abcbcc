"""Architectures of timm and torchvision, as narrow and shallow as their code allows.

Weights are random, settled so that no branch is hidden. What decides whether a network converts and
what can be done with it is the code of its forward, which is the same in the wide versions.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
import torchvision
from timm.models import metaformer, nfnet
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.ghostnet import GhostNet
from timm.models.mlp_mixer import MlpMixer
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.regnet import RegNet, RegNetCfg
from timm.models.vovnet import VovNet
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import segmentation
from torchvision.models._utils import IntermediateLayerGetter

import spikeport as sp
from spikeport.convert import SpikingNetwork
from spikeport.scripts.coverage.measure import settle

CLASSES = 6
FOUR, WIDTHS = (1, 1, 1, 1), (8, 16, 24, 32)


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return partial(timm.create_model, name, num_classes=CLASSES, **options)


def _torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    options = {"weights": None, "num_classes": CLASSES} | options
    return partial(torchvision.models.get_model, name, **options)


def _tokens(name: str, **options: Any) -> Callable[[], nn.Module]:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return _timm(name, **(sizes | options))


def _vgg() -> nn.Module:
    features = torchvision.models.vgg.make_layers([8, "M", 16, "M", 16, 16, "M"], batch_norm=True)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, CLASSES))


def _repvgg() -> nn.Module:
    blocks = tuple(ByoBlockCfg(type="rep", d=1, c=c, s=2, gs=0) for c in (8, 16))
    cfg = ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=8)
    return ByobNet(cfg, num_classes=CLASSES)


def _mobilenetv3(blocks: list[list[str]]) -> nn.Module:
    gate = partial(SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU)
    options: dict[str, Any] = {"act_layer": nn.Hardswish, "se_layer": gate, "num_features": 32}
    return MobileNetV3(decode_arch_def(blocks), CLASSES, stem_size=8, **options)


MOBILENET = [["ds_r1_k3_s2_e1_c8_se0.25_nre"], ["ir_r1_k3_s2_e4.5_c16_nre"]]
MOBILENET += [["ir_r2_k5_s1_e3_c16_se0.25"], ["cn_r1_k1_s1_c32"]]
LCNET = [["dsa_r1_k3_s1_c8"], ["dsa_r2_k3_s2_c16"], ["dsa_r1_k5_s2_c24_se0.25"]]
GHOSTNET = [[[3, 16, 8, 0, 1]], [[3, 24, 16, 0, 2]], [[5, 32, 16, 0.25, 1], [3, 32, 24, 0, 1]]]


def _regnet() -> nn.Module:
    cfg = RegNetCfg(4, 16, 16, 1.3, 8, se_ratio=0.25, stem_width=8)
    return RegNet(cfg, num_classes=CLASSES)


def _nfnet() -> nn.Module:
    cfg = nfnet._nfnet_cfg(
        *(FOUR, (16, 16, 24, 32), 8, 0.5, 1.5, "silu"),
        attn_kwargs={"rd_ratio": 0.25, "rd_divisor": 8},
    )
    return nfnet.NormFreeNet(cfg, num_classes=CLASSES)


def _vovnet() -> nn.Module:
    cfg = {"stem_chs": [8, 8, 8], "stage_conv_chs": [8, 8, 16, 16], "stage_out_chs": [*WIDTHS]}
    cfg |= {"layer_per_block": 2, "block_per_stage": [*FOUR], "residual": True, "depthwise": True}
    return VovNet(cfg | {"attn": "ese"}, num_classes=CLASSES)


def _poolformer() -> nn.Module:
    options: dict[str, Any] = {"downsample_norm": None, "mlp_act": nn.GELU, "mlp_bias": True}
    options |= {"norm_layers": metaformer.GroupNorm1, "layer_scale_init_values": 1e-5}
    options |= {"res_scale_init_values": None, "use_mlp_head": False}
    return metaformer.MetaFormer(num_classes=CLASSES, depths=FOUR, dims=WIDTHS, **options)


def _segmenter(network: type[nn.Module], head: Callable[[int, int], nn.Module]) -> nn.Module:
    body = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 16, 3, 2, 1)),
        *(nn.BatchNorm2d(16), nn.ReLU(True)),
    )
    layers = IntermediateLayerGetter(body, {"2": "aux", "5": "out"})
    return network(layers, head(16, CLASSES), segmentation.fcn.FCNHead(8, CLASSES))


def _deeplab_head(channels: int, classes: int) -> nn.Module:
    head = segmentation.deeplabv3.ASPP(channels, [2, 4], 16)
    return nn.Sequential(
        head, nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, classes, 1)
    )


# name: how it is made, and the side of its images
FAST: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (_tokens("vit_tiny_patch16_224"), 32),
    "deit": (_tokens("deit_tiny_distilled_patch16_224"), 32),
    "cait": (_tokens("cait_xxs24_224"), 32),
    "xcit": (_timm("xcit_nano_12_p8_224", img_size=32, embed_dim=24, depth=1, num_heads=2), 32),
    "swin": (
        _timm(
            *("swin_tiny_patch4_window7_224",),
            **{"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (2, 1)},
            num_heads=(2, 4),
        ),
        32,
    ),
    "levit": (
        _timm(
            *("levit_128s",),
            **{"img_size": 32, "embed_dim": (16, 24, 32), "key_dim": 8, "num_heads": (2, 3, 4)},
            depth=(1, 1, 1),
        ),
        32,
    ),
    "coat": (
        _timm(
            *("coat_lite_tiny",),
            **{"img_size": 32, "embed_dims": (16, 24, 32, 40), "serial_depths": FOUR},
            num_heads=8,
        ),
        32,
    ),
    "mixer": (
        partial(MlpMixer, CLASSES, img_size=32, patch_size=8, num_blocks=2, embed_dim=24),
        32,
    ),
    "convnext": (_timm("convnext_atto", depths=FOUR, dims=WIDTHS), 32),
    "edgenext": (_timm("edgenext_xx_small", depths=FOUR, dims=WIDTHS), 32),
    "poolformer": (_poolformer, 32),
    "efficientnet": (_timm("test_efficientnet"), 32),
    "mobilenetv3": (partial(_mobilenetv3, MOBILENET), 32),
    "ghostnet": (partial(GhostNet, GHOSTNET, CLASSES, 0.5), 32),
    "lcnet": (partial(_mobilenetv3, LCNET), 32),
    "shufflenet": (
        partial(
            torchvision.models.ShuffleNetV2, [2, 1, 1], [8, 16, 24, 32, 64], num_classes=CLASSES
        ),
        32,
    ),
    "densenet": (_timm("densenet121", block_config=(2, 2, 2, 2), growth_rate=8), 32),
    "squeezenet": (_torchvision("squeezenet1_1"), 48),
    "resnet": (_timm("test_resnet"), 32),
    "resnext": (_timm("resnext50_32x4d", layers=FOUR, channels=(16, 16, 16, 16)), 32),
    "resnest": (_timm("resnest14d", layers=FOUR, channels=WIDTHS), 32),
    "regnet": (_regnet, 32),
    "vgg": (_vgg, 32),
    "repvgg": (_repvgg, 32),
    "byobnet": (_timm("test_byobnet"), 32),
    "nfnet": (_nfnet, 32),
    "dla": (
        _timm(
            *("dla46x_c",),
            **{"levels": [1, 1, 1, 1, 1, 1], "channels": [8, 8, 16, 16, 32, 32]},
            **{"cardinality": 8, "base_width": 8},
        ),
        32,
    ),
    "vovnet": (_vovnet, 32),
    "fcn": (partial(_segmenter, segmentation.FCN, segmentation.fcn.FCNHead), 16),
    "deeplab": (partial(_segmenter, segmentation.DeepLabV3, _deeplab_head), 16),
}
SLOW: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "mnasnet": (_torchvision("mnasnet0_5"), 32),
    "googlenet": (_torchvision("googlenet", init_weights=False), 64),
    "inception_v3": (_torchvision("inception_v3", init_weights=False), 96),
    "hrnet": (_timm("hrnet_w18_small"), 64),
    "dpn": (_timm("dpn48b"), 32),
    "lraspp": (
        _torchvision("lraspp_mobilenet_v3_large", weights_backbone=None),
        32,
    ),
    "mobilevit": (_timm("mobilevit_xxs"), 64),
    "crossvit": (_timm("crossvit_tiny_240", img_size=240), 240),
    "fastvit": (_timm("fastvit_t8"), 64),
    "swinv2": (
        _timm("swinv2_tiny_window8_256", img_size=32, window_size=4, embed_dim=16, depths=(2, 2)),
        32,
    ),
    "davit": (_timm("davit_tiny", embed_dims=WIDTHS, depths=FOUR, num_heads=(2, 2, 2, 2)), 32),
    "skresnet": (_timm("skresnet18"), 32),
    "mobileone": (_timm("mobileone_s0"), 32),
    "efficientformer": (_timm("efficientformerv2_s0", img_size=64), 64),
    "hgnet": (_timm("hgnetv2_b0"), 32),
}


def made(name: str) -> tuple[nn.Module, Tensor]:
    """An architecture with settled random weights, and two images."""
    make, side = {**FAST, **SLOW}[name]
    torch.manual_seed(0)
    model = make().eval()
    x = F.interpolate(torch.randn(6, 3, 8, 8), size=(side, side))
    return settle(model, x), x[:2].clone()


def converted(name: str) -> tuple[SpikingNetwork, nn.Module, Tensor]:
    """An architecture as a spiking network, itself, and two images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        model, x = made(name)
    return sp.to_snn(model, [x], progress=False), model, x
