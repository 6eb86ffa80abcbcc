// The two kinds of numbers that a layer computes in: floats, sixteen to an F, and whole numbers of 32
// bits, sixteen to an I.
#pragma once

#define UNROLLED _Pragma("GCC unroll 4")

static inline I load(const int32_t* p) { return load_ints(p); }
static inline void store(int32_t* p, I a) { store_ints(p, a); }
static inline I add(I a, I b) { return add_ints(a, b); }

struct Firing;       // neuron.h
struct WholeFiring;  // whole_neuron.h

struct Floats {
    typedef F Vector;
    typedef float Number;
    typedef Firing Neurons;
    static F zero() { return all(0.0f); }
};

struct Wholes {
    typedef I Vector;
    typedef int32_t Number;
    typedef WholeFiring Neurons;
    static I zero() { return all_ints(0); }
};

// Adds sums of 16 bits, times powers of two if there are any.
template <int N>
static AT_ONCE void add_widened(I* to, const H* from, const int32_t* shifts) {
    if (shifts)
        UNROLLED for (int i = 0; i < N; ++i)
            to[i] = add(to[i], shifted(widened(from, i), load(shifts + 16 * i)));
    else
        UNROLLED for (int i = 0; i < N; ++i) to[i] = add(to[i], widened(from, i));
}

static inline M negative(F a) { return less(a, all(0.0f)); }
static inline I absolute(I a) { return abs_ints(a); }
static inline M bit_of(I a, int j) { return has_bit(a, j); }
