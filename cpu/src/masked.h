// Synapses from channel c to channel c: the spikes' bits are the masks of the adds. No branches on
// single planes or signs: at the usual densities they could not be predicted.
#pragma once

// 64 bits from bit `first` on; bits past the last word are 0.
static inline uint64_t window(const uint64_t* words, int n_words, int first) {
    int at = first / 64, by = first % 64;
    uint64_t low = words[at] >> by;
    return by && at + 1 < n_words ? low | words[at + 1] << (64 - by) : low;
}

template <int N, bool UNIT>
static inline void add_masked(F* acc, const sp_stream* s, const uint64_t* words, int first,
                              const float* weights) {
    uint64_t planes[8] = {window(words, s->words, first)}, any = planes[0];
    for (int j = 1; !UNIT && j < s->magnitudes; ++j)
        any |= planes[j] = window(words + (size_t)j * s->words, s->words, first);
    if (!any) return;
    const uint64_t minus =
        !UNIT && s->has_sign ? window(words + (size_t)s->magnitudes * s->words, s->words, first) : 0;
    for (int i = 0; i < N; ++i) {
        F weight = load(weights + 16 * i);
        if (!UNIT && s->has_sign) weight = negate_where((M)(minus >> 16 * i), weight);
        acc[i] = add_where((M)(planes[0] >> 16 * i), acc[i], weight);
        for (int j = 1; !UNIT && j < s->magnitudes; ++j)
            acc[i] = add_scaled_where((M)(planes[j] >> 16 * i), acc[i], weight,
                                      all((float)(1 << j)));
    }
}

// The taps are those of `find_taps`.
template <int N>
static inline void masked_term(F* acc, const sp_term* term, sp_block block,
                               const uint64_t* const* taps, int t) {
    const sp_stream* s = &term->source;
    const int n_taps = term->kernel_y * term->kernel_x;
    const size_t step = (size_t)t * planes_of(s) * s->words;
    const float* weights = (const float*)term->weights + (size_t)block.offset * n_taps;
    const bool unit = s->magnitudes == 1 && !s->has_sign;
    for (int tap = 0; tap < n_taps; ++tap, weights += block.width) {
        if (!taps[tap]) continue;
        if (unit)
            add_masked<N, true>(acc, s, taps[tap] + step, block.first, weights);
        else
            add_masked<N, false>(acc, s, taps[tap] + step, block.first, weights);
    }
}

// The same in whole numbers: sums of 16 bits, widened before they could overflow.
template <int N, bool ONE, bool POSITIVE>
static inline void add_masked(H* acc, const sp_stream* s, const uint64_t* words, int first,
                              const int16_t* weights) {
    const uint64_t minus =
        POSITIVE ? 0 : window(words + (size_t)s->magnitudes * s->words, s->words, first);
    for (int j = 0; j < (ONE ? 1 : s->magnitudes); ++j) {
        const uint64_t plane = window(words + (size_t)j * s->words, s->words, first);
        add_bits<(N + 1) / 2, ONE, POSITIVE>(acc, weights, j, plane & ~minus, plane & minus);
    }
}

template <int N, bool ONE, bool POSITIVE>
static inline void masked_taps(I* acc, const sp_term* term, sp_block block,
                               const uint64_t* const* taps, int t) {
    const sp_stream* s = &term->source;
    const int n_taps = term->kernel_y * term->kernel_x;
    const size_t step = (size_t)t * planes_of(s) * s->words;
    const int16_t* weights = (const int16_t*)term->weights + (size_t)block.index * n_taps * 64;
    for (int first = 0; first < n_taps; first += term->limit) {
        H sums = no_sums();
        for (int tap = first; tap < n_taps && tap < first + term->limit; ++tap)
            if (taps[tap])
                add_masked<N, ONE, POSITIVE>(&sums, s, taps[tap] + step, block.first,
                                             weights + 64 * tap);
        add_widened<N>(acc, &sums, term->shifts ? term->shifts + block.offset : nullptr);
    }
}

template <int N>
static inline void masked_term(I* acc, const sp_term* term, sp_block block,
                               const uint64_t* const* taps, int t) {
    const sp_stream* s = &term->source;
    if (s->magnitudes > 1 && s->has_sign)
        masked_taps<N, false, false>(acc, term, block, taps, t);
    else if (s->magnitudes > 1)
        masked_taps<N, false, true>(acc, term, block, taps, t);
    else if (s->has_sign)
        masked_taps<N, true, false>(acc, term, block, taps, t);
    else
        masked_taps<N, true, true>(acc, term, block, taps, t);
}
