// Names that every kernel shares. No system header: NVRTC has none. The loader pastes each header
// once, so none has a guard.
typedef unsigned int u32;
typedef signed char i8;
typedef long long i64;
typedef unsigned long long u64;
static_assert(sizeof(i64) == 8 && sizeof(u32) == 4, "indices have 64 bits, packed words 32");

#define DEVICE __device__ __forceinline__
#define ALL_LANES 0xffffffffu
#define WARP 32

// First item of a thread, and how far it is to its next one: a grid of any size covers all items.
DEVICE i64 first_item() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE i64 item_stride() { return (i64)gridDim.x * blockDim.x; }
