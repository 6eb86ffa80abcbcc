"""Networks of Hugging Face's transformers, as small as their configurations allow.

The weights are random, the code of the forward is that of the large ones. Each comes with a batch
of its own keyword arguments; ``python -m spikeport.scripts.coverage.hugging_face`` writes the page.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeport.convert.files import write_text
from spikeport.scripts.coverage.page import table
from spikeport.scripts.coverage.row import HEADS, MEANING, measured

WORDS, WIDTH, PARTS = 64, 32, 4
USUAL = {
    **{"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": PARTS},
    "intermediate_size": 2 * WIDTH,
}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
IMAGES = {**USUAL, "image_size": 32, "patch_size": 8}
Made = tuple[nn.Module, dict[str, Tensor]]

PAGE = """# Networks of Hugging Face

Networks of `transformers` with random weights, as small as their configurations allow, converted
as they are: a batch is the dictionary of their keyword arguments, and what comes back is their own
output class. This page is written by `python -m spikeport.scripts.coverage.hugging_face`; a test
runs every verb (each backend, `anytime`, `sweep`, `cost`, `inspect`, the report, saving and
loading, copies, fine-tuning, early exit) on each of them.

{table}

{meaning}

A cache of keys and values is no output of a spiking network: it is left out with a warning, or
not made where the configuration says `use_cache=False`.
"""


def _tokens(rows: int = 4, length: int = 7) -> dict[str, Tensor]:
    """Token ids with padding behind them."""
    generator = torch.Generator().manual_seed(rows + length)
    ids = torch.randint(3, WORDS, (rows, length), generator=generator)
    lengths = torch.randint(length // 2 + 1, length + 1, (rows, 1), generator=generator)
    mask = (torch.arange(length) < lengths).long()
    ids[torch.arange(rows), lengths[:, 0] - 1] = SPECIAL["eos_token_id"]
    return {"input_ids": ids * mask, "attention_mask": mask}


def _pixels(side: int = 32) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(4, 3, side, side)}


def bert() -> Made:
    """Embeddings of sentences, with the pooled first word."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(vocab_size=WORDS, **USUAL)), _tokens()


def bert_classifier() -> Made:
    """Class scores of sentences; with labels, which belong to the batch and not to the network."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=WORDS, num_labels=3, **USUAL)
    return BertForSequenceClassification(config), _tokens()


def roberta() -> Made:
    """BERT whose positions are counted from the padding."""
    from transformers import RobertaConfig, RobertaModel

    return RobertaModel(RobertaConfig(vocab_size=WORDS, **SPECIAL, **USUAL)), _tokens()


def distilbert() -> Made:
    """BERT with half the layers and other names."""
    from transformers import DistilBertConfig, DistilBertModel

    sizes = {"dim": WIDTH, "n_layers": 2, "n_heads": PARTS, "hidden_dim": 2 * WIDTH}
    return DistilBertModel(DistilBertConfig(vocab_size=WORDS, **sizes)), _tokens()


def gpt2() -> Made:
    """A language model with layer norms and learned positions."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": WIDTH, "n_layer": 2, "n_head": PARTS, "use_cache": False}
    return GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, **SPECIAL, **sizes)), _tokens()


def qwen2() -> Made:
    """A language model with rotary positions, gated layers and shared heads."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {**USUAL, "num_key_value_heads": 2, "use_cache": False}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=WORDS, **SPECIAL, **sizes)), _tokens()


def llama() -> Made:
    """The same without biases."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {**USUAL, "num_key_value_heads": 2, "use_cache": False}
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, **SPECIAL, **sizes)), _tokens()


def vit() -> Made:
    """Class scores of images."""
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(**IMAGES)), _pixels()


def deit() -> Made:
    """ViT with a second token."""
    from transformers import DeiTConfig, DeiTForImageClassification

    return DeiTForImageClassification(DeiTConfig(**IMAGES)), _pixels()


def swin() -> Made:
    """Attention in shifted windows."""
    from transformers import SwinConfig, SwinForImageClassification

    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 16}
    config = SwinConfig(depths=[2, 2], num_heads=[2, 4], **sizes)
    return SwinForImageClassification(config), _pixels()


def clip_text() -> Made:
    """CLIP's tower for text, which reads its answer at the end of the sentence."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(vocab_size=WORDS, **SPECIAL, **USUAL)), _tokens()


def clip_vision() -> Made:
    """CLIP's tower for images."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return CLIPVisionModel(CLIPVisionConfig(**IMAGES)), _pixels()


def segformer() -> Made:
    """A map of class scores."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
    )
    return SegformerForSemanticSegmentation(config), _pixels(64)


def dpt() -> Made:
    """A map of depths."""
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        **{**IMAGES, "num_hidden_layers": 4},
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        reassemble_factors=[4, 2, 1, 0.5],
    )
    return DPTForDepthEstimation(config), _pixels()


def detr() -> Made:
    """Boxes and their classes, by queries."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 12, 16, 20],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    sizes = {
        **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
        **{f"{part}_attention_heads": PARTS for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": WIDTH for part in ("encoder", "decoder")},
    }
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=backbone,
        d_model=WIDTH,
        num_queries=5,
        num_labels=4,
        **sizes,
    )
    return DetrForObjectDetection(config), _pixels(64)


def whisper_encoder() -> Made:
    """The encoder of spoken words, on spectrograms."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=WIDTH,
        encoder_layers=2,
        encoder_attention_heads=PARTS,
        encoder_ffn_dim=2 * WIDTH,
        num_mel_bins=16,
        max_source_positions=20,
    )
    return WhisperEncoder(config), {"input_features": torch.randn(4, 16, 40)}


NETWORKS: dict[str, Callable[[], Made]] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(bert, bert_classifier, roberta, distilbert, gpt2, qwen2, llama, vit, deit, swin),
        *(clip_text, clip_vision, segformer, dpt, detr, whisper_encoder),
    )
}


@torch.no_grad()
def made(name: str) -> Made:
    """A network in eval mode and a batch, the same in every call.

    Its matrices are drawn wider than the library draws them, so that no layer is next to nothing.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        torch.manual_seed(0)
        model, batch = NETWORKS[name]()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval(), batch


def other_sizes(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch of fewer rows, and of longer sequences where there are any."""
    if "input_ids" in batch:
        return _tokens(rows=2, length=9)
    return {name: value[1:3].flip(0) for name, value in batch.items()}


def described(name: str) -> list[str]:
    """The row of a network."""
    model, batch = made(name)
    return [
        f"`{type(model).__name__}`",
        ", ".join(f"`{argument}`" for argument in batch),
        f"`{type(model(**batch)).__name__}`",
        *measured(model, batch, other_sizes(batch)),
    ]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=Path("docs/coverage_hugging_face.md"))
    options = parser.parse_args()
    heads = ["network", "arguments", "output", *HEADS]
    found = table(heads, [described(name) for name in NETWORKS])
    write_text(options.page, PAGE.format(table=found, meaning=MEANING))


if __name__ == "__main__":
    main()
