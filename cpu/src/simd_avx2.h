// Sixteen floats in two registers: AVX2 with FMA and BMI.
#pragma once
#include <immintrin.h>
#include <stdint.h>

// For what is called at every timestep: sums stay in the registers only if it is no call.
#define AT_ONCE __attribute__((always_inline)) inline

typedef struct {
    __m256 a, b;
} F;
typedef uint16_t M;  // one bit per lane
enum { CHAINS = 2 };  // independent sums, as many as the registers hold

#define BOTH(name, operation) \
    static inline F name(F x, F y) { return {operation(x.a, y.a), operation(x.b, y.b)}; }
BOTH(add, _mm256_add_ps)
BOTH(sub, _mm256_sub_ps)
BOTH(mul, _mm256_mul_ps)
BOTH(div, _mm256_div_ps)
BOTH(min, _mm256_min_ps)
BOTH(max, _mm256_max_ps)
#undef BOTH

static inline __m256 lanes8(unsigned bits) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i spread = _mm256_and_si256(_mm256_set1_epi32((int)bits), each);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(spread, each));
}
static inline F lanes(M m) { return {lanes8(m & 255u), lanes8(m >> 8)}; }
static inline M bits(__m256 a, __m256 b) {
    return (M)(_mm256_movemask_ps(a) | _mm256_movemask_ps(b) << 8);
}

static inline F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline F load_first(const float* p, int n) {
    F m = lanes((M)((1u << n) - 1));
    return {_mm256_maskload_ps(p, _mm256_castps_si256(m.a)),
            n > 8 ? _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.b)) : _mm256_setzero_ps()};
}
static inline void store(float* p, F x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
static inline F all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline F absolute(F x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
static inline F floor(F x) { return {_mm256_floor_ps(x.a), _mm256_floor_ps(x.b)}; }
static inline F ceil(F x) { return {_mm256_ceil_ps(x.a), _mm256_ceil_ps(x.b)}; }
static inline F round(F x) { return {_mm256_round_ps(x.a, 0x08), _mm256_round_ps(x.b, 0x08)}; }
static inline M less(F x, F y) {
    return bits(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ));
}
static inline M at_least(F x, F y) {
    return bits(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ));
}
static inline M not_equal(F x, F y) {
    return bits(_mm256_cmp_ps(x.a, y.a, _CMP_NEQ_UQ), _mm256_cmp_ps(x.b, y.b, _CMP_NEQ_UQ));
}
static inline M not_greater(F x, F y) {
    return bits(_mm256_cmp_ps(x.a, y.a, _CMP_NGT_UQ), _mm256_cmp_ps(x.b, y.b, _CMP_NGT_UQ));
}
static inline F choose(M m, F yes, F no) {
    F l = lanes(m);
    return {_mm256_blendv_ps(no.a, yes.a, l.a), _mm256_blendv_ps(no.b, yes.b, l.b)};
}
static inline F add_where(M m, F x, F y) { return choose(m, add(x, y), x); }
static inline F sub_where(M m, F x, F y) { return choose(m, sub(x, y), x); }
static inline F negate_where(M m, F x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const F l = lanes(m);
    return {_mm256_xor_ps(x.a, _mm256_and_ps(l.a, sign)), _mm256_xor_ps(x.b, _mm256_and_ps(l.b, sign))};
}
static inline F add_scaled(F x, F y, F s) {
    return {_mm256_fmadd_ps(y.a, s.a, x.a), _mm256_fmadd_ps(y.b, s.b, x.b)};
}
static inline F add_scaled_where(M m, F x, F y, F s) { return choose(m, add_scaled(x, y, s), x); }
static inline M has_bit256(__m256i a, __m256i b, int j) {
    const __m128i by = _mm_cvtsi32_si128(31 - j);
    return bits(_mm256_castsi256_ps(_mm256_sll_epi32(a, by)),
                _mm256_castsi256_ps(_mm256_sll_epi32(b, by)));
}
static inline M bit_of(F n, int j) {
    return has_bit256(_mm256_cvttps_epi32(n.a), _mm256_cvttps_epi32(n.b), j);
}

typedef struct {
    __m256i a, b;
} I;
static inline I load_ints(const int32_t* p) {
    return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 8))};
}
static inline void store_ints(int32_t* p, I x) {
    _mm256_storeu_si256((__m256i*)p, x.a);
    _mm256_storeu_si256((__m256i*)(p + 8), x.b);
}
static inline I all_ints(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static inline I add_ints_where(M m, I x, I y) {
    F l = lanes(m);
    return {_mm256_add_epi32(x.a, _mm256_and_si256(_mm256_castps_si256(l.a), y.a)),
            _mm256_add_epi32(x.b, _mm256_and_si256(_mm256_castps_si256(l.b), y.b))};
}
static inline I sub_ints(I x, I y) {
    return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
static inline I max_ints(I x, I y) {
    return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
static inline I abs_ints(I x) { return {_mm256_abs_epi32(x.a), _mm256_abs_epi32(x.b)}; }
static inline M negative(I x) { return has_bit256(x.a, x.b, 31); }
static inline M has_bit(I x, int j) { return has_bit256(x.a, x.b, j); }
static inline I add_ints(I x, I y) {
    return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
static inline I mul_ints(I x, I y) {
    return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}
static inline I min_ints(I x, I y) {
    return {_mm256_min_epi32(x.a, y.a), _mm256_min_epi32(x.b, y.b)};
}
static inline I choose_ints(M m, I yes, I no) {
    const F l = lanes(m);
    return {_mm256_blendv_epi8(no.a, yes.a, _mm256_castps_si256(l.a)),
            _mm256_blendv_epi8(no.b, yes.b, _mm256_castps_si256(l.b))};
}
static inline I sub_ints_where(M m, I x, I y) { return choose_ints(m, sub_ints(x, y), x); }
static inline M less_ints(I x, I y) {
    return bits(_mm256_castsi256_ps(_mm256_cmpgt_epi32(y.a, x.a)),
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(y.b, x.b)));
}
static inline M at_least_ints(I x, I y) { return (M)~less_ints(x, y); }
static inline I to_ints(F x) {  // the nearest
    return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
static inline F to_floats(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }

// Sums of 64 outputs in 16 bits: 0 to 15, 16 to 31, ... Rows of bytes are in the order of `in_rows`
// (cpu/byte_rows.py), so that interleaving two of them leaves the outputs in place.
typedef struct {
    __m256i part[4];
} H;
enum { SHORT_SUMS = 2 };  // of these, as many as the registers hold beside another one
static inline H no_sums() {
    const __m256i zero = _mm256_setzero_si256();
    return {{zero, zero, zero, zero}};
}
static inline void add_interleaved(H* acc, const int8_t* x, const int8_t* y, __m256i scales) {
    for (int i = 0; i < 2; ++i) {
        const __m256i a = _mm256_loadu_si256((const __m256i*)(x + 32 * i));
        const __m256i b = _mm256_loadu_si256((const __m256i*)(y + 32 * i));
        const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
        acc->part[i] = _mm256_add_epi16(acc->part[i], _mm256_maddubs_epi16(scales, low));
        acc->part[i + 2] = _mm256_add_epi16(acc->part[i + 2], _mm256_maddubs_epi16(scales, high));
    }
}
// acc += x + y
static inline void add_pair(H* acc, const int8_t* x, const int8_t* y) {
    add_interleaved(acc, x, y, _mm256_set1_epi8(1));
}
// acc += x * by_x + y * by_y, factors up to 128
static inline void add_pair_scaled(H* acc, const int8_t* x, const int8_t* y, uint32_t by_x,
                                   uint32_t by_y) {
    add_interleaved(acc, x, y, _mm256_set1_epi16((short)(by_x | by_y << 8)));
}
static inline __m256i lanes16(unsigned bits) {
    const __m256i each = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096,
                                           8192, 16384, (short)32768);
    return _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16((short)bits), each), each);
}
// Adds w << j to outputs 0 to 32 * HALVES - 1 where a bit of plus is set, takes it away where one of
// minus is; FIRST: j is 0, POSITIVE: minus is.
template <int HALVES, bool FIRST, bool POSITIVE>
static inline void add_bits(H* acc, const int16_t* w, int j, uint64_t plus, uint64_t minus) {
    for (int i = 0; i < 2 * HALVES; ++i) {
        __m256i weight = _mm256_loadu_si256((const __m256i*)(w + 16 * i));
        if (!FIRST) weight = _mm256_sll_epi16(weight, _mm_cvtsi32_si128(j));
        const __m256i up = lanes16((unsigned)(plus >> 16 * i) & 0xffff);
        acc->part[i] = _mm256_add_epi16(acc->part[i], _mm256_and_si256(weight, up));
        if (POSITIVE) continue;
        const __m256i down = lanes16((unsigned)(minus >> 16 * i) & 0xffff);
        acc->part[i] = _mm256_sub_epi16(acc->part[i], _mm256_and_si256(weight, down));
    }
}
static inline H add_sums(H a, H b) {
    for (int i = 0; i < 4; ++i) a.part[i] = _mm256_add_epi16(a.part[i], b.part[i]);
    return a;
}
static inline void keep_in_register(H* a) {
    __asm__ volatile("" : "+x"(a->part[0]), "+x"(a->part[1]), "+x"(a->part[2]), "+x"(a->part[3]));
}
// Outputs 16 * i to 16 * i + 15 in 32 bits.
static inline I widened(const H* from, int i) {
    const __m256i part = from->part[i];
    return {_mm256_cvtepi16_epi32(_mm256_castsi256_si128(part)),
            _mm256_cvtepi16_epi32(_mm256_extracti128_si256(part, 1))};
}
static inline I shifted(I x, I by) {
    return {_mm256_sllv_epi32(x.a, by.a), _mm256_sllv_epi32(x.b, by.b)};
}

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
