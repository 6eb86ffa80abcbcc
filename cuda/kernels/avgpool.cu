// Average pool of packed spikes: counts are added as integers, then scaled once.
#include "prelude.cuh"
#include "values.cuh"
#define SP_VECTOR 1
#include "vectors.cuh"
#include "packing.cuh"
#include "quotient.cuh"

typedef struct {
    int from, to;  // [from, to) inside the map
    int padded;    // length with the padding that counts
} Span;

// The window of an output position along one side of the map.
DEVICE Span span_of(int position, int size, int kernel, int stride, int padding) {
    int from = position * stride - padding, to = min(from + kernel, size + padding);
    Span span = {max(from, 0), min(to, size), to - from};
    return span;
}

extern "C" __global__ void __launch_bounds__(128, 1) avgpool(
    const u32 *__restrict__ packed,   // in [T, D]: D is planes * words
    const float *__restrict__ value,  // in [C]: of a spike
    out_t *__restrict__ out,          // out [T, B, M]
    int T,                            // timesteps, shared out among the layers of the grid
    int B,                            // images, shared out among the rows of the grid
    int M,                            // outputs of an image: C * rows * columns
    i64 D,                            // words of a timestep
    int C,                            // channels
    int height,                       // of the input maps
    int width,                        // of the input maps
    int rows,                         // of the output maps
    int columns,                      // of the output maps
    int kernel_rows,                  // of the window
    int kernel_columns,               // of the window
    int stride_rows,                  // between windows
    int stride_columns,               // between windows
    int padding_rows,                 // zeros above and below
    int padding_columns,              // zeros left and right
    int include_padding,              // these zeros count in the mean
    int channels_last,                // memory is [B, H, W, C], not [B, C, H, W]
    int planes,                       // of the packed spikes
    int negative                      // the last plane is the sign
) {
    const i64 image = (i64)C * height * width, words = words_of(B * image);
    const i64 channel_step = channels_last ? 1 : (i64)height * width;
    const i64 pixel_step = channels_last ? C : 1;
    for (i64 item = first_item(); item < M; item += item_stride()) {
        const u32 place = (u32)item, pixels = (u32)(rows * columns);
        const int channel = (int)(channels_last ? place % (u32)C : place / pixels);
        const u32 pixel = channels_last ? place / (u32)C : place % pixels;
        Span y = span_of((int)(pixel / (u32)columns), height, kernel_rows, stride_rows, padding_rows);
        Span x = span_of((int)(pixel % (u32)columns), width, kernel_columns, stride_columns,
                         padding_columns);
        int area = include_padding ? y.padded * x.padded : (y.to - y.from) * (x.to - x.from);
        const float inverse = 1.0f / (float)area;
        for (int t = blockIdx.z; t < T; t += gridDim.z)
            for (int b = blockIdx.y; b < B; b += gridDim.y) {
                i64 first = b * image + channel * channel_step;
                int sum = 0;
                for (int i = y.from; i < y.to; ++i)
                    for (int j = x.from; j < x.to; ++j) {
                        i64 neuron = first + ((i64)i * width + j) * pixel_step;
                        int n;
                        unpacked(packed + t * D, words, planes, negative, neuron, 1, &n);
                        sum += n;
                    }
                float mean = quotient((float)sum * value[channel], (float)area, inverse);
                store(out + ((i64)t * B + b) * M, item, &mean);
            }
    }
}
