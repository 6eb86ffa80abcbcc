// One timestep of sixteen neurons of an integer layer: `fire` of neuron.h on whole numbers, which it
// equals exactly as long as floats hold those, below 2^24.
#pragma once

struct WholeFiring {
    const int32_t* threshold;
    const int32_t* bounds;         // of the totals: [timestep][lowest, highest][64]; null: none
    float inverse[64];             // 1 / threshold
    int32_t most[64], least[64];   // max_up thresholds and -max_down, if 32 bits hold them
    double leak;
    int32_t low, high;  // where the potential saturates
    bool wide;          // the sum with the current may need 33 bits
    bool odd;           // wide or leaking: see `charge_oddly`
    M down;             // all lanes, or none where no spike is negative
    bool hard_reset;
    bool single;  // at most one spike up or down, and what is above the threshold stays
    bool plain;   // only up, and no totals to remember
};

static inline int32_t in_32_bits(int64_t value) {
    return (int32_t)(value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : value);
}

// A bound of the mean spike count as one of the total after `time` timesteps: as in `fire` of neuron.h.
static inline void bound_totals(int32_t* to, const float* mean, int width, float time, bool upper) {
    const int32_t far = 1 << 30;
    for (int i = 0; i < width; i += 16) {
        if (!mean) {
            store(to + i, all_ints(upper ? far : -far));
            continue;
        }
        const F bound = mul(load(mean + i), all(time)), slack = all(1e-3f);
        const F whole = upper ? floor(add(bound, slack)) : ceil(sub(bound, slack));
        store(to + i, to_ints(min(max(whole, all(-(float)far)), all((float)far))));
    }
}

// Whether no bound ever asks for a spike: then they only hold spikes back.
static inline bool hold_back(const float* mean, int count, float sign) {
    for (int i = 0; mean && i < count; ++i)
        if (!(mean[i] * sign >= 0.0f)) return false;
    return true;
}

static inline void prepare(WholeFiring* f, const sp_layer* L, int32_t* bounds, sp_block block) {
    const sp_neuron* n = &L->neuron;
    const bool bounded = L->total != nullptr;
    const float* lowest = n->lowest ? n->lowest + block.offset : nullptr;
    const float* highest = n->highest ? n->highest + block.offset : nullptr;
    for (int t = 0; bounded && t < L->end - L->begin; ++t) {
        const float time = (float)(L->past + t + 1);
        bound_totals(bounds + 128 * t, lowest, block.width, time, false);
        bound_totals(bounds + 128 * t + 64, highest, block.width, time, true);
    }
    f->threshold = (const int32_t*)n->threshold + block.offset;
    f->bounds = bounded ? bounds : nullptr;
    for (int i = 0; i < block.width; ++i) {
        f->inverse[i] = 1.0f / (float)f->threshold[i];
        f->most[i] = in_32_bits((int64_t)n->max_up * f->threshold[i]);
        f->least[i] = in_32_bits(-(int64_t)n->max_down * f->threshold[i]);
    }
    f->down = n->max_down ? (M)~0 : (M)0;
    f->leak = n->leak;
    f->wide = n->potential_bits == 32;
    f->odd = f->wide || n->leak != 1.0;
    f->high = n->potential_bits ? (int32_t)((1ull << (n->potential_bits - 1)) - 1) : INT32_MAX;
    f->low = -f->high - 1;
    f->hard_reset = n->hard_reset != 0;
    f->single = n->max_up == 1 && n->max_down <= 1 && !f->hard_reset &&
                (!bounded || (hold_back(lowest, block.count, -1.0f) &&
                              hold_back(highest, block.count, 1.0f)));
    f->plain = f->single && n->max_down == 0 && !bounded && !f->odd;
}

// The product, rounded, of numbers that floats do not hold.
static inline I leaked(I v, double leak) {
    int32_t each[16];
    store_ints(each, v);
    for (int i = 0; i < 16; ++i) each[i] = (int32_t)rint(each[i] * leak);
    return load_ints(each);
}

// The potential with its current where it leaks or has 32 bits, before `charged` adds nothing more.
static I charge_oddly(const WholeFiring* f, I v, I current) {
    if (f->leak != 1.0)
        v = f->wide ? leaked(v, f->leak) : to_ints(mul(to_floats(v), all((float)f->leak)));
    const I sum = add(v, current);
    if (!f->wide) return sum;
    const M down = negative(current);
    const M over = (M)(less_ints(sum, v) & ~down), under = (M)(less_ints(v, sum) & down);
    return choose_ints(over, all_ints(f->high), choose_ints(under, all_ints(f->low), sum));
}

// The potential with its current, before it fires.
static AT_ONCE I charged(const WholeFiring* f, I v, I current) {
    return min_ints(max_ints(add(v, current), all_ints(f->low)), all_ints(f->high));
}

// floor(v / threshold), or what is nearer to 0 of it and the next number; v is at most 255 thresholds
// away from 0. The float quotient is off by one at most, and the rest tells.
static AT_ONCE I quotient(const WholeFiring* f, int lane, I v, I threshold) {
    const I one = all_ints(1);
    I n = to_ints(floor(mul(to_floats(v), load(f->inverse + lane))));
    const I rest = sub_ints(v, mul_ints(n, threshold));
    const M below = negative(rest), above = at_least_ints(rest, threshold);
    n = add_ints_where(above, sub_ints_where(below, n, one), one);
    if (!f->hard_reset) return n;
    const M whole = (M)~(less_ints(mul_ints(n, threshold), v));
    return add_ints_where((M)(negative(n) & ~whole), n, one);
}

// Spike counts n; updates the potential and, where the totals are bounded, the total. t: timesteps
// since the first of this call.
static AT_ONCE I fire(const WholeFiring* f, int lane, I current, I* v, int32_t* total, int t) {
    const I threshold = load(f->threshold + lane), now = charged(f, *v, current);
    const I cut = min_ints(max_ints(now, load(f->least + lane)), load(f->most + lane));
    I n = quotient(f, lane, cut, threshold);
    if (f->bounds) {
        const int32_t* bounds = f->bounds + 128 * t + lane;
        const I sum = load(total + lane);
        n = min_ints(max_ints(n, sub_ints(load(bounds), sum)), sub_ints(load(bounds + 64), sum));
        store(total + lane, add(sum, n));
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

// The same for neurons of one spike up or down; returns which fire at all, and which down.
template <bool BOUNDS>
static AT_ONCE M fire_single(const WholeFiring* f, int lane, I current, I* v, int32_t* total, int t,
                             M* down) {
    const I threshold = load(f->threshold + lane), now = charged(f, *v, current);
    M up = at_least_ints(now, threshold);
    *down = (M)(negative(now) & f->down);
    if (BOUNDS) {
        const int32_t* bounds = f->bounds + 128 * t + lane;
        const I sum = load(total + lane), one = all_ints(1);
        up &= less_ints(sum, load(bounds + 64));
        *down &= less_ints(load(bounds), sum);
        store(total + lane, add_ints_where(up, sub_ints_where(*down, sum, one), one));
    }
    *v = add_ints_where(*down, sub_ints_where(up, now, threshold), threshold);
    return (M)(up | *down);
}
