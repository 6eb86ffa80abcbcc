// Which channels of an input pixel spike, for layers that take their weights in portions: a pixel is
// listed once per tile, however many kernel and output positions see it.
//
// Lists: [term, group, portion of its channels][pixel of the tile][timestep]; an entry is channel
// within the portion << shift | code, as in lists.h.
#pragma once

enum { TOGETHER = 16 };  // most kernel positions that are one portion of the weights

// What the tile's pixels of one gathered term are and where their lists begin.
struct Pixels {
    const sp_layer* L;
    const sp_term* term;  // null after the last
    int taps, group_size, portions, together;
    size_t most;      // pixels of a tile
    size_t lists;     // before the first of this term
    int32_t* places;  // [tap][tile]: number of the pixel, -1 outside the image
    Seen* seen;       // [kernel_y][width of the source]: the last pixel listed there
    int32_t* count;   // pixels so far

    Pixels(const sp_layer* layer, const Lists* of)
        : L(layer), lists(0), places(of->places), seen(of->seen), count(of->counts) {
        find(L->terms);
    }

    void next() {
        lists += all_lists();
        places += (size_t)taps * L->tile;
        seen += seen_columns();
        ++count;
        find(term + 1);
    }

    size_t all_lists() const {
        return (size_t)term->groups * portions * most * (L->end - L->begin);
    }

    size_t seen_columns() const { return (size_t)term->kernel_y * term->source.width; }

    // The first gathered term from this one on.
    void find(const sp_term* from) {
        for (term = from; term < L->terms + L->n_terms && term->masked;) ++term;
        if (term == L->terms + L->n_terms) {
            term = nullptr;
            return;
        }
        taps = term->kernel_y * term->kernel_x;
        group_size = term->source.channels / term->groups;
        portions = (group_size + L->split - 1) / L->split;
        together = L->split / group_size < 1 ? 1 : L->split / group_size;
        together = together < TOGETHER ? together : TOGETHER;
        const int passes = (taps + together - 1) / together;
        together = (taps + passes - 1) / passes;  // all alike
        most = (size_t)L->tile * taps;
    }

    size_t list_of(int group, int portion, int32_t pixel) const {
        const size_t before = (size_t)(group * portions + portion) * most + pixel;
        return lists + before * (L->end - L->begin);
    }
};

// Forgets the pixels of the last tile.
static inline void start_pixels(const sp_layer* L, const Lists* lists) {
    ++*lists->serial;
    for (Pixels pixels(L, lists); pixels.term; pixels.next()) *pixels.count = 0;
}

static inline uint32_t* list_pixel(const sp_layer* L, const Pixels* p, const uint64_t* words,
                                   int32_t pixel, const Lists* lists, uint32_t* end) {
    const sp_stream* s = &p->term->source;
    const size_t step_words = (size_t)planes_of(s) * s->words;
    for (int group = 0; group < p->term->groups; ++group)
        for (int portion = 0; portion < p->portions; ++portion) {
            const int low = group * p->group_size + portion * L->split;
            const int rest = p->group_size - portion * L->split;
            const int high = low + (rest < L->split ? rest : L->split);
            const size_t at = p->list_of(group, portion, pixel);
            for (int t = 0; t < L->end - L->begin; ++t) {
                lists->starts[at + t] = (uint32_t)(end - lists->entries);
                end = append_channels(end, L, s, words + t * step_words, low, high, 0,
                                      (uint32_t)p->term->row_shift);
                lists->ends[at + t] = (uint32_t)(end - lists->entries);
            }
        }
    return end;
}

// Finds the pixels that one output position sees; lists those that no position before it saw.
static inline uint32_t* list_pixels(const sp_layer* L, int b, int y, int x, int place,
                                    const Lists* lists, uint32_t* end) {
    for (Pixels p(L, lists); p.term; p.next()) {
        const sp_term* term = p.term;
        find_taps(L, term, b, y, x, lists->taps);
        for (int tap = 0; tap < p.taps; ++tap) {
            int32_t* to = p.places + (size_t)tap * L->tile + place;
            *to = -1;
            if (!lists->taps[tap]) continue;
            const int iy = y * term->stride_y - term->pad_y + tap / term->kernel_x * term->dilation_y;
            const int ix = x * term->stride_x - term->pad_x + tap % term->kernel_x * term->dilation_x;
            const int64_t images = (int64_t)*lists->serial * L->batch + b;
            const int64_t row = images * term->source.height + iy;
            Seen* seen = p.seen + (size_t)(iy % term->kernel_y) * term->source.width + ix;
            if (seen->row != row) {
                *seen = {row, (*p.count)++};
                end = list_pixel(L, &p, lists->taps[tap], seen->pixel, lists, end);
            }
            *to = seen->pixel;
        }
    }
    return end;
}

// The weight rows of some kernel positions, and the lists of what is added, for one output
// position.
typedef struct {
    int count;
    const char* weights[TOGETHER];
    size_t lists[TOGETHER];
} Rows;

static inline Rows rows_of(const sp_layer* L, const Pixels* p, const char* weights, int group,
                           int first_tap, int portion, int place) {
    Rows rows;
    rows.count = 0;
    for (int tap = first_tap; tap < p->taps && tap < first_tap + p->together; ++tap) {
        const int32_t pixel = p->places[(size_t)tap * L->tile + place];
        if (pixel < 0) continue;
        const size_t first = p->term->shared ? 0 : (size_t)tap * p->group_size;
        rows.weights[rows.count] = weights + ((first + (size_t)portion * L->split) << p->term->row_shift);
        rows.lists[rows.count++] = p->list_of(group, portion, pixel);
    }
    return rows;
}

static ScratchSizes scratch_sizes(const sp_layer* L) {
    const size_t usual = 1u << 18, most = most_entries(L);  // 1 MiB
    ScratchSizes sizes = {most > usual ? most : usual, 1, 1, 1, 1, 1, 1};
    if (L->integer && L->total) sizes.bounds = (size_t)128 * (L->end - L->begin);
    for (int i = 0; i < L->n_terms; ++i) {
        const sp_term* term = L->terms + i;
        sizes.taps += (size_t)term->kernel_y * term->kernel_x;
        if (!term->masked && !L->split)
            sizes.lists += (size_t)term->groups * L->tile * (L->end - L->begin);
    }
    if (!L->split) return sizes;
    sizes.sums = (size_t)64 * L->tile * (L->end - L->begin);
    const Lists none = {};
    for (Pixels pixels(L, &none); pixels.term; pixels.next()) {
        sizes.lists += pixels.all_lists();
        sizes.places += pixels.most;
        sizes.seen += pixels.seen_columns();
    }
    return sizes;
}
