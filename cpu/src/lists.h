// Which weight rows the spikes at one output position and timestep add: lists of byte offsets.
//
// An entry is row << shift | code, row = tap * (channels per group) + channel within the group;
// a row is 1 << shift bytes. code: 8 for a negative spike, plus j for a bit of weight 2^j.
#pragma once

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

// Lists per group: one, or one for each kernel position and L->split channels.
static inline int slots_per_group(const sp_layer* L, const sp_term* term) {
    if (!L->split) return 1;
    const int group_size = term->source.channels / term->groups;
    return term->kernel_y * term->kernel_x * ((group_size + L->split - 1) / L->split);
}

// Finds the source words of the kernel positions; null outside the image.
static inline int find_taps(const sp_layer* L, const sp_term* term, int b, int y, int x,
                            const Lists* lists) {
    int tap = 0;
    for (int ky = 0; ky < term->kernel_y; ++ky) {
        int iy = y * term->stride_y - term->pad_y + ky * term->dilation_y;
        for (int kx = 0; kx < term->kernel_x; ++kx, ++tap) {
            int ix = x * term->stride_x - term->pad_x + kx * term->dilation_x;
            bool inside = iy >= 0 && iy < term->source.height && ix >= 0 && ix < term->source.width;
            lists->taps[tap] = inside ? words_at(&term->source, b, iy, ix, L->begin) : nullptr;
        }
    }
    return tap;
}

// Appends the spikes of channels [low, high) at one kernel position.
static inline uint32_t* append_tap(uint32_t* end, const sp_stream* s, const uint64_t* words,
                                   int low, int high, uint32_t base, uint32_t shift) {
    const uint64_t* sign = s->has_sign ? words + (size_t)s->magnitudes * s->words : nullptr;
    for (int w = low / 64; w * 64 < high; ++w) {
        uint64_t wanted = ~0ull;
        if (w * 64 < low) wanted &= ~0ull << (low - w * 64);
        if (high - w * 64 < 64) wanted &= ~(~0ull << (high - w * 64));
        uint32_t from = base + ((uint32_t)(w * 64 - low) << shift);  // wraps if w * 64 < low
        for (int j = 0; j < s->magnitudes; ++j) {
            uint64_t magnitude = words[(size_t)j * s->words + w] & wanted;
            uint64_t minus = sign ? magnitude & sign[w] : 0;
            end = append_bits(end, magnitude ^ minus, from + (uint32_t)j, shift);
            if (sign) end = append_bits(end, minus, from + 8u + (uint32_t)j, shift);
        }
    }
    return end;
}

// The spikes of channels [low, high) of a group at kernel positions [first, last), by timestep.
static inline uint32_t* list_slot(const sp_layer* L, const sp_term* term, int first, int last,
                                  int low, int high, const Lists* lists, size_t at, uint32_t* end) {
    const sp_stream* source = &term->source;
    const int group_size = source->channels / term->groups, group = low / group_size;
    const uint32_t shift = (uint32_t)L->row_shift;
    const size_t step_words = (size_t)planes_of(source) * source->words;
    // then no masks are needed, because bits past the last channel are 0
    const bool whole = source->magnitudes == 1 && !source->has_sign && low % 64 == 0 &&
                       (high % 64 == 0 || high == source->channels);
    for (int t = 0; t < L->end - L->begin; ++t) {
        lists->starts[at + t] = (uint32_t)(end - lists->entries);
        for (int tap = first; tap < last; ++tap) {
            if (!lists->taps[tap]) continue;
            const uint64_t* words = lists->taps[tap] + t * step_words;
            const uint32_t base = (uint32_t)(tap * group_size + low - group * group_size) << shift;
            end = whole ? append_words(end, words + low / 64, (high + 63) / 64 - low / 64, base, shift)
                        : append_tap(end, source, words, low, high, base, shift);
        }
        lists->ends[at + t] = (uint32_t)(end - lists->entries);
    }
    return end;
}

// Lists of one output position for all gathered terms; slots: [term, group, portion][tile][step].
static inline uint32_t* list_position(const sp_layer* L, int b, int y, int x, int place,
                                      const Lists* lists, uint32_t* end) {
    const int steps = L->end - L->begin;
    size_t slot = 0;
    for (int i = 0; i < L->n_terms; ++i) {
        const sp_term* term = L->terms + i;
        if (term->masked) continue;
        const int group_size = term->source.channels / term->groups;
        const int taps = find_taps(L, term, b, y, x, lists);
        const int channels = L->split ? L->split : group_size, kernel = L->split ? 1 : taps;
        for (int low = 0; low < term->source.channels; low += group_size)
            for (int tap = 0; tap < taps; tap += kernel)
                for (int from = low; from < low + group_size; from += channels) {
                    const int rest = low + group_size - from;
                    const int to = from + (rest < channels ? rest : channels);
                    size_t at = (slot++ * L->tile + place) * steps;
                    end = list_slot(L, term, tap, tap + kernel, from, to, lists, at, end);
                }
    }
    return end;
}

static ScratchSizes scratch_sizes(const sp_layer* L) {
    size_t slots = 1, taps = 1;
    for (int i = 0; i < L->n_terms; ++i) {
        const sp_term* term = L->terms + i;
        if (term->masked) continue;
        size_t kernel = (size_t)term->kernel_y * term->kernel_x;
        taps = kernel > taps ? kernel : taps;
        slots += (size_t)slots_per_group(L, term) * term->groups * L->tile * (L->end - L->begin);
    }
    const size_t usual = 1u << 18, most = most_entries(L);  // 1 MiB
    const size_t sums = L->split ? (size_t)64 * L->tile * (L->end - L->begin) : 1;
    return {most > usual ? most : usual, slots, taps, sums};
}
