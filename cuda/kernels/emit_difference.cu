// After such a function F: y_t = t F(m_t) - (t - 1) F(m_{t-1}), so that the mean of y is F(mean).
#include "prelude.cuh"
#include "values.cuh"
#include "vectors.cuh"

extern "C" __global__ void __launch_bounds__(128, 1) emit_difference(
    const in_t *__restrict__ at_mean,  // in [T, N]: F of the running mean (or sum)
    float *__restrict__ previous,      // inout [N]: t F(m_t) at the last timestep
    out_t *__restrict__ y,             // out [T, N]
    int T,                             // timesteps of the chunk
    i64 N,                             // values of a timestep
    int time,                          // timesteps before the chunk
    int multiply                       // 0: F was given the running sum
) {
    const i64 groups = (N + SP_VECTOR - 1) / SP_VECTOR;
    for (i64 group = first_item(); group < groups; group += item_stride()) {
        float before[SP_VECTOR], difference[SP_VECTOR];
#pragma unroll
        for (int i = 0; i < SP_VECTOR; ++i) before[i] = previous[group * SP_VECTOR + i];
#pragma unroll 4
        for (int t = 0; t < T; ++t) {
            Loaded now = load(at_mean + t * N, group);
#pragma unroll
            for (int i = 0; i < SP_VECTOR; ++i) {
                float total = element(now, i);
                if (multiply) total *= (float)(time + t + 1);
                difference[i] = total - before[i];
                before[i] = total;
            }
            store(y + t * N, group, difference);
        }
#pragma unroll
        for (int i = 0; i < SP_VECTOR; ++i) previous[group * SP_VECTOR + i] = before[i];
    }
}
