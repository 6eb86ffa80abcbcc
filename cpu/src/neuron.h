// One timestep of sixteen neurons: convert/neurons/integrate_and_fire.py `step`, operation for operation.
#pragma once

struct Firing {
    const float *threshold, *lowest, *highest;
    float inverse[64];  // 1 / threshold
    float up, down, leak;
    float low, high;         // where the potential saturates
    int32_t past;            // timesteps before this call
    bool bounded;            // it does, and is a whole number
    bool hard_reset, plain;  // plain: at most one spike, upwards only, nothing to remember
};

static inline void prepare(Firing* f, const sp_layer* L, int32_t*, sp_block block) {
    const sp_neuron* n = &L->neuron;
    const float* total = (const float*)L->total;
    f->threshold = (const float*)n->threshold + block.offset;
    f->lowest = total && n->lowest ? n->lowest + block.offset : nullptr;
    f->highest = total && n->highest ? n->highest + block.offset : nullptr;
    for (int i = 0; i < block.width; ++i) f->inverse[i] = 1.0f / f->threshold[i];
    f->up = (float)n->max_up;
    f->down = (float)n->max_down;
    f->past = L->past;
    f->leak = (float)n->leak;
    f->bounded = n->potential_bits > 0;
    f->high = f->bounded ? (float)((1ull << (n->potential_bits - 1)) - 1) : 0.0f;
    f->low = f->bounded ? -(float)(1ull << (n->potential_bits - 1)) : 0.0f;
    f->hard_reset = n->hard_reset != 0;
    f->plain = n->max_up == 1 && n->max_down == 0 && !total && n->leak == 1.0 && !f->hard_reset &&
               !f->bounded;
}

// v / threshold, as far as whole numbers below or towards 0 depend on it. A product with the inverse
// is right unless it is close to a whole number; only then the division, which takes longer than all
// the rest, decides.
static inline F quotient(F v, F threshold, F inverse) {
    F q = mul(v, inverse);
    F distance = absolute(sub(q, round(q)));
    F margin = mul(all(1e-6f), add(absolute(q), all(1.0f)));
    if (__builtin_expect(not_greater(distance, margin) & not_equal(q, all(0.0f)), 0))
        q = div(v, threshold);
    return q;
}

// The potential with its current, before it fires.
static inline F charged(const Firing* f, F v, F current) {
    if (f->leak != 1.0f) v = mul(v, all(f->leak));
    if (!f->bounded) return add(v, current);
    return min(max(add(round(v), round(current)), all(f->low)), all(f->high));
}

// Spike counts n; updates the potential and, where the totals are bounded, the total.
static inline F fire(const Firing* f, int lane, F current, F* v, float* total, int t) {
    const float time = (float)(f->past + t + 1);
    F threshold = load(f->threshold + lane);
    F now = charged(f, *v, current);
    F n = quotient(now, threshold, load(f->inverse + lane));
    n = f->hard_reset ? choose(less(n, all(0.0f)), ceil(n), floor(n)) : floor(n);
    n = min(max(n, all(-f->down)), all(f->up));
    if (total) {
        F sum = load(total + lane);
        if (f->lowest) {
            F bound = sub(mul(load(f->lowest + lane), all(time)), all(1e-3f));
            n = max(n, sub(ceil(bound), sum));
        }
        if (f->highest) {
            F bound = add(mul(load(f->highest + lane), all(time)), all(1e-3f));
            n = min(n, sub(floor(bound), sum));
        }
        store(total + lane, add(sum, n));
    }
    *v = f->hard_reset ? choose(not_equal(n, all(0.0f)), all(0.0f), now)
                       : sub(now, mul(n, threshold));
    return n;
}

// The same for a plain neuron: floor(v / θ) >= 1 exactly where v >= θ, because the float below θ
// divided by θ never rounds up to 1.
static inline M fire_plain(const Firing*, F threshold, F current, F* v) {
    F now = add(*v, current);
    M fired = at_least(now, threshold);
    *v = sub_where(fired, now, threshold);
    return fired;
}
