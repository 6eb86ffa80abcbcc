// The hot code, once for each instruction set. Nothing of the C++ library may be used here: the
// linker keeps one copy of its templates, perhaps the one with instructions another CPU lacks.
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "kernels.h"

namespace spikeport_avx512 {
#include "simd_avx512.h"
#include "numbers.h"
#include "neuron.h"
#include "whole_neuron.h"
#include "lists.h"
#include "pixels.h"
#include "gather.h"
#include "byte_gather.h"
#include "masked.h"
#include "site.h"
#include "layer.h"
#include "sums.h"
#include "maxpool.h"
#include "peak.h"
}  // namespace spikeport_avx512

extern const Kernels kernels_avx512 = {
    spikeport_avx512::scratch_sizes, spikeport_avx512::run_tile, spikeport_avx512::run_pool_row,
    spikeport_avx512::run_sum_row,   spikeport_avx512::peak_adds,
    spikeport_avx512::peak_short_adds};
