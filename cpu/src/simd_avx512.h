// Sixteen floats in one register: AVX-512 with VBMI2 (Ice Lake, Zen 4 and later).
#pragma once
#include <immintrin.h>
#include <stdint.h>

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
    int count = (int)_mm_popcnt_u64(word);
    for (int done = 0;;) {
        __m512i wide = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(positions));
        _mm512_storeu_si512(end + done, _mm512_add_epi32(_mm512_sllv_epi32(wide, by), from));
        done += 16;
        if (__builtin_expect(done >= count, 1)) return end + count;
        positions = _mm512_alignr_epi32(positions, positions, 4);
    }
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

// Appends base + (position << shift) + code for each wanted input that spikes; code: its |n|, and 32
// if it is negative. words: of the first magnitude plane, then every `stride`. May write up to 64
// entries past the end.
static inline uint32_t* append_counts(uint32_t* end, const uint64_t* words, size_t stride,
                                      int magnitudes, uint64_t minus, uint64_t wanted,
                                      uint32_t base, uint32_t shift) {
    uint64_t any = 0;
    __m512i codes = _mm512_maskz_set1_epi8(minus, 32);
    for (int j = 0; j < magnitudes; ++j) {
        const uint64_t bits = words[j * stride];
        codes = _mm512_mask_add_epi8(codes, bits, codes, _mm512_set1_epi8((char)(1 << j)));
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
