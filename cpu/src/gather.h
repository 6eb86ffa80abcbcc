// Adding up listed weight rows in registers.
#pragma once

template <int N, bool UNIT>
static inline void add_row(F* acc, const char* rows, const float* scales, uint32_t entry) {
    const float* row = (const float*)(rows + (UNIT ? entry : entry & ~63u));
    __asm__("" : "+r"(row));  // one register: with two, each add would take two instructions
    const F scale = all(UNIT ? 1.0f : scales[entry & 63u]);
    for (int i = 0; i < N; ++i) {
        F weight = load(row + 16 * i);
        acc[i] = UNIT ? add(acc[i], weight) : add_scaled(acc[i], weight, scale);
    }
}

template <class K, int N>
struct Sums;

// Sums to 16 * N outputs, in CHAINS parts that do not wait for each other.
template <int N>
struct Sums<Floats, N> {
    F part[CHAINS][N];

    F* total() { return part[0]; }

    void start_term(const Gathered*) {}
    void finish_term() {}

    void start() {
        for (int k = 1; k < CHAINS; ++k)
            for (int i = 0; i < N; ++i) part[k][i] = all(0.0f);
    }

    template <bool UNIT>
    void gather(const char* rows, const void* table, const uint32_t* entry, const uint32_t* last) {
        const float* scales = (const float*)table;
        for (; entry + CHAINS <= last; entry += CHAINS)
            for (int k = 0; k < CHAINS; ++k) add_row<N, UNIT>(part[k], rows, scales, entry[k]);
        add_rest<UNIT>(rows, scales, *entry, entry < last);
    }

    // The odd row, if there is one: no branch, because half of the time it would be foreseen wrongly.
    template <bool UNIT>
    void add_rest(const char* rows, const float* scales, uint32_t entry, bool there) {
        entry &= -(uint32_t)there;
        const float* row = (const float*)(rows + (UNIT ? entry : entry & ~63u));
        const F scale = all(UNIT ? 1.0f : scales[entry & 63u]);
        const M mask = (M)-there;
        for (int i = 0; i < N; ++i) {
            F weight = load(row + 16 * i);
            part[0][i] = UNIT ? add_where(mask, part[0][i], weight)
                              : add_scaled_where(mask, part[0][i], weight, scale);
        }
    }

    void finish() {
        for (int k = 1; k < CHAINS; ++k)
            for (int i = 0; i < N; ++i) part[0][i] = add(part[0][i], part[k][i]);
    }
};
static_assert(CHAINS == 2, "add_rest adds one row at most");
