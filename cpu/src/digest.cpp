// A number that tells whether memory has changed: Python's checksums take several times as long.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine.h"

namespace {

enum { LANES = 8 };
const uint64_t FACTOR = 0x9E3779B97F4A7C15ull;  // odd

// One word into each lane, by steps that can be undone.
void take(uint64_t* lane, const char* from) {
    uint64_t words[LANES];
    std::memcpy(words, from, sizeof(words));
    for (int i = 0; i < LANES; ++i) {
        lane[i] = (lane[i] ^ words[i]) * FACTOR;
        lane[i] ^= lane[i] >> 32;
    }
}

}  // namespace

extern "C" {

// A change of one word, or of the order of words, is always seen, others but for one in 2^64.
uint64_t sp_digest(const void* memory, int64_t bytes) {
    const char *at = (const char*)memory, *const end = at + bytes;
    uint64_t lane[LANES], sum = (uint64_t)bytes;
    for (int i = 0; i < LANES; ++i) lane[i] = FACTOR * (uint64_t)(2 * i + 1);
    for (; end - at >= (ptrdiff_t)sizeof(lane); at += sizeof(lane)) take(lane, at);
    if (at < end) {
        char rest[sizeof(lane)] = {0};
        std::memcpy(rest, at, (size_t)(end - at));
        take(lane, rest);
    }
    for (int i = 0; i < LANES; ++i) {
        sum = (sum ^ lane[i]) * FACTOR;
        sum ^= sum >> 29;
    }
    return sum;
}
}
