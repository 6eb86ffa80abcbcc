// Max pooling of spike counts: what the largest running sum in the window grew by.
#pragma once

static inline void put_step(const sp_stream* s, uint64_t* out, int word, const I* n) {
    uint64_t minus = 0;
    for (int i = 0; i < 4; ++i) minus |= (uint64_t)negative(n[i]) << 16 * i;
    for (int j = 0; j < s->magnitudes; ++j) {
        uint64_t bits = 0;
        for (int i = 0; i < 4; ++i) bits |= (uint64_t)has_bit(abs_ints(n[i]), j) << 16 * i;
        out[(size_t)j * s->words + word] = bits;
    }
    if (s->has_sign) out[(size_t)s->magnitudes * s->words + word] = minus;
}

// One output position and word. sums: int32 [timesteps + 1][64], the running maximum.
static void pool_position(const sp_maxpool* P, int b, int y, int x, int word, int32_t* sums) {
    const sp_stream* s = &P->source;
    const int planes = s->magnitudes + (s->has_sign != 0);
    bool first = true;
    for (int ky = 0; ky < P->kernel_y; ++ky) {
        int iy = y * P->stride_y - P->pad_y + ky * P->dilation_y;
        if (iy < 0 || iy >= s->height) continue;
        for (int kx = 0; kx < P->kernel_x; ++kx) {
            int ix = x * P->stride_x - P->pad_x + kx * P->dilation_x;
            if (ix < 0 || ix >= s->width) continue;
            const size_t pixel = ((size_t)b * s->height + iy) * s->width + ix;
            const int32_t* before = P->counts + (pixel * s->words + word) * 64;
            const uint64_t* words = s->bits + pixel * s->timesteps * planes * s->words;
            I now[4];
            for (int i = 0; i < 4; ++i) now[i] = load_ints(before + 16 * i);
            for (int t = 0; t <= s->timesteps; ++t) {
                if (t) count_step(s, words + (size_t)(t - 1) * planes * s->words, word, true, now);
                for (int i = 0; i < 4; ++i) {
                    int32_t* at = sums + t * 64 + 16 * i;
                    store_ints(at, first ? now[i] : max_ints(load_ints(at), now[i]));
                }
            }
            first = false;
        }
    }
    for (int i = 0; first && i < 4 * (s->timesteps + 1); ++i)  // no pixel, no spikes
        store_ints(sums + 16 * i, all_ints(0));
    const size_t pixel = ((size_t)b * P->out_height + y) * P->out_width + x;
    for (int t = 0; t < s->timesteps; ++t) {
        I n[4];
        for (int i = 0; i < 4; ++i) {
            const int32_t* at = sums + t * 64 + 16 * i;
            n[i] = sub_ints(load_ints(at + 64), load_ints(at));
        }
        put_step(s, P->out + (pixel * s->timesteps + t) * planes * s->words, word, n);
    }
}

// y < out_height: a row of outputs; otherwise, when all of those are done, row y - out_height of
// the counts is brought to the end of the chunk.
static void run_pool_row(const sp_maxpool* P, int b, int y, int32_t* sums) {
    const sp_stream* s = &P->source;
    const int planes = s->magnitudes + (s->has_sign != 0);
    if (y < P->out_height) {
        for (int x = 0; x < P->out_width; ++x)
            for (int word = 0; word < s->words; ++word) pool_position(P, b, y, x, word, sums);
        return;
    }
    for (int x = 0; x < s->width; ++x) {
        const size_t pixel = ((size_t)b * s->height + (y - P->out_height)) * s->width + x;
        const uint64_t* words = s->bits + pixel * s->timesteps * planes * s->words;
        for (int word = 0; word < s->words; ++word) {
            int32_t* counts = P->counts + (pixel * s->words + word) * 64;
            I now[4];
            for (int i = 0; i < 4; ++i) now[i] = load_ints(counts + 16 * i);
            for (int t = 0; t < s->timesteps; ++t)
                count_step(s, words + (size_t)t * planes * s->words, word, true, now);
            for (int i = 0; i < 4; ++i) store_ints(counts + 16 * i, now[i]);
        }
    }
}
