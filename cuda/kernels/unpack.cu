// Packed spikes as values, spikes times the value of one, in the type that the next convolution takes.
#include "prelude.cuh"
#include "values.cuh"
#include "vectors.cuh"
#include "packing.cuh"
#include "channels.cuh"

extern "C" __global__ void __launch_bounds__(128, 1) unpack(
    const u32 *__restrict__ packed,   // in [T, D]: D is planes * words
    const float *__restrict__ value,  // in [C]: of a spike
    out_t *__restrict__ values,       // out [T, N]
    int T,                            // timesteps, shared out among the rows of the grid
    i64 N,                            // neurons
    i64 D,                            // words of a timestep
    int C,                            // channels
    int inner,                        // neighbours in memory that share a channel
    u64 image_inverse,                // see channels.cuh
    int planes,                       // of the packed spikes
    int negative                      // the last plane is the sign
) {
    const Shape shape = {C, inner, image_inverse};
    const i64 words = words_of(N), groups = (N + SP_VECTOR - 1) / SP_VECTOR;
    for (i64 group = first_item(); group < groups; group += item_stride()) {
        float value_of[SP_VECTOR];
        Place place = place_of(group * SP_VECTOR, shape);
#pragma unroll
        for (int i = 0; i < SP_VECTOR; ++i) {
            value_of[i] = value[place.channel];
            place = after(place, shape);
        }
        for (int t = blockIdx.y; t < T; t += gridDim.y) {
            int n[SP_VECTOR];
            unpacked(packed + t * D, words, planes, negative, group * SP_VECTOR, SP_VECTOR, n);
            float x[SP_VECTOR];
#pragma unroll
            for (int i = 0; i < SP_VECTOR; ++i) x[i] = (float)n[i] * value_of[i];
            store(values + t * N, group, x);
        }
    }
}
