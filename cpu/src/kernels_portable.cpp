// The hot code, once for each instruction set. Nothing of the C++ library may be used here: the
// linker keeps one copy of its templates, perhaps the one with instructions another CPU lacks.
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "kernels.h"

namespace spikeport_portable {
#include "simd_portable.h"
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
}  // namespace spikeport_portable

extern const Kernels kernels_portable = {
    spikeport_portable::scratch_sizes, spikeport_portable::run_tile, spikeport_portable::run_pool_row,
    spikeport_portable::run_sum_row,   spikeport_portable::peak_adds,
    spikeport_portable::peak_short_adds};
