"""The structs of ``src/engine.h``, field for field."""

import ctypes
from ctypes import c_double, c_int32, c_int64, c_void_p
from typing import Any


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class StreamStruct(ctypes.Structure):
    """sp_stream."""

    _fields_ = [
        ("bits", c_void_p),
        *_fields(c_int32, "height width timesteps channels words magnitudes has_sign reserved"),
    ]


class TermStruct(ctypes.Structure):
    """sp_term."""

    _fields_ = [
        ("source", StreamStruct),
        ("weights", c_void_p),
        *_fields(c_int32, "masked groups kernel_y kernel_x stride_y stride_x"),
        *_fields(c_int32, "pad_y pad_x dilation_y dilation_x shared row_shift limit reserved"),
        ("shifts", c_void_p),
    ]


class BlockStruct(ctypes.Structure):
    """sp_block."""

    _fields_ = _fields(c_int32, "first count width offset index")


class CurrentStruct(ctypes.Structure):
    """sp_current."""

    _fields_ = [("data", c_void_p), *_fields(c_int64, "stride_b stride_y stride_x stride_t")]


class NeuronStruct(ctypes.Structure):
    """sp_neuron."""

    _fields_ = [
        *_fields(c_void_p, "threshold v0 bias lowest highest"),
        *_fields(c_int32, "max_up max_down hard_reset potential_bits"),
        ("leak", c_double),
    ]


class LayerStruct(ctypes.Structure):
    """sp_layer."""

    _fields_ = [
        *_fields(c_int32, "batch height width channels timesteps begin end past"),
        *_fields(c_int32, "n_blocks padded n_terms n_currents fresh tile split integer"),
        *_fields(c_void_p, "blocks terms currents"),
        ("neuron", NeuronStruct),
        *_fields(c_void_p, "v total out"),
        *_fields(c_int32, "out_magnitudes out_has_sign"),
    ]


class MaxPoolStruct(ctypes.Structure):
    """sp_maxpool."""

    _fields_ = [
        ("source", StreamStruct),
        *_fields(c_int32, "batch out_height out_width kernel_y kernel_x stride_y stride_x"),
        *_fields(c_int32, "pad_y pad_x dilation_y dilation_x"),
        *_fields(c_void_p, "counts out"),
    ]


class SumsStruct(ctypes.Structure):
    """sp_sums."""

    _fields_ = [
        ("source", StreamStruct),
        *_fields(c_int32, "batch begin end what"),
        ("sums", c_void_p),
    ]
