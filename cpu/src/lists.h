// Which weight rows the spikes at one output position and timestep add: lists of byte offsets.
//
// An entry is row << shift | code, row = tap * (channels per group) + channel within the group;
// a row is 1 << shift bytes, at least 64. The lowest six bits of the code: which entry of the term's
// scales the row is multiplied by, see `scales_of`. Rows of whole numbers are followed by their
// negatives where spikes have signs: bit 6 of the code then leads to those.
#pragma once

enum { COUNTED = 5 };  // up to this many magnitude planes an input is one entry, whatever its |n|

// By code: n as it is, 32 for negative; or 2^j, 8 for negative, where an entry stands for one bit.
static const float by_count[64] = {
    0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,
    16,  17,  18,  19,  20,  21,  22,  23,  24,  25,  26,  27,  28,  29,  30,  31,
    0,   -1,  -2,  -3,  -4,  -5,  -6,  -7,  -8,  -9,  -10, -11, -12, -13, -14, -15,
    -16, -17, -18, -19, -20, -21, -22, -23, -24, -25, -26, -27, -28, -29, -30, -31};
static const float by_bit[64] = {1,  2,  4,  8,  16,  32,  64,  128,
                                 -1, -2, -4, -8, -16, -32, -64, -128};

static inline const float* scales_of(const sp_stream* s) {
    return s->magnitudes <= COUNTED ? by_count : by_bit;
}

enum { NEGATED = 64 };  // the code of a negative spike that adds whole numbers

// What the code of a negative spike is added by.
static inline uint32_t sign_code(const sp_layer* L, const sp_stream* s) {
    return L->integer ? NEGATED : s->magnitudes <= COUNTED ? 32 : 8;
}

// Whether an entry is a row as it is, without a scale.
static inline bool rows_alone(const sp_layer* L, const sp_stream* s) {
    return s->magnitudes == 1 && (L->integer || !s->has_sign);
}

static inline int planes_of(const sp_stream* s) { return s->magnitudes + (s->has_sign != 0); }

static inline const uint64_t* words_at(const sp_stream* s, int b, int y, int x, int t) {
    size_t pixel = ((size_t)b * s->height + y) * s->width + x;
    return s->bits + (pixel * s->timesteps + t) * planes_of(s) * s->words;
}

// Most entries that one output position can have, all timesteps and groups together.
static inline size_t most_entries(const sp_layer* L) {
    size_t most = 64;
    for (int i = 0; i < L->n_terms; ++i) {
        const sp_term* term = L->terms + i;
        if (!term->masked)
            most += (size_t)(L->end - L->begin) * term->kernel_y * term->kernel_x *
                    term->source.channels * term->source.magnitudes;
    }
    return most;
}

// Finds the source words of the kernel positions; null outside the image.
static inline int find_taps(const sp_layer* L, const sp_term* term, int b, int y, int x,
                            const uint64_t** taps) {
    int tap = 0;
    for (int ky = 0; ky < term->kernel_y; ++ky) {
        int iy = y * term->stride_y - term->pad_y + ky * term->dilation_y;
        for (int kx = 0; kx < term->kernel_x; ++kx, ++tap) {
            int ix = x * term->stride_x - term->pad_x + kx * term->dilation_x;
            bool inside = iy >= 0 && iy < term->source.height && ix >= 0 && ix < term->source.width;
            taps[tap] = inside ? words_at(&term->source, b, iy, ix, L->begin) : nullptr;
        }
    }
    return tap;
}

// Most entries of one output position as it is.
static inline size_t entries_at(const sp_layer* L, int b, int y, int x, const Lists* lists) {
    size_t most = 64;
    for (int i = 0; i < L->n_terms; ++i) {
        const sp_stream* s = &L->terms[i].source;
        if (L->terms[i].masked) continue;
        const int taps = find_taps(L, L->terms + i, b, y, x, lists->taps);
        for (int tap = 0; tap < taps; ++tap) {
            if (!lists->taps[tap]) continue;
            for (int t = 0; t < L->end - L->begin; ++t)
                for (int w = 0; w < s->magnitudes * s->words; ++w)
                    most += (size_t)__builtin_popcountll(
                        lists->taps[tap][(size_t)t * planes_of(s) * s->words + w]);
        }
    }
    return most;
}

// Appends the spikes of channels [low, high) at one kernel position.
static inline uint32_t* append_tap(uint32_t* end, const sp_layer* L, const sp_stream* s,
                                   const uint64_t* words, int low, int high, uint32_t base,
                                   uint32_t shift) {
    const uint32_t negative = sign_code(L, s), one = !rows_alone(L, s);
    const uint64_t* sign = s->has_sign ? words + (size_t)s->magnitudes * s->words : nullptr;
    for (int w = low / 64; w * 64 < high; ++w) {
        uint64_t wanted = ~0ull;
        if (w * 64 < low) wanted &= ~0ull << (low - w * 64);
        if (high - w * 64 < 64) wanted &= ~(~0ull << (high - w * 64));
        uint32_t from = base + ((uint32_t)(w * 64 - low) << shift);  // wraps if w * 64 < low
        if (s->magnitudes == 1 && !sign) {  // no code: see `rows_alone`
            end = append_bits(end, words[w] & wanted, from, shift);
            continue;
        }
        if (s->magnitudes <= COUNTED) {
            end = append_counts(end, words + w, s->words, s->magnitudes, sign ? sign[w] : 0, wanted,
                                from, shift, one, negative);
            continue;
        }
        for (int j = 0; j < s->magnitudes; ++j) {
            uint64_t magnitude = words[(size_t)j * s->words + w] & wanted;
            uint64_t minus = sign ? magnitude & sign[w] : 0;
            end = append_bits(end, magnitude ^ minus, from + (uint32_t)j, shift);
            if (sign) end = append_bits(end, minus, from + negative + (uint32_t)j, shift);
        }
    }
    return end;
}

// Whether no masks are needed to list channels [low, high), because bits past the last channel are 0.
static inline bool whole_words(const sp_stream* s, int low, int high) {
    return s->magnitudes == 1 && !s->has_sign && low % 64 == 0 &&
           (high % 64 == 0 || high == s->channels);
}

// Appends the spikes of channels [low, high) at one kernel position and timestep.
static inline uint32_t* append_channels(uint32_t* end, const sp_layer* L, const sp_stream* s,
                                        const uint64_t* words, int low, int high, uint32_t base,
                                        uint32_t shift) {
    return whole_words(s, low, high)
               ? append_words(end, words + low / 64, (high + 63) / 64 - low / 64, base, shift)
               : append_tap(end, L, s, words, low, high, base, shift);
}

// Lists of one output position for all gathered terms; slots: [term, group][tile][step].
static inline uint32_t* list_position(const sp_layer* L, int b, int y, int x, int place,
                                      const Lists* lists, uint32_t* end) {
    const int steps = L->end - L->begin;
    size_t slot = 0;
    for (int i = 0; i < L->n_terms; ++i) {
        const sp_term* term = L->terms + i;
        const sp_stream* s = &term->source;
        if (term->masked) continue;
        const int group_size = s->channels / term->groups;
        const uint32_t shift = (uint32_t)term->row_shift;
        const size_t step_words = (size_t)planes_of(s) * s->words;
        const int taps = find_taps(L, term, b, y, x, lists->taps);
        for (int low = 0; low < s->channels; low += group_size) {
            const size_t at = (slot++ * L->tile + place) * steps;
            for (int t = 0; t < steps; ++t) {
                lists->starts[at + t] = (uint32_t)(end - lists->entries);
                for (int tap = 0; tap < taps; ++tap)
                    if (lists->taps[tap])
                        end = append_channels(
                            end, L, s, lists->taps[tap] + t * step_words, low, low + group_size,
                            (uint32_t)(term->shared ? 0 : tap * group_size) << shift, shift);
                lists->ends[at + t] = (uint32_t)(end - lists->entries);
            }
        }
    }
    return end;
}
