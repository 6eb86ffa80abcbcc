// Adding up listed rows of bytes in 16 bits, two rows at a time.
#pragma once

// What the lowest six bits of an entry's code multiply by: see lists.h.
static const uint8_t bytes_by_count[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                           11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                           22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
static const uint8_t bytes_by_bit[64] = {1, 2, 4, 8, 16, 32, 64, 128};

template <bool UNIT>
static AT_ONCE const int8_t* row_at(const char* rows, uint32_t entry) {
    const char* row = rows + (UNIT ? entry : entry & ~63u);
    __asm__("" : "+r"(row));  // one register: with two, each load would take two instructions
    return (const int8_t*)row;
}

// Sums to 16 * N outputs: the last rows in 16 bits, all before them in 32.
template <int N>
struct Sums<Wholes, N> {
    I wide[N];
    H narrow;
    int32_t room, limit;  // rows that still fit 16 bits, and how many do at most; even numbers
    const int32_t* shifts;

    I* total() { return wide; }

    AT_ONCE void start() {}

    AT_ONCE void start_term(const Gathered* term) {
        narrow = no_sums();
        room = limit = term->limit;
        shifts = term->shifts;
    }

    AT_ONCE void finish_term() { add_widened<N>(wide, &narrow, shifts); }

    AT_ONCE void finish() {}

    template <bool UNIT>
    AT_ONCE void gather(const char* rows, const void* scales, const uint32_t* entry, const uint32_t* last) {
        while (__builtin_expect(last - entry > room, 0)) {
            add_rows<UNIT>(rows, (const uint8_t*)scales, entry, entry + room);
            entry += room;
            finish_term();
            narrow = no_sums();
            room = limit;
        }
        add_rows<UNIT>(rows, (const uint8_t*)scales, entry, last);
        room -= (int32_t)(last - entry + 1) & ~1;
    }

    template <bool UNIT>
    AT_ONCE void add_rows(const char* rows, const uint8_t* scales, const uint32_t* entry,
                  const uint32_t* last) {
        for (; entry + 2 <= last; entry += 2) {
            const int8_t *x = row_at<UNIT>(rows, entry[0]), *y = row_at<UNIT>(rows, entry[1]);
            if (UNIT)
                add_pair(&narrow, x, y);
            else
                add_pair_scaled(&narrow, x, y, scales[entry[0] & 63u], scales[entry[1] & 63u]);
        }
        // The odd row, if there is one: no branch, because half of the time it would be foreseen
        // wrongly.
        const uint32_t there = entry < last, odd = *entry & -there;
        const int8_t* x = row_at<UNIT>(rows, odd);
        add_pair_scaled(&narrow, x, x, UNIT ? there : there * scales[odd & 63u], 0);
    }
};
