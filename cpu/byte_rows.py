"""Whole-number weights in the layout in which the engine reads them: rows of 64 bytes."""

import torch
from torch import Tensor

from spikeport.cpu.fresh import uninitialised
from spikeport.cpu.loader import Unsuited
from spikeport.cpu.streams import Levels
from spikeport.cpu.synapses import WIDEST, Blocks, Synapses, folded

LARGEST = 127  # weight
COUNTED = 5  # magnitude planes up to which an entry of the engine's lists counts |n| (src/lists.h)
SHORT = 2**15 - 1
PLACES = torch.arange(WIDEST)
# Where an output is in a row: the engine interleaves two rows, eight bytes of each at a time.
ORDER = PLACES % 32 // 8 * 16 + PLACES // 32 * 8 + PLACES % 8


def fit_bytes(synapses: Synapses) -> bool:
    """Whether all weights times values are whole numbers in [-127, 127]; of 16 bits if masked."""
    weight, most = folded(synapses), SHORT if synapses.masked else LARGEST
    return bool(((weight == weight.round()) & (weight.abs() <= most)).all())


def fits_short(synapses: Synapses, levels: Levels) -> bool:
    """Whether sums of 16 bits hold one row at least, whatever the spikes."""
    return rows_in_short(synapses, levels) > 0


def arrange_bytes(synapses: Synapses, blocks: Blocks, has_sign: bool) -> Tensor:
    """The weights times the senders' values, as ``sp_term.weights`` of an integer layer.

    Args:
        synapses: of which ``fit_bytes`` is true.
        blocks: of output channels.
        has_sign: whether spikes may be negative: then each row is followed by its negative.

    Returns:
        int8 [blocks, taps, C_in / groups, 1 or 2, 64]; int16 [blocks, taps, 64] if masked.
    """
    whole = torch.int16 if synapses.masked else torch.int8
    taps = folded(synapses).flatten(2).permute(2, 1, 0).to(whole)  # [taps, C_in, C_out]
    spans = list(zip(blocks.first, blocks.count, strict=True))
    if synapses.masked:
        out = uninitialised([len(spans), taps.shape[0], WIDEST], torch.int16).zero_()
        for index, (first, count) in enumerate(spans):
            out[index, :, :count] = taps[:, 0, first : first + count]
        return out
    signs = 1 + has_sign
    out = uninitialised([len(spans), *taps.shape[:2], signs, WIDEST], torch.int8).zero_()
    if out[0].numel() >= 2**32:
        raise Unsuited(f"{taps.shape[0] * taps.shape[1]} inputs of a neuron are too many")
    for index, (first, count) in enumerate(spans):
        part = taps[:, :, first : first + count]
        out[index, :, :, 0, ORDER[:count]] = part
        if has_sign:
            out[index, :, :, 1, ORDER[:count]] = -part
    return out


def rows_in_short(synapses: Synapses, levels: Levels) -> int:
    """Rows (masked: kernel positions) whose sum fits 16 bits whatever the spikes; for rows even."""
    most = 2**levels.magnitudes - 1
    if not synapses.masked and levels.magnitudes > COUNTED:
        most = 2 ** (levels.magnitudes - 1)  # an entry is one bit of |n|
    largest = max(1, int(folded(synapses).abs().max())) * most
    return SHORT // largest if synapses.masked else SHORT // largest // 2 * 2


def reach(synapses: Synapses, levels: Levels) -> int:
    """The largest sum of a neuron's inputs from these synapses at a timestep."""
    sums = folded(synapses).abs().double().flatten(1).sum(1)
    taps = 1
    if synapses.shared:
        taps = synapses.geometry.kernel[0] * synapses.geometry.kernel[1]
    return int(sums.max()) * taps * (2**levels.magnitudes - 1)
