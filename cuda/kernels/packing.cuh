// Spikes as bits. A row of N neurons is `planes` rows of ceil(N / 32) words; neuron n is bit n % 32
// of word n / 32, and plane p holds bit p of its spike count: two's complement where a count may be
// negative, so that a silent neuron is 0 in every plane.

DEVICE i64 words_of(i64 neurons) { return (neurons + 31) >> 5; }

// The word that the threads of a warp make together, from SP_VECTOR bits of each. Every lane calls
// it; a lane past the end brings 0.
DEVICE u32 gather_word(u32 bits, int lane) {
#if SP_VECTOR == 1
    (void)lane;
    return __ballot_sync(ALL_LANES, bits);
#else
    const int lanes = WARP / SP_VECTOR;  // that share a word
    u32 word = bits << lane % lanes * SP_VECTOR;
#pragma unroll
    for (int apart = 1; apart < lanes; apart *= 2) word |= __shfl_xor_sync(ALL_LANES, word, apart);
    return word;
#endif
}

#ifdef SP_PLANES
// Pack the counts of SP_VECTOR neurons of every lane: row is [SP_PLANES, words_of(N)].
DEVICE void pack(u32 *row, i64 words, i64 group, int lane, bool active, const int *n) {
#pragma unroll
    for (int p = 0; p < SP_PLANES; ++p) {
        u32 bits = 0;
#pragma unroll
        for (int i = 0; i < SP_VECTOR; ++i) bits |= ((u32)n[i] >> p & 1u) << i;
        u32 word = gather_word(active ? bits : 0, lane);
        if (active && lane % (WARP / SP_VECTOR) == 0)
            row[p * words + (group * SP_VECTOR >> 5)] = word;
    }
}
#endif

// The spike counts of `many` neighbours within one word, the first of them `neuron`.
DEVICE void unpacked(const u32 *row, i64 words, int planes, int negative, i64 neuron, int many,
                     int *n) {
    for (int i = 0; i < many; ++i) n[i] = 0;
#pragma unroll 1
    for (int p = 0; p < planes; ++p) {
        u32 bits = row[p * words + (neuron >> 5)] >> (int)(neuron & 31);
        int weight = negative && p == planes - 1 ? -(1 << p) : 1 << p;
        for (int i = 0; i < many; ++i) n[i] += (int)(bits >> i & 1u) * weight;
    }
}
