"""torch's multi-head attention, written out in operations that a graph can hold."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeport.convert.errors import ConversionError


class Attention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` in eval mode, batch first inside, so that time folds into it."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See torch; the weights are returned where they are asked for.

        Raises:
            ConversionError: key and value tokens of the layer's own.
        """
        if self.bias_k is not None or self.add_zero_attn:
            raise ConversionError(
                "a MultiheadAttention with add_bias_kv or add_zero_attn has no spiking form; leave "
                "them out"
            )
        inputs = [query, key, value]
        if not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        projected = self._projected(inputs)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in projected)
        mask = self._added(attn_mask, key_padding_mask, q)
        mixed = F.scaled_dot_product_attention(q, k, v, mask)
        out = self.out_proj(mixed.transpose(1, 2).flatten(2))
        weights = None
        if need_weights:
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            if mask is not None:
                scores = scores + mask
            weights = scores.softmax(-1)
            weights = weights.mean(1) if average_attn_weights else weights
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _added(self, mask: Tensor | None, padding: Tensor | None, q: Tensor) -> Tensor | None:
        """The sum of both masks, added to the scores [B, heads, L, S]; True is a hidden key."""
        if mask is not None:
            mask = _of_floats(mask, q)
            if mask.ndim == 3:
                mask = mask.unflatten(0, (-1, self.num_heads))
        if padding is None:
            return mask
        padding = _of_floats(padding, q)[:, None, None, :]
        return padding if mask is None else mask + padding

    def _projected(self, inputs: list[Tensor]) -> list[Tensor]:
        """Queries, keys and values, each [B, L, E]."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        biases = [None] * 3 if bias is None else list(bias.chunk(3))
        if not self._qkv_same_embed_dim:
            weights: list[Tensor] = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        elif inputs[0] is inputs[1] and inputs[1] is inputs[2]:
            return list(F.linear(inputs[0], weight, bias).chunk(3, -1))
        else:
            weights = list(weight.chunk(3))
        return [F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]


def _of_floats(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -math.inf)


class Encoder(nn.TransformerEncoder):
    """``nn.TransformerEncoder`` in eval mode.

    Without gradients torch packs sentences whose padding is behind them, and returns 0 for it
    (``enable_nested_tensor``).
    """

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """See torch."""
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
        if src_key_padding_mask is not None and mask is None and self.use_nested_tensor:
            padding = src_key_padding_mask != 0
            behind = (padding[:, 1:] | ~padding[:, :-1]).all()  # in all sentences of the batch
            output = output.masked_fill((padding & behind).unsqueeze(-1), 0.0)
        return output if self.norm is None else self.norm(output)


def open_attention(module: nn.Module) -> None:
    """Let a layer of torch's be traced through, in place; other modules are left as they are."""
    if type(module) is nn.TransformerEncoder:
        module.__class__ = Encoder
    if type(module) is nn.MultiheadAttention:
        module.__class__ = Attention
        # it is one, under a name that no file knows
        module.out_proj.__class__ = nn.Linear  # type: ignore[assignment]
