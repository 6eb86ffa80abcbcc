// A thread reads and writes SP_VECTOR neighbours at once: 1, or as many as fill 16 bytes of input.
// Then rows are multiples of SP_VECTOR and arrays are aligned to 16 bytes; the launcher sees to it.
typedef SP_IN in_t;    // what is read: float, half_t or bfloat_t
typedef SP_OUT out_t;  // what is written: these, i8 or (packed bits) u32

#if SP_VECTOR == 1
typedef in_t Loaded;
DEVICE Loaded load(const in_t *from, i64 group) { return from[group]; }
DEVICE float element(Loaded x, int) { return as_float(x); }
#else
static_assert(SP_VECTOR * sizeof(in_t) == 16, "one load has 128 bits");
typedef struct __align__(16) { u32 word[4]; } Loaded;
DEVICE Loaded load(const in_t *from, i64 group) { return ((const Loaded *)from)[group]; }
DEVICE unsigned short half_word(Loaded x, int i) {
    return (unsigned short)(x.word[i / 2] >> 16 * (i % 2));
}
DEVICE float part(Loaded x, int i, const float *) { return __uint_as_float(x.word[i]); }
DEVICE float part(Loaded x, int i, const half_t *) { return half_bits_to_float(half_word(x, i)); }
DEVICE float part(Loaded x, int i, const bfloat_t *) {
    return __uint_as_float((u32)half_word(x, i) << 16);
}
DEVICE float element(Loaded x, int i) { return part(x, i, (const in_t *)0); }
#endif

#if SP_VECTOR == 1
DEVICE void put(float *to, float x) { *to = x; }
DEVICE void put(half_t *to, float x) { to->bits = (unsigned short)bits_as(x, to); }
DEVICE void put(bfloat_t *to, float x) { to->bits = (unsigned short)bits_as(x, to); }
DEVICE void put(i8 *to, float x) { *to = (i8)x; }
template <typename Value> DEVICE void store(Value *to, i64 group, const float *x) {
    put(to + group, x[0]);
}
#else
template <int bytes> struct __align__(bytes < 16 ? bytes : 16) Stored { u32 word[bytes / 4]; };
template <typename Value> DEVICE void store(Value *to, i64 group, const float *x) {
    typedef Stored<SP_VECTOR * (int)sizeof(Value)> All;
    All all = {};
#pragma unroll
    for (int i = 0; i < SP_VECTOR; ++i) {
        int byte = i * (int)sizeof(Value);
        all.word[byte / 4] |= bits_as(x[i], to) << 8 * (byte % 4);
    }
    ((All *)to)[group] = all;
}
#endif
