// Sixteen floats in an array, for any machine; the compiler may use what the target always has.
#pragma once
#include <math.h>
#include <stdint.h>

#define AT_ONCE inline  // as the compiler likes: the registers of this machine are not known

typedef struct {
    float x[16];
} F;
typedef uint16_t M;  // one bit per lane
enum { CHAINS = 2 };  // independent sums, as many as the registers hold

#define EACH for (int i = 0; i < 16; ++i)
#define PAIRWISE(name, expression)        \
    static inline F name(F a, F b) {      \
        F r;                              \
        EACH r.x[i] = expression;         \
        return r;                         \
    }
PAIRWISE(add, a.x[i] + b.x[i])
PAIRWISE(sub, a.x[i] - b.x[i])
PAIRWISE(mul, a.x[i] * b.x[i])
PAIRWISE(div, a.x[i] / b.x[i])
PAIRWISE(min, a.x[i] < b.x[i] ? a.x[i] : b.x[i])
PAIRWISE(max, a.x[i] > b.x[i] ? a.x[i] : b.x[i])
#undef PAIRWISE
#define COMPARED(name, expression)                         \
    static inline M name(F a, F b) {                       \
        unsigned m = 0;                                    \
        EACH m |= (unsigned)(expression) << i;             \
        return (M)m;                                       \
    }
COMPARED(less, a.x[i] < b.x[i])
COMPARED(at_least, a.x[i] >= b.x[i])
COMPARED(not_equal, a.x[i] != b.x[i])
COMPARED(not_greater, !(a.x[i] > b.x[i]))
#undef COMPARED
#define ALONE(name, expression)           \
    static inline F name(F a) {           \
        F r;                              \
        EACH r.x[i] = expression;         \
        return r;                         \
    }
ALONE(absolute, fabsf(a.x[i]))
ALONE(floor, floorf(a.x[i]))
ALONE(ceil, ceilf(a.x[i]))
ALONE(round, rintf(a.x[i]))
#undef ALONE

static inline F load(const float* p) {
    F r;
    EACH r.x[i] = p[i];
    return r;
}
static inline F load_first(const float* p, int n) {
    F r;
    EACH r.x[i] = i < n ? p[i] : 0.0f;
    return r;
}
static inline void store(float* p, F a) { EACH p[i] = a.x[i]; }
static inline F all(float a) {
    F r;
    EACH r.x[i] = a;
    return r;
}
static inline F choose(M m, F yes, F no) {
    F r;
    EACH r.x[i] = (m >> i & 1) ? yes.x[i] : no.x[i];
    return r;
}
static inline F add_where(M m, F a, F b) { return choose(m, add(a, b), a); }
static inline F sub_where(M m, F a, F b) { return choose(m, sub(a, b), a); }
static inline F negate_where(M m, F a) { return choose(m, sub(all(0.0f), a), a); }
static inline F add_scaled(F a, F b, F s) { return add(a, mul(b, s)); }
static inline F add_scaled_where(M m, F a, F b, F s) { return choose(m, add_scaled(a, b, s), a); }
static inline M bit_of(F n, int j) {
    unsigned m = 0;
    EACH m |= ((unsigned)(int)n.x[i] >> j & 1u) << i;
    return (M)m;
}

typedef struct {
    int32_t x[16];
} I;
static inline I load_ints(const int32_t* p) {
    I r;
    EACH r.x[i] = p[i];
    return r;
}
static inline void store_ints(int32_t* p, I a) { EACH p[i] = a.x[i]; }
static inline I all_ints(int32_t a) {
    I r;
    EACH r.x[i] = a;
    return r;
}
static inline I add_ints_where(M m, I a, I b) {
    EACH if (m >> i & 1) a.x[i] += b.x[i];
    return a;
}
static inline I sub_ints(I a, I b) {
    EACH a.x[i] = (int32_t)((uint32_t)a.x[i] - (uint32_t)b.x[i]);
    return a;
}
static inline I max_ints(I a, I b) {
    EACH a.x[i] = a.x[i] > b.x[i] ? a.x[i] : b.x[i];
    return a;
}
static inline I abs_ints(I a) {
    EACH a.x[i] = a.x[i] < 0 ? -a.x[i] : a.x[i];
    return a;
}
static inline M has_bit(I a, int j) {
    unsigned m = 0;
    EACH m |= ((uint32_t)a.x[i] >> j & 1u) << i;
    return (M)m;
}
static inline M negative(I a) { return has_bit(a, 31); }
static inline I add_ints(I a, I b) {
    EACH a.x[i] = (int32_t)((uint32_t)a.x[i] + (uint32_t)b.x[i]);
    return a;
}
static inline I mul_ints(I a, I b) {
    EACH a.x[i] = (int32_t)((uint32_t)a.x[i] * (uint32_t)b.x[i]);
    return a;
}
static inline I min_ints(I a, I b) {
    EACH a.x[i] = a.x[i] < b.x[i] ? a.x[i] : b.x[i];
    return a;
}
static inline I choose_ints(M m, I yes, I no) {
    EACH yes.x[i] = (m >> i & 1) ? yes.x[i] : no.x[i];
    return yes;
}
static inline I sub_ints_where(M m, I a, I b) { return choose_ints(m, sub_ints(a, b), a); }
static inline M less_ints(I a, I b) {
    unsigned m = 0;
    EACH m |= (unsigned)(a.x[i] < b.x[i]) << i;
    return (M)m;
}
static inline M at_least_ints(I a, I b) { return (M)~less_ints(a, b); }
static inline I to_ints(F a) {  // the nearest; INT32_MIN where it does not fit
    I r;
    EACH r.x[i] = a.x[i] >= -0x1p31f && a.x[i] < 0x1p31f ? (int32_t)rintf(a.x[i]) : INT32_MIN;
    return r;
}
static inline F to_floats(I a) {
    F r;
    EACH r.x[i] = (float)a.x[i];
    return r;
}

// Sums of 64 outputs in 16 bits, in the order of `in_rows` (cpu/byte_rows.py) like rows of bytes.
typedef struct {
    int16_t x[64];
} H;
// Where an output is in a row.
static inline int place_of(int output) {
    return (output % 32 / 8) * 16 + (output / 32) * 8 + output % 8;
}
enum { SHORT_SUMS = 1 };  // of these, as many as the registers hold beside another one
static inline H no_sums() {
    H r;
    for (int i = 0; i < 64; ++i) r.x[i] = 0;
    return r;
}
// acc += x + y
static inline void add_pair(H* acc, const int8_t* x, const int8_t* y) {
    for (int i = 0; i < 64; ++i) acc->x[i] = (int16_t)(acc->x[i] + x[i] + y[i]);
}
// acc += x * by_x + y * by_y, factors up to 128
static inline void add_pair_scaled(H* acc, const int8_t* x, const int8_t* y, uint32_t by_x,
                                   uint32_t by_y) {
    for (int i = 0; i < 64; ++i)
        acc->x[i] = (int16_t)(acc->x[i] + x[i] * (int)by_x + y[i] * (int)by_y);
}
// Adds w << j to outputs 0 to 32 * HALVES - 1 where a bit of plus is set, takes it away where one of
// minus is; FIRST: j is 0, POSITIVE: minus is.
template <int HALVES, bool FIRST, bool POSITIVE>
static inline void add_bits(H* acc, const int16_t* w, int j, uint64_t plus, uint64_t minus) {
    for (int i = 0; i < 32 * HALVES; ++i) {
        const int n = (int)(plus >> i & 1) - (int)(minus >> i & 1), at = place_of(i);
        acc->x[at] = (int16_t)(acc->x[at] + n * w[i] * (1 << j));
    }
}
static inline H add_sums(H a, H b) {
    for (int i = 0; i < 64; ++i) a.x[i] = (int16_t)(a.x[i] + b.x[i]);
    return a;
}
static inline void keep_in_register(H* a) { __asm__ volatile("" : "+m"(*a)); }
// Outputs 16 * i to 16 * i + 15 in 32 bits.
static inline I widened(const H* from, int i) {
    I r;
    for (int k = 0; k < 16; ++k) r.x[k] = from->x[place_of(16 * i + k)];
    return r;
}
static inline I shifted(I a, I by) {
    EACH a.x[i] = (int32_t)((uint32_t)a.x[i] << by.x[i]);
    return a;
}
#undef EACH

// Appends base + (position of each set bit << shift).
static inline uint32_t* append_bits(uint32_t* end, uint64_t word, uint32_t base, uint32_t shift) {
    for (; word; word &= word - 1) *end++ = base + ((uint32_t)__builtin_ctzll(word) << shift);
    return end;
}

// The same for several words; the base grows with the position.
static inline uint32_t* append_words(uint32_t* end, const uint64_t* words, int n_words,
                                     uint32_t base, uint32_t shift) {
    for (int w = 0; w < n_words; ++w)
        end = append_bits(end, words[w], base + ((uint32_t)w * 64u << shift), shift);
    return end;
}

// Appends base + (position << shift) + code for each wanted input that spikes; code: its |n| times
// `one`, and `sign` if it is negative. words: of the first magnitude plane, then every `stride`.
static inline uint32_t* append_counts(uint32_t* end, const uint64_t* words, size_t stride,
                                      int magnitudes, uint64_t minus, uint64_t wanted,
                                      uint32_t base, uint32_t shift, uint32_t one, uint32_t sign) {
    uint64_t any = 0;
    for (int j = 0; j < magnitudes; ++j) any |= words[j * stride];
    for (any &= wanted; any; any &= any - 1) {
        const int bit = __builtin_ctzll(any);
        uint32_t code = minus >> bit & 1 ? sign : 0;
        for (int j = 0; j < magnitudes; ++j) code += words[j * stride] >> bit & 1 ? one << j : 0;
        *end++ = base + ((uint32_t)bit << shift) + code;
    }
    return end;
}
