// What the roofline is measured against: adds of vectors from the L1 cache.
#pragma once
#include <time.h>

static double seconds() {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double peak_adds() {
    alignas(64) static float values[2048];  // 8 KiB
    const int repeats = 20000;
    double best = 1e30;
    for (int trial = 0; trial < 5; ++trial) {
        F acc[8];
        for (int i = 0; i < 8; ++i) acc[i] = all(0.0f);
        double start = seconds();
        for (int r = 0; r < repeats; ++r) {
            for (int at = 0; at < 2048; at += 128)
                for (int i = 0; i < 8; ++i) acc[i] = add(acc[i], load(values + at + 16 * i));
            __asm__ volatile("" ::: "memory");  // the values may have changed: load them again
        }
        double taken = seconds() - start;
        for (int i = 1; i < 8; ++i) acc[0] = add(acc[0], acc[i]);
        store(values, mul(acc[0], all(0.0f)));
        best = taken < best ? taken : best;
    }
    return 2048.0 * repeats / best;
}

// Sums of 16 bits in registers, from which rows of bytes are never further away than the L1 cache.
static double peak_short_adds() {
    const int repeats = 200000;
    double best = 1e30;
    int32_t unused = 0;
    for (int trial = 0; trial < 5; ++trial) {
        H acc[SHORT_SUMS], step = no_sums();
        for (int i = 0; i < SHORT_SUMS; ++i) {
            acc[i] = no_sums();
            keep_in_register(acc + i);  // what is in it is not known: no two are alike
        }
        double start = seconds();
        for (int r = 0; r < repeats; ++r) {
            keep_in_register(&step);
            for (int i = 0; i < SHORT_SUMS; ++i) acc[i] = add_sums(acc[i], step);
        }
        double taken = seconds() - start;
        I sums[4] = {all_ints(0), all_ints(0), all_ints(0), all_ints(0)};
        for (int i = 0; i < SHORT_SUMS; ++i) add_widened<4>(sums, acc + i, nullptr);  // or they are not made
        for (int i = 0; i < 4; ++i) {
            int32_t found[16];
            store_ints(found, sums[i]);
            unused |= found[0];
        }
        best = taken < best ? taken : best;
    }
    return unused ? 0.0 : SHORT_SUMS * 64.0 * repeats / best;
}
