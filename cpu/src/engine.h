// The C interface of the engine. Python fills these structs through ctypes (cpu/structs.py).
//
// A packed stream holds whole-number spikes n of C channels as bit planes, channels last:
//   uint64 [batch][height][width][timesteps][planes][words],  words = ceil(C / 64)
// Plane j < magnitudes is bit j of |n|; one more plane holds the signs (1: negative) if has_sign.
// Channel c is bit c % 64 of word c / 64; bits past C are 0.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const uint64_t* bits;
    int32_t height, width, timesteps, channels, words, magnitudes, has_sign, reserved;
} sp_stream;

// Synapses from one stream. weights: value that one spike adds, by output block (see sp_block):
//   gathered: float [block][kernel_y * kernel_x][channels / groups][row], rows of 1 << row_shift
//             bytes of which block.width floats count; 64-byte aligned. With `shared` all kernel
//             positions have the same weights and [kernel_y * kernel_x] is [1]: a pool before them
//   masked:   float [block][kernel_y * kernel_x][block.width], output channel = input channel
// In an integer layer:
//   gathered: int8, rows of 64 in the order of cpu/byte_rows.py, row_shift 6; where the source has
//             signs each row is followed by its negative, row_shift 7
//   masked:   int16 [block][kernel_y * kernel_x][64]
// Sums to output channel c then count 1 << shifts[c]; [padded], null: all once.
typedef struct {
    sp_stream source;
    const void* weights;
    int32_t masked, groups;
    int32_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
    int32_t shared, row_shift;
    int32_t limit;  // integer: rows (masked: kernel positions) whose sum fits 16 bits; gathered: even
    int32_t reserved;
    const int32_t* shifts;
} sp_term;

// Output channels first .. first + count - 1, all of one group. width: count rounded up to 16, at
// most 64; offset: sum of the widths before it; index: its number. Per-channel arrays of the layer
// are laid out by offset.
typedef struct {
    int32_t first, count, width, offset, index;
} sp_block;

// A current that is added as it is: data[b * stride_b + y * stride_y + x * stride_x
// + t * stride_t + channel]; strides in floats.
typedef struct {
    const float* data;
    int64_t stride_b, stride_y, stride_x, stride_t;
} sp_current;

// [padded]; the last three may be null. The first three are int32 in an integer layer.
typedef struct {
    const void *threshold, *v0, *bias;
    const float *lowest, *highest;
    int32_t max_up, max_down, hard_reset;
    int32_t potential_bits;  // the potential is a whole number of this width; 0: as wide as can be
    double leak;
} sp_neuron;

// One layer of neurons and everything that feeds it, over timesteps [begin, end) of a chunk; the
// currents start at `begin`.
typedef struct {
    int32_t batch, height, width, channels, timesteps, begin, end, past;  // past: before begin
    int32_t n_blocks, padded, n_terms, n_currents, fresh, tile;
    int32_t split;    // channels per portion of the weights; 0: all at once
    // 1: weights, thresholds and potentials are whole numbers, and so must all currents be; 2: the sum
    // of the currents is rounded
    int32_t integer;
    const sp_block* blocks;
    const sp_term* terms;
    const sp_current* currents;
    sp_neuron neuron;
    // [batch][height][width][padded]; total may be null; fresh: not yet written, and then v may be
    // null, if it is not wanted afterwards. int32 in an integer layer, else float.
    void *v, *total;
    uint64_t* out;     // [batch][height][width][timesteps][magnitudes + has_sign][words]
    int32_t out_magnitudes, out_has_sign;
} sp_layer;

// Max pool on running sums: emits the change of max over the window of the spike counts so far.
// counts: int32 [batch][height][width][64 * words] of the source before the chunk, then updated.
typedef struct {
    sp_stream source;
    int32_t batch, out_height, out_width;
    int32_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
    int32_t* counts;
    uint64_t* out;  // planes as in the source
} sp_maxpool;

// Spikes added up over timesteps [begin, end), by what is added:
//   SP_SIGNED   n of every image, int32 [batch][height][width][channels]
//   SP_ABSOLUTE |n| of all images together, int32 [height][width][channels]
//   SP_PIXELS   |n| of all images and channels together, int64 [height][width]
typedef struct {
    sp_stream source;
    int32_t batch, begin, end, what;
    void* sums;
} sp_sums;

#define SP_SIGNED 0
#define SP_ABSOLUTE 1
#define SP_PIXELS 2

#define SP_OK 0
#define SP_OUT_OF_MEMORY 1
#define SP_NO_SUCH_PATH 2
#define SP_NOT_WHOLE 3  // a current of an integer layer is no whole number below 2^24

#pragma GCC visibility push(default)
const char* sp_version(void);
// Instruction sets this machine can run, best first: "avx512 avx2 portable".
const char* sp_paths(void);
int sp_run_layer(const sp_layer* layer, const char* path, int threads);
int sp_run_maxpool(const sp_maxpool* pool, const char* path, int threads);
int sp_run_sums(const sp_sums* sums, const char* path, int threads);
// values [timesteps][batch][height][width][channels] = n * value[channel], timesteps [begin, end)
int sp_unpack(const sp_stream* source, int batch, int begin, int end, const float* value,
              float* values, int threads);
// the inverse, over all timesteps; n = round(values / value)
int sp_pack(const float* values, int batch, const float* value, const sp_stream* target,
            uint64_t* out, int threads);
// counts [timesteps][2]: sum of |n|, number of n that are not 0
int sp_count(const sp_stream* source, int batch, int64_t* counts, int threads);
// a hash of these bytes
uint64_t sp_digest(const void* memory, int64_t bytes);
// additions per second of L1-resident vectors, one thread
double sp_peak_adds(const char* path);
// the same of 16-bit numbers in registers
double sp_peak_short_adds(const char* path);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
