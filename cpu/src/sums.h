// Spike counts of every position: sums of n or of |n| over timesteps.
#pragma once

// Adds the spikes of 64 channels at one timestep.
static inline void count_step(const sp_stream* s, const uint64_t* words, int word, bool with_sign,
                              I* sums) {
    const bool signs = with_sign && s->has_sign;
    const uint64_t minus = signs ? words[(size_t)s->magnitudes * s->words + word] : 0;
    for (int j = 0; j < s->magnitudes; ++j) {
        uint64_t bits = words[(size_t)j * s->words + word], down = bits & minus;
        if (!bits) continue;
        for (int i = 0; i < 4; ++i)
            sums[i] = add_ints_where((M)((bits ^ down) >> 16 * i), sums[i], all_ints(1 << j));
        if (down)
            for (int i = 0; i < 4; ++i)
                sums[i] = add_ints_where((M)(down >> 16 * i), sums[i], all_ints(-(1 << j)));
    }
}

// |n| at one position of all images and channels.
static int64_t sum_pixel(const sp_sums* S, size_t pixel) {
    const sp_stream* s = &S->source;
    const size_t step = (size_t)(s->magnitudes + (s->has_sign != 0)) * s->words;
    int64_t sum = 0;
    for (int b = 0; b < S->batch; ++b) {
        const uint64_t* words =
            s->bits + ((size_t)b * s->height * s->width + pixel) * s->timesteps * step;
        for (int t = S->begin; t < S->end; ++t)
            for (int j = 0; j < s->magnitudes; ++j)
                for (int w = 0; w < s->words; ++w)
                    sum += (int64_t)__builtin_popcountll(words[t * step + j * s->words + w]) << j;
    }
    return sum;
}

// 64 channels at one position of images [first, last).
static void sum_word(const sp_sums* S, size_t pixel, int word, int first, int last, int32_t* out) {
    const sp_stream* s = &S->source;
    const size_t step = (size_t)(s->magnitudes + (s->has_sign != 0)) * s->words;
    I sums[4];
    int32_t found[64];
    for (int i = 0; i < 4; ++i) sums[i] = all_ints(0);
    for (int b = first; b < last; ++b) {
        const uint64_t* words =
            s->bits + ((size_t)b * s->height * s->width + pixel) * s->timesteps * step;
        for (int t = S->begin; t < S->end; ++t)
            count_step(s, words + t * step, word, S->what == SP_SIGNED, sums);
    }
    for (int i = 0; i < 4; ++i) store_ints(found + 16 * i, sums[i]);
    for (int c = 0; c < 64 && c < s->channels - 64 * word; ++c) out[c] = found[c];
}

// One row of an image, or of all images together.
static void run_sum_row(const sp_sums* S, int image, int y) {
    const sp_stream* s = &S->source;
    const bool each = S->what == SP_SIGNED;
    for (int x = 0; x < s->width; ++x) {
        const size_t pixel = (size_t)y * s->width + x;
        if (S->what == SP_PIXELS) {
            ((int64_t*)S->sums)[pixel] = sum_pixel(S, pixel);
            continue;
        }
        const size_t place = (size_t)image * s->height * s->width + pixel;
        for (int word = 0; word < s->words; ++word)
            sum_word(S, pixel, word, each ? image : 0, each ? image + 1 : S->batch,
                     (int32_t*)S->sums + place * s->channels + 64 * word);
    }
}
