// Chooses the instruction set, cuts the work into items, owns the scratch memory.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stddef.h>
#include <string>
#include <system_error>

#include "engine.h"
#include "kernels.h"
#include "threads.h"

namespace {

struct Path {
    const char* name;
    bool usable;
    const Kernels* kernels;
};

const Path* paths() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    static const Path found[] = {
        {"avx512",
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vbmi2"),
         &kernels_avx512},
        {"avx2",
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi"),
         &kernels_avx2},
        {"portable", true, &kernels_portable},
        {nullptr, false, nullptr}};
#else
    static const Path found[] = {{"portable", true, &kernels_portable}, {nullptr, false, nullptr}};
#endif
    return found;
}

const Kernels* kernels_for(const char* name) {
    for (const Path* path = paths(); path->name; ++path)
        if (path->usable && (!name || !*name || !std::strcmp(name, path->name)))
            return path->kernels;
    return nullptr;
}

template <class T>
using Buffer = std::unique_ptr<T[]>;

struct Scratch {
    Buffer<uint32_t> entries, starts, ends;
    Buffer<const uint64_t*> taps;
    Buffer<float> sums;  // of int32 in an integer layer, as large
    Buffer<int32_t> places, counts, bounds;
    Buffer<Seen> seen;
    Buffer<Gathered> gathered;
    int64_t serial = 0;
    int32_t fractions = 0;

    Scratch(const ScratchSizes& size, int terms)
        : entries(new uint32_t[size.entries]),
          starts(new uint32_t[size.lists]),
          ends(new uint32_t[size.lists]),
          taps(new const uint64_t*[size.taps]),
          sums(new float[size.sums]),
          places(new int32_t[size.places]),
          counts(new int32_t[terms + 1]),
          bounds(new int32_t[size.bounds]),
          seen(new Seen[size.seen]),
          gathered(new Gathered[terms + 1]),
          capacity(size.entries) {
        for (size_t i = 0; i < size.seen; ++i) seen[i] = {-1, 0};
    }

    Lists lists() {
        return {entries.get(), starts.get(), ends.get(), capacity, taps.get(),     sums.get(),
                places.get(),  counts.get(), seen.get(), &serial,  gathered.get(),
                bounds.get(),  &fractions};
    }

  private:
    size_t capacity;
};

void clear_output(const sp_layer* L, int64_t from, int64_t to, int first_word, int last_word) {
    const int words = (L->channels + 63) / 64, planes = L->out_magnitudes + (L->out_has_sign != 0);
    for (int64_t position = from; position < to; ++position)
        for (int row = L->begin * planes; row < L->end * planes; ++row)
            std::memset(L->out + (position * L->timesteps * planes + row) * words + first_word, 0,
                        sizeof(uint64_t) * (last_word - first_word));
}

// Blocks of one item. With few positions (linear layers) the blocks are spread over the threads,
// if no two of them share a word of the output.
int blocks_per_item(const sp_layer* L, int64_t tiles, int threads) {
    for (int k = 0; k < L->n_blocks; ++k)
        if (L->blocks[k].first % 64) return L->n_blocks;
    const int64_t wanted = threads > 1 ? 4 * threads : 1;
    const int64_t parts = tiles >= wanted ? 1 : (wanted + tiles - 1) / tiles;
    return (int)((L->n_blocks + parts - 1) / parts);
}

}  // namespace

extern "C" {

const char* sp_version(void) { return "1"; }

const char* sp_paths(void) {
    static const std::string names = [] {
        std::string text;
        for (const Path* path = paths(); path->name; ++path)
            if (path->usable) text += (text.empty() ? "" : " ") + std::string(path->name);
        return text;
    }();
    return names.c_str();
}

int sp_run_layer(const sp_layer* L, const char* path, int threads) {
    const Kernels* kernels = kernels_for(path);
    if (!kernels) return SP_NO_SUCH_PATH;
    const int64_t positions = (int64_t)L->batch * L->height * L->width;
    const int64_t tiles = (positions + L->tile - 1) / L->tile;
    const int span = blocks_per_item(L, tiles, threads);
    const int parts = (L->n_blocks + span - 1) / span;
    bool fractions = false;
    const int status = guarded([&] {
        const ScratchSizes size = kernels->scratch_sizes(L);
        std::vector<std::unique_ptr<Scratch>> scratch;
        for (int i = 0; i < threads; ++i) scratch.push_back(std::make_unique<Scratch>(size, L->n_terms));
        for_each_item(tiles * parts, threads, [&](int thread, int64_t item) {
            const int64_t from = item / parts * L->tile;
            const int64_t to = from + L->tile < positions ? from + L->tile : positions;
            const int first = (int)(item % parts) * span;
            const int last = first + span < L->n_blocks ? first + span : L->n_blocks;
            const bool ends = last == L->n_blocks;
            clear_output(L, from, to, L->blocks[first].first / 64,
                         ends ? (L->channels + 63) / 64 : L->blocks[last].first / 64);
            const Lists lists = scratch[thread]->lists();
            kernels->run_tile(L, &lists, from, to, first, last);
        });
        for (const auto& each : scratch) fractions = fractions || each->fractions;
    });
    return status == SP_OK && fractions ? SP_NOT_WHOLE : status;
}

int sp_run_maxpool(const sp_maxpool* P, const char* path, int threads) {
    const Kernels* kernels = kernels_for(path);
    if (!kernels) return SP_NO_SUCH_PATH;
    return guarded([&] {
        const size_t size = 64 * (size_t)(P->source.timesteps + 1);
        Buffer<int32_t> sums(new int32_t[size * threads]);
        auto run = [&](int first, int rows) {
            for_each_item((int64_t)P->batch * rows, threads, [&](int thread, int64_t item) {
                kernels->run_pool_row(P, (int)(item / rows), first + (int)(item % rows),
                                      sums.get() + size * thread);
            });
        };
        run(0, P->out_height);
        run(P->out_height, P->source.height);
    });
}

int sp_run_sums(const sp_sums* S, const char* path, int threads) {
    const Kernels* kernels = kernels_for(path);
    if (!kernels) return SP_NO_SUCH_PATH;
    const int height = S->source.height, images = S->what == SP_SIGNED ? S->batch : 1;
    return guarded([&] {
        for_each_item((int64_t)images * height, threads, [&](int, int64_t item) {
            kernels->run_sum_row(S, (int)(item / height), (int)(item % height));
        });
    });
}

double sp_peak_adds(const char* path) {
    const Kernels* kernels = kernels_for(path);
    return kernels ? kernels->peak_adds() : 0.0;
}

double sp_peak_short_adds(const char* path) {
    const Kernels* kernels = kernels_for(path);
    return kernels ? kernels->peak_short_adds() : 0.0;
}
}
