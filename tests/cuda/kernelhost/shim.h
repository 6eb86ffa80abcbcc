// What CUDA C has and C++ lacks, for building a kernel's own source text with a host compiler.
// The threads of a block are fibers of one system thread; see runtime.cpp.
// No header either: they take longer to compile than the kernel.
typedef __SIZE_TYPE__ size_t;
inline float fabsf(float x) { return __builtin_fabsf(x); }
inline float floorf(float x) { return __builtin_floorf(x); }
inline float truncf(float x) { return __builtin_truncf(x); }
inline float ceilf(float x) { return __builtin_ceilf(x); }
inline float rintf(float x) { return __builtin_rintf(x); }
inline double floor(double x) { return __builtin_floor(x); }
inline double ceil(double x) { return __builtin_ceil(x); }
inline double rint(double x) { return __builtin_rint(x); }
inline float fminf(float x, float y) { return __builtin_fminf(x, y); }
inline float fmaxf(float x, float y) { return __builtin_fmaxf(x, y); }
inline float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline void copy_bits(void *to, const void *from) { __builtin_memcpy(to, from, 4); }

#define __global__
#define __device__
#define __forceinline__ static inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __restrict__ __restrict
// of the block that runs; runtime.cpp fills the section with rubbish before each block
#define __shared__ static __attribute__((section("kernel_shared")))

struct Index {
    unsigned x, y, z;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;

extern "C" {
void host_barrier();
// The values of the 32 lanes; every lane named by the mask has to come, with the same kind.
const unsigned *host_exchange(int kind, unsigned mask, unsigned value);
}

enum { BALLOT = 1, ALL, SHUFFLE };

inline void __syncthreads() { host_barrier(); }
inline unsigned lane_of_thread() { return threadIdx.x % 32; }
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const unsigned *values = host_exchange(BALLOT, mask, predicate != 0);
    unsigned word = 0;
    for (int i = 0; i < 32; ++i) word |= values[i] << i;
    return word;
}
inline int __all_sync(unsigned mask, int predicate) {
    const unsigned *values = host_exchange(ALL, mask, predicate != 0);
    unsigned all = 1;
    for (int i = 0; i < 32; ++i) all &= values[i];
    return (int)all;
}
template <typename T> T shuffled(unsigned mask, T value, unsigned from) {
    static_assert(sizeof(T) == 4, "32-bit shuffles only");
    unsigned bits;
    copy_bits(&bits, &value);
    const unsigned *values = host_exchange(SHUFFLE, mask, bits);
    copy_bits(&value, &values[from < 32 ? from : lane_of_thread()]);
    return value;
}
template <typename T> T __shfl_sync(unsigned mask, T value, int from) {
    return shuffled(mask, value, (unsigned)from % 32);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int with) {
    return shuffled(mask, value, lane_of_thread() ^ (unsigned)with);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned by) {
    return shuffled(mask, value, lane_of_thread() - by);  // below lane 0: wraps, its own value
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned by) {
    return shuffled(mask, value, lane_of_thread() + by);
}
inline unsigned long long atomicAdd(unsigned long long *to, unsigned long long amount) {
    unsigned long long before = *to;
    *to += amount;
    return before;
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    copy_bits(&bits, &x);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    copy_bits(&x, &bits);
    return x;
}

inline float half_bits_to_float(unsigned short half) {
    unsigned sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    float size = exponent == 0 ? __builtin_ldexpf((float)fraction, -24)
                               : __builtin_ldexpf((float)(fraction + 1024), (int)exponent - 25);
    if (exponent == 31) size = fraction ? __builtin_nanf("") : __builtin_inff();
    return __uint_as_float(sign | __float_as_uint(size));
}
inline unsigned short float_to_half_bits(float x) {  // to nearest even
    unsigned sign = __float_as_uint(x) >> 16 & 0x8000u;
    float size = fabsf(x);
    if (size != size) return (unsigned short)(sign | 0x7e00u);
    if (size >= 65520.0f) return (unsigned short)(sign | 0x7c00u);
    int exponent = size < 0x1p-14f ? -14 : __builtin_ilogbf(size);
    unsigned units = (unsigned)__builtin_nearbyintf(__builtin_ldexpf(size, 10 - exponent));  // of 2^(exponent - 10)
    return (unsigned short)(sign | (units + ((unsigned)(exponent + 14) << 10)));
}

// A pointer to its kernel is all that a launch needs: the parameter types come from it.
template <size_t... I> struct Places {};
template <typename... A, size_t... I>
void call(void (*kernel)(A...), void **arguments, Places<I...>) {
    kernel(*(A *)arguments[I]...);
}
template <typename... A> void call_with(void (*kernel)(A...), void **arguments) {
    call(kernel, arguments, Places<__integer_pack(sizeof...(A))...>{});
}
template <typename... A> const char *types_of(void (*)(A...)) {
    return __PRETTY_FUNCTION__;
}
extern "C" __attribute__((weak, visibility("hidden"))) char __start_kernel_shared[],
    __stop_kernel_shared[];
#define HOST_KERNEL(kernel)                                                        \
    extern "C" void host_call(void **arguments) { call_with(kernel, arguments); } \
    extern "C" const char *host_types() { return types_of(kernel); }              \
    extern "C" char *host_shared() { return __start_kernel_shared; }              \
    extern "C" size_t host_shared_size() {                                        \
        return (size_t)(__stop_kernel_shared - __start_kernel_shared);            \
    }
