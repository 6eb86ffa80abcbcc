// One timestep of sixteen neurons of an integer layer: `fire` of neuron.h on whole numbers, which it
// equals exactly as long as floats hold those, below 2^24.
#pragma once

struct WholeFiring {
    const int32_t* threshold;
    const float *lowest, *highest;
    float inverse[64];             // 1 / threshold
    int32_t most[64], least[64];   // max_up thresholds and -max_down, if 32 bits hold them
    int32_t down;
    double leak;
    int32_t low, high;             // where the potential saturates
    bool bounded;                  // it does
    bool wide;                     // and the sum with the current may need 33 bits
    bool hard_reset;
    bool few;     // at most one spike up or down, and what is above the threshold stays
    bool single;  // and no totals to remember
    bool plain;   // and none down
};

static inline int32_t in_32_bits(int64_t value) {
    return (int32_t)(value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : value);
}

static inline void prepare(WholeFiring* f, const sp_neuron* n, const float* total, sp_block block) {
    f->threshold = (const int32_t*)n->threshold + block.offset;
    f->lowest = total && n->lowest ? n->lowest + block.offset : nullptr;
    f->highest = total && n->highest ? n->highest + block.offset : nullptr;
    for (int i = 0; i < block.width; ++i) {
        f->inverse[i] = 1.0f / (float)f->threshold[i];
        f->most[i] = in_32_bits((int64_t)n->max_up * f->threshold[i]);
        f->least[i] = in_32_bits(-(int64_t)n->max_down * f->threshold[i]);
    }
    f->down = n->max_down;
    f->leak = n->leak;
    f->bounded = n->potential_bits > 0;
    f->wide = n->potential_bits == 32;
    f->high = f->bounded ? (int32_t)((1ull << (n->potential_bits - 1)) - 1) : 0;
    f->low = -f->high - 1;
    f->hard_reset = n->hard_reset != 0;
    f->few = n->max_up == 1 && n->max_down <= 1 && !f->hard_reset;
    f->single = f->few && !total;
    f->plain = f->single && n->max_down == 0;
}

// The product, rounded, of numbers that floats do not hold.
static inline I leaked(I v, double leak) {
    int32_t each[16];
    store_ints(each, v);
    for (int i = 0; i < 16; ++i) each[i] = (int32_t)rint(each[i] * leak);
    return load_ints(each);
}

// The potential with its current, before it fires.
static AT_ONCE I charged(const WholeFiring* f, I v, I current) {
    if (f->leak != 1.0) v = f->wide ? leaked(v, f->leak) : to_ints(mul(to_floats(v), all((float)f->leak)));
    const I sum = add(v, current);
    if (!f->bounded) return sum;
    const I low = all_ints(f->low), high = all_ints(f->high);
    if (!f->wide) return min_ints(max_ints(sum, low), high);
    const M down = negative(current);
    const M over = (M)(less_ints(sum, v) & ~down), under = (M)(less_ints(v, sum) & down);
    return choose_ints(over, high, choose_ints(under, low, sum));
}

// floor(v / threshold), or what is nearer to 0 of it and the next number; v is at most 255 thresholds
// away from 0. The float quotient is off by one at most, and the rest tells.
static inline I quotient(const WholeFiring* f, int lane, I v, I threshold) {
    const I one = all_ints(1);
    I n = to_ints(floor(mul(to_floats(v), load(f->inverse + lane))));
    const I rest = sub_ints(v, mul_ints(n, threshold));
    const M below = negative(rest), above = at_least_ints(rest, threshold);
    n = add_ints_where(above, sub_ints_where(below, n, one), one);
    if (!f->hard_reset) return n;
    const M whole = (M)~(less_ints(mul_ints(n, threshold), v));
    return add_ints_where((M)(negative(n) & ~whole), n, one);
}

// The spikes that a potential is worth.
static inline I worth(const WholeFiring* f, int lane, I v, I threshold) {
    if (f->few) {
        const M down = f->down ? negative(v) : (M)0;
        const I up = choose_ints(at_least_ints(v, threshold), all_ints(1), all_ints(0));
        return choose_ints(down, all_ints(-1), up);
    }
    const I cut = min_ints(max_ints(v, load(f->least + lane)), load(f->most + lane));
    return quotient(f, lane, cut, threshold);
}

// Spike counts n; updates the potential and, where the totals are bounded, the total.
static inline I fire(const WholeFiring* f, int lane, I current, I* v, float* total, float time) {
    const I threshold = load(f->threshold + lane), now = charged(f, *v, current);
    I n = worth(f, lane, now, threshold);
    if (total) {
        F count = to_floats(n), sum = load(total + lane);
        bound_count(f, lane, sum, time, &count);
        store(total + lane, add(sum, count));
        n = to_ints(count);
    }
    *v = f->hard_reset ? choose_ints((M)(negative(n) | less_ints(all_ints(0), n)), all_ints(0), now)
                       : sub_ints(now, mul_ints(n, threshold));
    return n;
}

// The same for a plain neuron.
static AT_ONCE M fire_plain(const WholeFiring* f, I threshold, I current, I* v) {
    const I now = charged(f, *v, current);
    const M fired = at_least_ints(now, threshold);
    *v = sub_ints_where(fired, now, threshold);
    return fired;
}

static inline bool is_single(const WholeFiring* f) { return f->single; }

// The same for neurons of one spike up or down; returns which fire at all, and which down.
static AT_ONCE M fire_single(const WholeFiring* f, int lane, I current, I* v, M* down) {
    const I threshold = load(f->threshold + lane), now = charged(f, *v, current);
    const M up = at_least_ints(now, threshold);
    *down = f->down ? negative(now) : (M)0;
    *v = add_ints_where(*down, sub_ints_where(up, now, threshold), threshold);
    return (M)(up | *down);
}
