// Packed streams from and to float tensors, and how many spikes they hold.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <system_error>

#include "engine.h"
#include "threads.h"

namespace {

int planes_of(const sp_stream* s) { return s->magnitudes + (s->has_sign != 0); }

// The words of a pixel (images, rows and columns counted through) at a timestep.
size_t at(const sp_stream* s, int64_t pixel, int t) {
    return ((size_t)pixel * s->timesteps + t) * planes_of(s) * s->words;
}

void unpack_pixel(const sp_stream* s, const uint64_t* words, const float* value, float* to) {
    std::memset(to, 0, sizeof(float) * s->channels);
    const uint64_t* sign = s->has_sign ? words + (size_t)s->magnitudes * s->words : nullptr;
    for (int w = 0; w < s->words; ++w) {
        uint64_t any = 0;
        for (int j = 0; j < s->magnitudes; ++j) any |= words[(size_t)j * s->words + w];
        for (; any; any &= any - 1) {
            const int bit = __builtin_ctzll(any), c = 64 * w + bit;
            int n = 0;
            for (int j = 0; j < s->magnitudes; ++j)
                n += (int)(words[(size_t)j * s->words + w] >> bit & 1) << j;
            if (sign && sign[w] >> bit & 1) n = -n;
            to[c] = (float)n * value[c];
        }
    }
}

void pack_pixel(const sp_stream* s, const float* from, const float* value, uint64_t* words) {
    std::memset(words, 0, sizeof(uint64_t) * planes_of(s) * s->words);
    for (int c = 0; c < s->channels; ++c) {
        const long n = std::lrint(from[c] / value[c]);
        const unsigned long size = (unsigned long)(n < 0 ? -n : n);
        for (int j = 0; j < s->magnitudes; ++j)
            words[(size_t)j * s->words + c / 64] |= (uint64_t)(size >> j & 1) << c % 64;
        if (s->has_sign && n < 0)
            words[(size_t)s->magnitudes * s->words + c / 64] |= 1ull << c % 64;
    }
}

}  // namespace

extern "C" {

int sp_unpack(const sp_stream* s, int batch, int begin, int end, const float* value, float* values,
              int threads) {
    const int64_t image = (int64_t)s->height * s->width;
    return guarded([&] { for_each_item((int64_t)batch * s->height, threads, [&](int, int64_t item) {
        const int64_t b = item / s->height, row = item % s->height * s->width;
        for (int t = begin; t < end; ++t)
            for (int64_t x = row; x < row + s->width; ++x)
                unpack_pixel(s, s->bits + at(s, b * image + x, t), value,
                             values + (((int64_t)(t - begin) * batch + b) * image + x) * s->channels);
    }); });
}

int sp_pack(const float* values, int batch, const float* value, const sp_stream* s, uint64_t* out,
            int threads) {
    const int64_t image = (int64_t)s->height * s->width;
    return guarded([&] { for_each_item((int64_t)batch * s->height, threads, [&](int, int64_t item) {
        const int64_t b = item / s->height, row = item % s->height * s->width;
        for (int t = 0; t < s->timesteps; ++t)
            for (int64_t x = row; x < row + s->width; ++x)
                pack_pixel(s, values + (((int64_t)t * batch + b) * image + x) * s->channels, value,
                           out + at(s, b * image + x, t));
    }); });
}

int sp_count(const sp_stream* s, int batch, int64_t* counts, int threads) {
    const int64_t pixels = (int64_t)batch * s->height * s->width;
    std::memset(counts, 0, sizeof(int64_t) * 2 * s->timesteps);
    return guarded([&] { for_each_item(s->timesteps, threads, [&](int, int64_t t) {
        int64_t size = 0, active = 0;
        for (int64_t pixel = 0; pixel < pixels; ++pixel)
            for (int w = 0; w < s->words; ++w) {
                uint64_t any = 0;
                for (int j = 0; j < s->magnitudes; ++j) {
                    const uint64_t bits = s->bits[at(s, pixel, (int)t) + (size_t)j * s->words + w];
                    size += (int64_t)__builtin_popcountll(bits) << j;
                    any |= bits;
                }
                active += __builtin_popcountll(any);
            }
        counts[2 * t] = size;
        counts[2 * t + 1] = active;
    }); });
}
}
