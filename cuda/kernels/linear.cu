// A linear layer on packed spikes at low density: a block takes a row, lists the inputs that fired
// in order, and each thread adds up their weights for one output.
#include "prelude.cuh"
#include "values.cuh"
#define SP_VECTOR 1
#include "vectors.cuh"
#include "packing.cuh"

#define THREADS 128
#define EACH 8  // inputs that a thread looks at in one round
#define ROUND (THREADS * EACH)

typedef struct {
    const u32 *bits;  // of the timestep
    i64 words, first;  // of a plane; first input of the row
    int inputs, planes, negative;
} Row;

// Number of `mine` in the threads before this one; *all is that of the block.
DEVICE int offset_in_block(int mine, int *warp_totals, int *all) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int until = mine;
#pragma unroll
    for (int apart = 1; apart < WARP; apart *= 2) {
        int below = __shfl_up_sync(ALL_LANES, until, apart);
        if (lane >= apart) until += below;
    }
    if (lane == WARP - 1) warp_totals[warp] = until;
    __syncthreads();
    int before = 0, total = 0;
    for (int w = 0; w < THREADS / WARP; ++w) {
        if (w < warp) before += warp_totals[w];
        total += warp_totals[w];
    }
    *all = total;
    return before + until - mine;
}

// The sum for one output; every thread of the block calls it.
DEVICE float weighted_sum(Row row, const float *weight, int outputs, int output) {
    __shared__ int listed[ROUND];     // inputs that fired, ascending
    __shared__ float amounts[ROUND];  // their spikes
    __shared__ int warp_totals[THREADS / WARP];
    float sum = 0.0f;
    for (int begin = 0; begin < row.inputs; begin += ROUND) {
        int mine = 0, all, spikes[EACH];
        const int own = begin + (int)threadIdx.x * EACH;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            spikes[i] = 0;
            if (own + i < row.inputs)
                unpacked(row.bits, row.words, row.planes, row.negative, row.first + own + i, 1,
                         spikes + i);
            mine += spikes[i] != 0;
        }
        int place = offset_in_block(mine, warp_totals, &all);
#pragma unroll
        for (int i = 0; i < EACH; ++i)
            if (spikes[i] != 0) {
                listed[place] = own + i;
                amounts[place++] = (float)spikes[i];
            }
        __syncthreads();  // the next one is in offset_in_block, before the lists change again
        if (output < outputs)
            for (int i = 0; i < all; ++i)
                sum += amounts[i] * weight[(i64)listed[i] * outputs + output];
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) linear(
    const u32 *__restrict__ packed,    // in [T, D]: each timestep holds B * I inputs
    const float *__restrict__ weight,  // in [I, O]: transposed, times the value of a spike
    const float *__restrict__ bias,    // in [O] or null
    out_t *__restrict__ out,           // out [T, B, O]
    int T,                             // timesteps, shared out among the layers of the grid
    int B,                             // rows of a timestep, among the columns of the grid
    i64 D,                             // words of a timestep
    int I,                             // inputs of a row
    int O,                             // outputs of a row
    int planes,                        // of the packed spikes
    int negative                       // the last plane is the sign
) {
    const int output = (int)(blockIdx.y * THREADS + threadIdx.x);
    for (int t = blockIdx.z; t < T; t += gridDim.z)
        for (int b = blockIdx.x; b < B; b += gridDim.x) {
            Row row = {packed + t * D, words_of((i64)B * I), (i64)b * I, I, planes, negative};
            float sum = weighted_sum(row, weight, O, output);
            if (bias && output < O) sum += bias[output];
            if (output < O) store(out + ((i64)t * B + b) * O, output, &sum);
        }
}
