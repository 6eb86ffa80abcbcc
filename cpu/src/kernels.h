// What each instruction set's file offers to api.cpp.
#pragma once

typedef struct {
    size_t entries, lists, taps, sums, places, seen, bounds;  // of Lists
} ScratchSizes;

// A gathered term as one block sees it: its weights, and the first of its lists.
typedef struct {
    const char* rows;
    const void* scales;
    const int32_t* shifts;  // of the block; see sp_term
    int32_t slot, limit;
    int64_t unit;
} Gathered;

typedef struct {
    int64_t row;  // of all images and tiles of this call
    int32_t pixel;
} Seen;

typedef struct {
    uint32_t *entries, *starts, *ends;
    size_t capacity;        // of entries
    const uint64_t** taps;  // source words of each kernel position
    void* sums;             // currents of a tile, see run_split: floats or int32
    int32_t *places, *counts;  // this and the rest: see pixels.h
    Seen* seen;
    int64_t* serial;  // number of the tile
    Gathered* gathered;  // the terms of the layer that are
    int32_t* bounds;     // of an integer layer's totals: see whole_neuron.h
    int32_t* fractions;  // set where a current should be a whole number and is not
} Lists;

typedef struct {
    ScratchSizes (*scratch_sizes)(const sp_layer*);
    void (*run_tile)(const sp_layer*, const Lists*, int64_t from, int64_t to, int first_block,
                     int last_block);
    void (*run_pool_row)(const sp_maxpool*, int b, int y, int32_t* sums);
    void (*run_sum_row)(const sp_sums*, int image, int y);
    double (*peak_adds)(void);
    double (*peak_short_adds)(void);
} Kernels;

extern const Kernels kernels_avx512, kernels_avx2, kernels_portable;
