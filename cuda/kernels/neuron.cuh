// One timestep of one neuron: convert/neurons/integrate_and_fire.py `step`, operation for operation, each
// rounded by itself (compiled with --fmad=false).
#define PLAIN 0    // at most one spike, upwards only, no leak, soft reset
#define SIGNED 1   // at most one spike either way, no leak, soft reset
#define GENERAL 2  // the whole family
// SP_BOUNDS, of the running total: 0 none, 1 it is never negative, 2 [time * lowest, time * highest]
// SP_BITS: 0, or the width of a potential that is a whole number, as are currents and threshold.
// SP_VALUE: 1 where the value of a spike is not the threshold.
typedef SP_STATE state_t;  // float holds whole numbers of 24 bits; wider ones are in double

typedef struct {
    state_t v;    // membrane potential
    float total;  // spikes so far, signed
    float threshold;
#if SP_VALUE
    float value;  // of a spike
#endif
#if SP_NEURON == GENERAL && SP_BITS <= 24
    float inverse;  // 1 / threshold
#endif
#if SP_BOUNDS == 2
    state_t lowest, highest;
#endif
} Neuron;

typedef struct {
    float up, down;
    state_t leak;
    int hard_reset;
} Rules;

#if SP_BITS > 24
// v / threshold, rounded down or (with a hard reset) towards zero: both are whole numbers.
DEVICE float thresholds_in(const Neuron *s, state_t v, int hard_reset) {
    int over = (int)v, by = max((int)s->threshold, 1);  // 0 past the end of the row
    int n = over / by;
    return (float)(!hard_reset && over % by < 0 ? n - 1 : n);  // of many it is no whole number
}
#elif SP_NEURON == GENERAL
DEVICE float thresholds_in(const Neuron *s, state_t v, int hard_reset) {
    float u = quotient(v, s->threshold, s->inverse);
    return hard_reset ? truncf(u) : floorf(u);
}
#endif

// What the potential asks for. With at most one spike, floor(v / threshold) >= 1 exactly where
// v >= threshold: the float below the threshold divided by it never rounds up to 1.
DEVICE float wanted(const Neuron *s, state_t v, Rules rules) {
#if SP_NEURON == GENERAL
    return fminf(fmaxf(thresholds_in(s, v, rules.hard_reset), -rules.down), rules.up);
#elif SP_NEURON == SIGNED
    (void)rules;
    return v >= s->threshold ? 1.0f : v < 0 ? -1.0f : 0.0f;
#else
    (void)rules;
    return v >= s->threshold ? 1.0f : 0.0f;
#endif
}

DEVICE float rounded_up(float x) { return ceilf(x); }
DEVICE float rounded_down(float x) { return floorf(x); }
DEVICE float to_whole(float x) { return rintf(x); }
DEVICE double rounded_up(double x) { return ceil(x); }
DEVICE double rounded_down(double x) { return floor(x); }
DEVICE double to_whole(double x) { return rint(x); }

// What the bounds of the total leave of it. The margin keeps t * 6 / threshold = 12 from being
// floored to 11 by rounding.
DEVICE float allowed(const Neuron *s, float n, float time) {
#if SP_BOUNDS == 1
    n = fmaxf(n, -s->total);
#elif SP_BOUNDS == 2
    n = fmaxf(n, (float)rounded_up(s->lowest * time - (state_t)1e-3) - s->total);
    n = fminf(n, (float)rounded_down(s->highest * time + (state_t)1e-3) - s->total);
#endif
    (void)time;
    return n;
}

// Potential with the current, before the neuron fires.
DEVICE state_t charged(const Neuron *s, float current, Rules rules) {
#if SP_NEURON == GENERAL
    state_t left = s->v * rules.leak;  // times 1 is exact
#else
    (void)rules;
    state_t left = s->v;
#endif
#if SP_BITS
    // A convolution in floats may have gone through fractions (Winograd's, a Fourier transform).
    state_t v = to_whole(left) + to_whole((state_t)current);
    const state_t most = (state_t)(1u << (SP_BITS - 1));
    return v < -most ? -most : v > most - 1 ? most - 1 : v;
#else
    return left + current;
#endif
}

// Take n spikes from the potential v and count them.
DEVICE void settle(Neuron *s, state_t v, float n, Rules rules) {
    s->v = v - n * (state_t)s->threshold;
#if SP_NEURON == GENERAL
    if (rules.hard_reset && n != 0.0f) s->v = 0;
#endif
    (void)rules;
    s->total += n;
}

// Integrate, fire, reset; `time` counts this timestep. Returns the spikes.
DEVICE float fire(Neuron *s, float current, float time, Rules rules) {
    state_t v = charged(s, current, rules);
    float n = allowed(s, wanted(s, v, rules), time);
    settle(s, v, n, rules);
    return n;
}
