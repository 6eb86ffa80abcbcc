// A layer of neurons over the timesteps of a chunk: each current is read once, membranes stay in
// registers.
#include "prelude.cuh"
#include "values.cuh"
#include "vectors.cuh"
#include "packing.cuh"
#include "channels.cuh"
#include "quotient.cuh"
#include "neuron.cuh"
#include "parameters.cuh"
#include "counting.cuh"

// Timesteps whose loads are on their way before the first is used: as many as registers allow.
#define AHEAD (SP_RESIDUAL || SP_VECTOR == 8 ? 2 : 4)
// SP_EMIT: 0 nothing (the totals tell), 1 packed bits (SP_PLANES of them), 2 spike counts,
// 3 spikes times their value
// SP_CONSTANT: the current is that of every timestep. SP_RESIDUAL: a second current is added.
// SP_COUNT: spikes per channel.

DEVICE float current_at(Loaded x, Loaded residual, int i) {
#if SP_RESIDUAL
    return rounded_to(element(x, i) + element(residual, i), (const in_t *)0);
#else
    (void)residual;
    return element(x, i);
#endif
}

DEVICE float value_of(const Neuron *neuron) {
#if SP_VALUE
    return neuron->value;
#else
    return neuron->threshold;
#endif
}

// One timestep of a thread's neurons: row is this timestep's part of the output.
DEVICE void emit(out_t *row, i64 N, i64 group, bool active, const Neuron *neurons,
                 const float *n) {
#if SP_EMIT == 1
    int counts[SP_VECTOR];
#pragma unroll
    for (int i = 0; i < SP_VECTOR; ++i) counts[i] = (int)n[i];
    pack(row, words_of(N), group, threadIdx.x % WARP, active, counts);
#elif SP_EMIT == 2
    if (active) store(row, group, n);
#elif SP_EMIT == 3
    float values[SP_VECTOR];
#pragma unroll
    for (int i = 0; i < SP_VECTOR; ++i) values[i] = n[i] * value_of(neurons + i);
    if (active) store(row, group, values);
#endif
}

DEVICE void start_neurons(Neuron *neurons, Layer layer, i64 group, const state_t *v,
                          const float *total) {
    Place place = place_of(group * SP_VECTOR, layer.shape);
#pragma unroll
    for (int i = 0; i < SP_VECTOR; ++i) {
        i64 index = group * SP_VECTOR + i;
        start_neuron(neurons + i, layer, place.channel, v[index], total ? total[index] : 0.0f);
        place = after(place, layer.shape);
    }
}

extern "C" __global__ void __launch_bounds__(128, 1) scan(
    const in_t *__restrict__ current,       // in [R, N]: R is T, or 1 for a constant current
    const in_t *__restrict__ residual,      // in [T, N] or null
    const float *__restrict__ threshold,    // in [C]
    const float *__restrict__ value,        // in [C] or null: of a spike, if not the threshold
    const state_t *__restrict__ lowest,     // in [C] or null: of total / time, in thresholds
    const state_t *__restrict__ highest,    // in [C] or null
    const state_t *__restrict__ v,          // in [N]: membrane potential before the chunk
    const float *__restrict__ total,        // in [N] or null: spikes before the chunk
    state_t *__restrict__ v_after,          // out [N]
    float *__restrict__ total_after,        // out [N] or null
    out_t *__restrict__ out,                // out [T, D] or null: D is N, or planes * words
    u64 *__restrict__ counts,               // inout [C] or null
    int T,                                  // timesteps of the chunk
    i64 N,                                  // neurons
    i64 D,                                  // elements of a row of the output
    int C,                                  // channels
    int inner,                              // neighbours in memory that share a channel
    u64 image_inverse,                      // see channels.cuh
    int time,                               // timesteps before the chunk
    int up,                                 // most spikes in a timestep
    int down,                               // most negative spikes
    double leak,                            // factor on v before each timestep
    int hard_reset                          // a neuron that fires loses all of its potential
) {
    Layer layer = {threshold, value, lowest, highest, {C, inner, image_inverse}};
    Rules rules = {(float)up, (float)down, (state_t)leak, hard_reset};
    const i64 groups = (N + SP_VECTOR - 1) / SP_VECTOR;
    // A block goes round as one, also past the end: what a warp does together needs all of it, and
    // a compiler that sees so keeps it short.
    for (i64 base = (i64)blockIdx.x * blockDim.x; base < groups; base += item_stride()) {
        const i64 group = base + threadIdx.x;
        const bool active = group < groups;
        Neuron neurons[SP_VECTOR] = {};
        u32 fired[SP_VECTOR] = {};
        if (active) start_neurons(neurons, layer, group, v, total);
        Loaded x[AHEAD] = {}, y[AHEAD] = {};
#if SP_CONSTANT
        if (active) x[0] = load(current, group);
#endif
        for (int t0 = 0; t0 < T; t0 += AHEAD) {
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                if (!active || t0 + k >= T) continue;
#if SP_CONSTANT
                x[k] = x[0];
#else
                x[k] = load(current + (t0 + k) * N, group);
#endif
#if SP_RESIDUAL
                y[k] = load(residual + (t0 + k) * N, group);
#endif
            }
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                if (t0 + k >= T) break;
                float n[SP_VECTOR];
#pragma unroll
                for (int i = 0; i < SP_VECTOR; ++i) {
                    float now = current_at(x[k], y[k], i);
                    n[i] = fire(neurons + i, now, (float)(time + t0 + k + 1), rules);
                    if (active) fired[i] += (u32)fabsf(n[i]);
                }
                emit(out + (t0 + k) * D, N, group, active, neurons, n);
            }
        }
#if SP_COUNT
        count_spikes(counts, layer.shape, group, fired);
#endif
        if (!active) continue;
#pragma unroll
        for (int i = 0; i < SP_VECTOR; ++i) {
            v_after[group * SP_VECTOR + i] = neurons[i].v;
            if (total_after) total_after[group * SP_VECTOR + i] = neurons[i].total;
        }
    }
}
