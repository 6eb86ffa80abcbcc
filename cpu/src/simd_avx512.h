// Sixteen floats in one register: AVX-512 with VBMI2 (Ice Lake, Zen 4 and later).
#pragma once
#include <immintrin.h>
#include <stdint.h>

// For what is called at every timestep: sums stay in the registers only if it is no call.
#define AT_ONCE __attribute__((always_inline)) inline

typedef __m512 F;
typedef uint16_t M;  // one bit per lane
enum { CHAINS = 2 };  // independent sums, as many as the registers hold

static inline F load(const float* p) { return _mm512_loadu_ps(p); }
static inline F load_first(const float* p, int n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
static inline void store(float* p, F a) { _mm512_storeu_ps(p, a); }
static inline F all(float a) { return _mm512_set1_ps(a); }
static inline F add(F a, F b) { return _mm512_add_ps(a, b); }
static inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
static inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
static inline F div(F a, F b) { return _mm512_div_ps(a, b); }
static inline F min(F a, F b) { return _mm512_min_ps(a, b); }
static inline F max(F a, F b) { return _mm512_max_ps(a, b); }
static inline F absolute(F a) { return _mm512_abs_ps(a); }
static inline F floor(F a) { return _mm512_roundscale_ps(a, 0x09); }
static inline F ceil(F a) { return _mm512_roundscale_ps(a, 0x0A); }
static inline F round(F a) { return _mm512_roundscale_ps(a, 0x08); }
static inline M less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline M at_least(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline M not_equal(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
static inline M not_greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_NGT_UQ); }
static inline F choose(M m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }
static inline F add_where(M m, F a, F b) { return _mm512_mask_add_ps(a, m, a, b); }
static inline F sub_where(M m, F a, F b) { return _mm512_mask_sub_ps(a, m, a, b); }
static inline F negate_where(M m, F a) {
    return _mm512_mask_xor_ps(a, m, a, _mm512_set1_ps(-0.0f));
}
static inline F add_scaled(F a, F b, F s) { return _mm512_fmadd_ps(b, s, a); }
static inline F add_scaled_where(M m, F a, F b, F s) { return _mm512_mask3_fmadd_ps(b, s, a, m); }
static inline M bit_of(F n, int j) {
    return _mm512_test_epi32_mask(_mm512_cvttps_epi32(n), _mm512_set1_epi32(1 << j));
}

typedef __m512i I;
static inline I load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
static inline void store_ints(int32_t* p, I a) { _mm512_storeu_si512(p, a); }
static inline I all_ints(int32_t a) { return _mm512_set1_epi32(a); }
static inline I add_ints_where(M m, I a, I b) { return _mm512_mask_add_epi32(a, m, a, b); }
static inline I sub_ints(I a, I b) { return _mm512_sub_epi32(a, b); }
static inline I max_ints(I a, I b) { return _mm512_max_epi32(a, b); }
static inline I abs_ints(I a) { return _mm512_abs_epi32(a); }
static inline M negative(I a) { return _mm512_cmplt_epi32_mask(a, _mm512_setzero_si512()); }
static inline M has_bit(I a, int j) {
    return _mm512_test_epi32_mask(a, _mm512_set1_epi32(1 << j));
}

static inline I add_ints(I a, I b) { return _mm512_add_epi32(a, b); }
static inline I mul_ints(I a, I b) { return _mm512_mullo_epi32(a, b); }
static inline I min_ints(I a, I b) { return _mm512_min_epi32(a, b); }
static inline I sub_ints_where(M m, I a, I b) { return _mm512_mask_sub_epi32(a, m, a, b); }
static inline I choose_ints(M m, I yes, I no) { return _mm512_mask_blend_epi32(m, no, yes); }
static inline M less_ints(I a, I b) { return _mm512_cmplt_epi32_mask(a, b); }
static inline M at_least_ints(I a, I b) { return _mm512_cmpge_epi32_mask(a, b); }
static inline I to_ints(F a) { return _mm512_cvtps_epi32(a); }  // the nearest
static inline F to_floats(I a) { return _mm512_cvtepi32_ps(a); }

// Sums of 64 outputs in 16 bits: 0 to 31, 32 to 63. Rows of bytes are in the order of `in_rows`
// (cpu/byte_rows.py), so that interleaving two of them leaves the outputs in place.
typedef struct {
    __m512i low, high;
} H;
enum { SHORT_SUMS = 4 };  // of these, as many as the registers hold beside another one
static inline H no_sums() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
static inline void add_interleaved(H* acc, const int8_t* x, const int8_t* y, __m512i scales) {
    const __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(y);
    const __m512i low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b);
    acc->low = _mm512_add_epi16(acc->low, _mm512_maddubs_epi16(scales, low));
    acc->high = _mm512_add_epi16(acc->high, _mm512_maddubs_epi16(scales, high));
}
// acc += x + y
static inline void add_pair(H* acc, const int8_t* x, const int8_t* y) {
    add_interleaved(acc, x, y, _mm512_set1_epi8(1));
}
// acc += x * by_x + y * by_y, factors up to 128
static inline void add_pair_scaled(H* acc, const int8_t* x, const int8_t* y, uint32_t by_x,
                                   uint32_t by_y) {
    add_interleaved(acc, x, y, _mm512_set1_epi16((short)(by_x | by_y << 8)));
}
// Adds w << j to outputs 0 to 32 * HALVES - 1 where a bit of plus is set, takes it away where one of
// minus is; FIRST: j is 0, POSITIVE: minus is.
template <int HALVES, bool FIRST, bool POSITIVE>
static inline void add_bits(H* acc, const int16_t* w, int j, uint64_t plus, uint64_t minus) {
    const __m128i by = _mm_cvtsi32_si128(j);
    __m512i low = _mm512_loadu_si512(w);
    if (!FIRST) low = _mm512_sll_epi16(low, by);
    acc->low = _mm512_mask_add_epi16(acc->low, (__mmask32)plus, acc->low, low);
    if (!POSITIVE) acc->low = _mm512_mask_sub_epi16(acc->low, (__mmask32)minus, acc->low, low);
    if (HALVES == 1) return;
    __m512i high = _mm512_loadu_si512(w + 32);
    if (!FIRST) high = _mm512_sll_epi16(high, by);
    acc->high = _mm512_mask_add_epi16(acc->high, (__mmask32)(plus >> 32), acc->high, high);
    if (!POSITIVE)
        acc->high = _mm512_mask_sub_epi16(acc->high, (__mmask32)(minus >> 32), acc->high, high);
}
static inline H add_sums(H a, H b) {
    return {_mm512_add_epi16(a.low, b.low), _mm512_add_epi16(a.high, b.high)};
}
static inline void keep_in_register(H* a) { __asm__ volatile("" : "+v"(a->low), "+v"(a->high)); }
// Outputs 16 * i to 16 * i + 15 in 32 bits.
static inline I widened(const H* from, int i) {
    const __m512i half = i < 2 ? from->low : from->high;
    const __m256i part = i % 2 ? _mm512_extracti64x4_epi64(half, 1) : _mm512_castsi512_si256(half);
    return _mm512_cvtepi16_epi32(part);
}
static inline I shifted(I a, I by) { return _mm512_sllv_epi32(a, by); }

static inline __m512i identity() {
    return _mm512_set_epi8(
        63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41,
        40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18,
        17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

// Appends from[lane] + (position of each set bit << by[lane]), all lanes of from being equal; may
// write up to 64 entries past the end.
static inline uint32_t* append_set(uint32_t* end, uint64_t word, __m512i from, __m512i by) {
    __m512i positions = _mm512_maskz_compress_epi8(word, identity());
    const int count = (int)_mm_popcnt_u64(word);
    // 32 whatever their number, which could not be foreseen
    for (int done = 0; done < 32; done += 16) {
        __m512i wide = _mm512_cvtepu8_epi32(done ? _mm512_extracti32x4_epi32(positions, 1)
                                                 : _mm512_castsi512_si128(positions));
        _mm512_storeu_si512(end + done, _mm512_add_epi32(_mm512_sllv_epi32(wide, by), from));
    }
    if (__builtin_expect(count > 32, 0)) {
        for (int done = 32; done < 64; done += 16) {
            __m512i wide = _mm512_cvtepu8_epi32(done == 32 ? _mm512_extracti32x4_epi32(positions, 2)
                                                           : _mm512_extracti32x4_epi32(positions, 3));
            _mm512_storeu_si512(end + done, _mm512_add_epi32(_mm512_sllv_epi32(wide, by), from));
        }
    }
    return end + count;
}

// Appends base + (position of each set bit << shift).
static inline uint32_t* append_bits(uint32_t* end, uint64_t word, uint32_t base, uint32_t shift) {
    return append_set(end, word, _mm512_set1_epi32((int)base), _mm512_set1_epi32((int)shift));
}

// The same for several words; the base grows with the position.
static inline uint32_t* append_words(uint32_t* end, const uint64_t* words, int n_words,
                                     uint32_t base, uint32_t shift) {
    const __m512i by = _mm512_set1_epi32((int)shift), next = _mm512_set1_epi32((int)(64u << shift));
    __m512i from = _mm512_set1_epi32((int)base);
    for (int w = 0; w < n_words; ++w, from = _mm512_add_epi32(from, next))
        end = append_set(end, words[w], from, by);
    return end;
}

// Appends base + (position << shift) + code for each wanted input that spikes; code: its |n| times
// `one`, and `sign` if it is negative. words: of the first magnitude plane, then every `stride`. May
// write up to 64 entries past the end.
static inline uint32_t* append_counts(uint32_t* end, const uint64_t* words, size_t stride,
                                      int magnitudes, uint64_t minus, uint64_t wanted,
                                      uint32_t base, uint32_t shift, uint32_t one, uint32_t sign) {
    uint64_t any = 0;
    __m512i codes = _mm512_maskz_set1_epi8(minus, (char)sign);
    for (int j = 0; j < magnitudes; ++j) {
        const uint64_t bits = words[j * stride];
        codes = _mm512_mask_add_epi8(codes, bits, codes, _mm512_set1_epi8((char)(one << j)));
        any |= bits;
    }
    any &= wanted;
    const int count = (int)_mm_popcnt_u64(any);
    const __m512i from = _mm512_set1_epi32((int)base);
    __m512i positions = _mm512_maskz_compress_epi8(any, identity());
    codes = _mm512_maskz_compress_epi8(any, codes);
    for (int done = 0; done < count;) {
        __m512i wide = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(positions));
        __m512i code = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(codes));
        wide = _mm512_add_epi32(_mm512_slli_epi32(wide, shift), from);
        _mm512_storeu_si512(end + done, _mm512_add_epi32(wide, code));
        done += 16;
        if (__builtin_expect(done >= count, 1)) break;
        positions = _mm512_alignr_epi32(positions, positions, 4);
        codes = _mm512_alignr_epi32(codes, codes, 4);
    }
    return end + count;
}
