// Gradients of a scan, backwards in time. Only every SEGMENT-th potential was kept; those between
// are computed again, in registers.
//
// A spike count that the total's bounds decide has no slope. Elsewhere it is floor(x), x = v /
// threshold, clipped, whose slope is taken to be a triangle of area 1 around the nearest x = k at
// which it changes (Bellec et al. 2018, "Long short-term memory and learning-to-learn in networks
// of spiking neurons"): max(0, 1 - |x - k| / width) / width.
#include "prelude.cuh"
#include "values.cuh"
#define SP_VECTOR 1
#include "vectors.cuh"
#include "channels.cuh"
#include "quotient.cuh"
#include "neuron.cuh"
#include "parameters.cuh"

#define SEGMENT 8  // timesteps between two checkpoints, as in scan.cu

// Slope of the spike count in x, for a potential that asks for what it gets.
DEVICE float slope(float x, Rules rules, float width) {
    float nearest = fminf(fmaxf(rintf(x), 1.0f - rules.down), rules.up);
    return fmaxf(1.0f - fabsf(x - nearest) / width, 0.0f) / width;
}

extern "C" __global__ void __launch_bounds__(128, 1) backward(
    const in_t *__restrict__ current,         // in [T, N]
    const in_t *__restrict__ grad_out,        // in [T, N]
    const float *__restrict__ threshold,      // in [C]
    const float *__restrict__ lowest,         // in [C] or null: of total / time, in thresholds
    const float *__restrict__ highest,        // in [C] or null
    const float *__restrict__ kept_v,         // in [S, N]: v before every SEGMENT-th timestep
    const float *__restrict__ kept_total,     // in [S, N] or null
    out_t *__restrict__ grad_current,         // out [T, N]
    float *__restrict__ grad_threshold,       // out [N]: of each neuron, to be added up
    float *__restrict__ grad_v,               // inout [N]: of v after the chunk, then before it
    int T,                                    // timesteps of the chunk
    i64 N,                                    // neurons
    int C,                                    // channels
    int inner,                                // neighbours in memory that share a channel
    u64 image_inverse,                        // see channels.cuh
    int time,                                 // timesteps before the chunk
    int up,                                   // most spikes in a timestep
    int down,                                 // most negative spikes
    float leak,                               // factor on v before each timestep
    int hard_reset,                           // a neuron that fires loses all of its potential
    float width                               // half of the triangle's base, in thresholds
) {
    Layer layer = {threshold, lowest, highest, {C, inner, image_inverse}};
    Rules rules = {(float)up, (float)down, leak, hard_reset};
    for (i64 index = first_item(); index < N; index += item_stride()) {
        const int channel = place_of(index, layer.shape).channel;
        float grad = grad_v[index], grad_theta = 0.0f;
        for (int segment = (T - 1) / SEGMENT; segment >= 0; --segment) {
            const int t0 = segment * SEGMENT;
            Neuron s;
            start_neuron(&s, layer, channel, kept_v[segment * N + index],
                         kept_total ? kept_total[segment * N + index] : 0.0f);
            float x[SEGMENT], spikes[SEGMENT], slopes[SEGMENT];
#pragma unroll
            for (int k = 0; k < SEGMENT; ++k) {
                if (t0 + k >= T) break;
                float now = as_float(current[(t0 + k) * N + index]);
                float v = charged(&s, now, rules), n = wanted(&s, v, rules);
                spikes[k] = allowed(&s, n, (float)(time + t0 + k + 1));
                x[k] = v / s.threshold;
                slopes[k] = spikes[k] == n ? slope(x[k], rules, width) : 0.0f;
                settle(&s, v, spikes[k], rules);
            }
#pragma unroll
            for (int k = SEGMENT - 1; k >= 0; --k) {
                if (t0 + k >= T) continue;
                float emitted = as_float(grad_out[(t0 + k) * N + index]);
                if (rules.hard_reset)
                    grad = spikes[k] != 0.0f ? 0.0f : grad;
                else
                    emitted -= grad;
                grad_theta += emitted * (spikes[k] - slopes[k] * x[k]);
                grad += emitted * slopes[k];
                put(grad_current + (t0 + k) * N + index, grad);
                grad *= rules.leak;
            }
        }
        grad_threshold[index] = grad_theta;
        grad_v[index] = grad;
    }
}
