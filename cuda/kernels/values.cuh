// Floating types in memory: arithmetic is always in float.
typedef struct { unsigned short bits; } half_t;
typedef struct { unsigned short bits; } bfloat_t;

#ifdef __CUDACC__  // the host build brings these two
DEVICE float half_bits_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
DEVICE unsigned short float_to_half_bits(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#endif

DEVICE float as_float(float x) { return x; }
DEVICE float as_float(half_t x) { return half_bits_to_float(x.bits); }
DEVICE float as_float(bfloat_t x) { return __uint_as_float((u32)x.bits << 16); }

// The bits of a finite number, rounded to nearest even where the type is shorter.
DEVICE u32 bits_as(float x, const float *) { return __float_as_uint(x); }
DEVICE u32 bits_as(float x, const half_t *) { return float_to_half_bits(x); }
DEVICE u32 bits_as(float x, const bfloat_t *) {
    u32 bits = __float_as_uint(x);
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
DEVICE u32 bits_as(float x, const i8 *) { return (u32)(int)x & 0xffu; }

// The same number as one of the type would be read.
DEVICE float rounded_to(float x, const float *) { return x; }
DEVICE float rounded_to(float x, const half_t *type) {
    return half_bits_to_float((unsigned short)bits_as(x, type));
}
DEVICE float rounded_to(float x, const bfloat_t *type) {
    return __uint_as_float(bits_as(x, type) << 16);
}
