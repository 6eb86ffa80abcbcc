// One timestep of one neuron: convert/neurons/integrate_and_fire.py `step`, operation for operation, each
// rounded by itself (compiled with --fmad=false).
#define PLAIN 0    // at most one spike, upwards only, no leak, soft reset
#define SIGNED 1   // at most one spike either way, no leak, soft reset
#define GENERAL 2  // the whole family
// SP_BOUNDS, of the running total: 0 none, 1 it is never negative, 2 [time * lowest, time * highest]

typedef struct {
    float v, total;  // membrane potential; spikes so far, signed
    float threshold;
#if SP_NEURON == GENERAL
    float inverse;  // 1 / threshold
#endif
#if SP_BOUNDS == 2
    float lowest, highest;
#endif
} Neuron;

typedef struct {
    float up, down, leak;
    int hard_reset;
} Rules;

// What the potential asks for. With at most one spike, floor(v / threshold) >= 1 exactly where
// v >= threshold: the float below the threshold divided by it never rounds up to 1.
DEVICE float wanted(const Neuron *s, float v, Rules rules) {
#if SP_NEURON == GENERAL
    float u = quotient(v, s->threshold, s->inverse);
    float n = rules.hard_reset ? truncf(u) : floorf(u);
    return fminf(fmaxf(n, -rules.down), rules.up);
#elif SP_NEURON == SIGNED
    (void)rules;
    return v >= s->threshold ? 1.0f : v < 0.0f ? -1.0f : 0.0f;
#else
    (void)rules;
    return v >= s->threshold ? 1.0f : 0.0f;
#endif
}

// What the bounds of the total leave of it. The margin keeps t * 6 / threshold = 12 from being
// floored to 11 by rounding.
DEVICE float allowed(const Neuron *s, float n, float time) {
#if SP_BOUNDS == 1
    n = fmaxf(n, -s->total);
#elif SP_BOUNDS == 2
    n = fmaxf(n, ceilf(s->lowest * time - 1e-3f) - s->total);
    n = fminf(n, floorf(s->highest * time + 1e-3f) - s->total);
#endif
    (void)time;
    return n;
}

// Potential with the current, before the neuron fires.
DEVICE float charged(const Neuron *s, float current, Rules rules) {
#if SP_NEURON == GENERAL
    return s->v * rules.leak + current;  // times 1 is exact
#else
    (void)rules;
    return s->v + current;
#endif
}

// Take n spikes from the potential v and count them.
DEVICE void settle(Neuron *s, float v, float n, Rules rules) {
    s->v = v - n * s->threshold;
#if SP_NEURON == GENERAL
    if (rules.hard_reset && n != 0.0f) s->v = 0.0f;
#endif
    (void)rules;
    s->total += n;
}

// Integrate, fire, reset; `time` counts this timestep. Returns the spikes.
DEVICE float fire(Neuron *s, float current, float time, Rules rules) {
    float v = charged(s, current, rules);
    float n = allowed(s, wanted(s, v, rules), time);
    settle(s, v, n, rules);
    return n;
}
