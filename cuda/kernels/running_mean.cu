// Before a function that does not commute with the mean over time: the running mean (or sum) of its
// input at every timestep.
#include "prelude.cuh"
#include "values.cuh"
#include "vectors.cuh"

extern "C" __global__ void __launch_bounds__(128, 1) running_mean(
    const in_t *__restrict__ x,  // in [T, N]
    float *__restrict__ sum,     // inout [N]: over all timesteps so far
    out_t *__restrict__ mean,    // out [T, N]
    int T,                       // timesteps of the chunk
    i64 N,                       // values of a timestep
    int time,                    // timesteps before the chunk
    int divide                   // 0: the running sum itself
) {
    const i64 groups = (N + SP_VECTOR - 1) / SP_VECTOR;
    for (i64 group = first_item(); group < groups; group += item_stride()) {
        float sums[SP_VECTOR], means[SP_VECTOR];
#pragma unroll
        for (int i = 0; i < SP_VECTOR; ++i) sums[i] = sum[group * SP_VECTOR + i];
#pragma unroll 4
        for (int t = 0; t < T; ++t) {
            Loaded now = load(x + t * N, group);
#pragma unroll
            for (int i = 0; i < SP_VECTOR; ++i) {
                sums[i] += element(now, i);
                means[i] = divide ? sums[i] / (float)(time + t + 1) : sums[i];
            }
            store(mean + t * N, group, means);
        }
#pragma unroll
        for (int i = 0; i < SP_VECTOR; ++i) sum[group * SP_VECTOR + i] = sums[i];
    }
}
