"""Whole-number weights in the layout in which the engine reads them: rows of 64 bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeport.cpu.fresh import uninitialised
from spikeport.cpu.loader import Unsuited
from spikeport.cpu.streams import Levels
from spikeport.cpu.synapses import WIDEST, Blocks, Synapses, folded

LARGEST = 127  # code of a weight in a row
COUNTED = 5  # magnitude planes up to which an entry of the engine's lists counts |n| (src/lists.h)
SHORT = 2**15 - 1
PLACES = torch.arange(WIDEST)
# Where an output is in a row: the engine interleaves two rows, eight bytes of each at a time.
ORDER = PLACES % 32 // 8 * 16 + PLACES // 32 * 8 + PLACES % 8


@dataclass(frozen=True)
class Codes:
    """Weights times the senders' values, whole numbers, as small ones times powers of two.

    Attributes:
        small: of at most 8 bits, or of 16 if masked; float32 of the weights' shape.
        shifts: by output channel the exponents, int32 [C_out]; None where all are 0.
    """

    small: Tensor
    shifts: Tensor | None


def codes(synapses: Synapses) -> Codes | None:
    """The weights' codes; None where they are not whole or need more bits."""
    weight, most = folded(synapses), SHORT if synapses.masked else LARGEST
    by_channel = weight.flatten(1)
    if not bool((by_channel == by_channel.round()).all()):
        return None
    largest = by_channel.abs().amax(1)
    if float(largest.amax()) <= most:
        return Codes(weight, None)
    shifts = (largest / most).log2().ceil().clamp(min=0)
    small = weight / (2**shifts).view(-1, 1, 1, 1)
    fits = (small == small.round()) & (small.abs() <= most)
    return Codes(small, shifts.to(torch.int32)) if bool(fits.all()) else None


def fits_short(synapses: Synapses, levels: Levels) -> bool:
    """Whether sums of 16 bits hold one row at least, whatever the spikes."""
    found = codes(synapses)
    return found is not None and rows_in_short(found, synapses.masked, levels) > 0


def arrange_bytes(found: Codes, masked: bool, blocks: Blocks, has_sign: bool) -> Tensor:
    """The codes as ``sp_term.weights`` of an integer layer.

    Args:
        found: the synapses' codes.
        masked: from channel to channel of the same number only.
        blocks: of output channels.
        has_sign: whether spikes may be negative: then each row is followed by its negative.

    Returns:
        int8 [blocks, taps, C_in / groups, 1 or 2, 64]; int16 [blocks, taps, 64] if masked.
    """
    whole = torch.int16 if masked else torch.int8
    taps = found.small.flatten(2).permute(2, 1, 0).to(whole)  # [taps, C_in, C_out]
    spans = list(zip(blocks.first, blocks.count, strict=True))
    if masked:
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


def rows_in_short(found: Codes, masked: bool, levels: Levels) -> int:
    """Rows (masked: kernel positions) whose sum fits 16 bits whatever the spikes; for rows even."""
    most = 2**levels.magnitudes - 1
    if not masked and levels.magnitudes > COUNTED:
        most = 2 ** (levels.magnitudes - 1)  # an entry is one bit of |n|
    largest = max(1, int(found.small.abs().max())) * most
    return SHORT // largest if masked else SHORT // largest // 2 * 2


def reach(synapses: Synapses, levels: Levels) -> int:
    """The largest sum of a neuron's inputs from these synapses at a timestep."""
    sums = folded(synapses).abs().double().flatten(1).sum(1)
    taps = 1
    if synapses.shared:
        taps = synapses.geometry.kernel[0] * synapses.geometry.kernel[1]
    return int(sums.max()) * taps * (2**levels.magnitudes - 1)
