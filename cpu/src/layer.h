// A layer of neurons fused with its synapses: currents never leave the registers.
//
// Work is cut into tiles of output positions. For each tile the active inputs are listed; then
// block by block of output channels (its weights stay in the L2 cache), position by
// position, timestep by timestep, the listed weight rows are added up and the neurons fire.
#pragma once

// 64 bits from bit `first` on; bits past the last word are 0.
static inline uint64_t window(const uint64_t* words, int n_words, int first) {
    int at = first / 64, by = first % 64;
    uint64_t low = words[at] >> by;
    return by && at + 1 < n_words ? low | words[at + 1] << (64 - by) : low;
}

// Synapses from channel c to channel c: the spikes' bits are the masks of the adds. No branches on
// single planes or signs: at the usual densities they could not be predicted.
template <int N, bool UNIT>
static inline void add_masked(F* acc, const sp_stream* s, const uint64_t* words, int first,
                              const float* weights) {
    uint64_t planes[8] = {window(words, s->words, first)}, any = planes[0];
    for (int j = 1; !UNIT && j < s->magnitudes; ++j)
        any |= planes[j] = window(words + (size_t)j * s->words, s->words, first);
    if (!any) return;
    const uint64_t minus =
        !UNIT && s->has_sign ? window(words + (size_t)s->magnitudes * s->words, s->words, first) : 0;
    for (int i = 0; i < N; ++i) {
        F weight = load(weights + 16 * i);
        if (!UNIT && s->has_sign) weight = negate_where((M)(minus >> 16 * i), weight);
        acc[i] = add_where((M)(planes[0] >> 16 * i), acc[i], weight);
        for (int j = 1; !UNIT && j < s->magnitudes; ++j)
            acc[i] = add_scaled_where((M)(planes[j] >> 16 * i), acc[i], weight,
                                      all((float)(1 << j)));
    }
}

// The taps are those of `find_taps`.
template <int N>
static inline void masked_term(F* acc, const sp_term* term, sp_block block,
                               const uint64_t* const* taps, int t) {
    const sp_stream* s = &term->source;
    const int n_taps = term->kernel_y * term->kernel_x;
    const size_t step = (size_t)t * planes_of(s) * s->words;
    const float* weights = term->weights + (size_t)block.offset * n_taps;
    const bool unit = s->magnitudes == 1 && !s->has_sign;
    for (int tap = 0; tap < n_taps; ++tap, weights += block.width) {
        if (!taps[tap]) continue;
        if (unit)
            add_masked<N, true>(acc, s, taps[tap] + step, block.first, weights);
        else
            add_masked<N, false>(acc, s, taps[tap] + step, block.first, weights);
    }
}

static inline const float* current_at(const sp_current* c, int b, int y, int x, int t) {
    return c->data + b * c->stride_b + y * c->stride_y + x * c->stride_x + t * c->stride_t;
}

template <int N>
static inline void add_current(F* acc, const float* from, sp_block block) {
    for (int i = 0; i < N; ++i) {
        int rest = block.count - 16 * i;
        acc[i] = add(acc[i], rest >= 16 ? load(from + 16 * i) : load_first(from + 16 * i, rest));
    }
}

static inline void put_bits(uint64_t* words, int first, int count, uint64_t bits) {
    int at = first / 64, by = first % 64;
    if (count == 64 && !by) {
        words[at] = bits;
        return;
    }
    if (count < 64) bits &= (1ull << count) - 1;
    words[at] |= bits << by;
    if (by && by + count > 64) words[at + 1] |= bits >> (64 - by);
}

// Where a layer's neurons of one block and output position are, and what they start from.
template <int N>
struct Site {
    const sp_layer* L;
    sp_block block;
    int b, y, x, words, planes;
    float *v_home, *total;
    uint64_t* out;  // of the first timestep
    F v[N], base[N];

    Site(const sp_layer* layer, sp_block of, int64_t position) : L(layer), block(of) {
        x = (int)(position % L->width);
        y = (int)(position / L->width % L->height);
        b = (int)(position / L->width / L->height);
        words = (L->channels + 63) / 64;
        planes = L->out_magnitudes + (L->out_has_sign != 0);
        v_home = L->v ? L->v + position * L->padded + block.offset : nullptr;
        total = L->total ? L->total + position * L->padded + block.offset : nullptr;
        out = L->out + (position * L->timesteps + L->begin) * planes * words;
    }

    void load_state() {
        for (int i = 0; i < N; ++i) {
            v[i] = load(L->fresh ? L->neuron.v0 + block.offset + 16 * i : v_home + 16 * i);
            if (L->fresh && total) store(total + 16 * i, all(0.0f));
        }
    }

    void store_state() const {
        for (int i = 0; v_home && i < N; ++i) store(v_home + 16 * i, v[i]);
    }

    // The part of the current that is the same at every timestep.
    void find_base() {
        for (int i = 0; i < N; ++i)
            base[i] = L->neuron.bias ? load(L->neuron.bias + block.offset + 16 * i) : all(0.0f);
        for (int c = 0; c < L->n_currents; ++c)
            if (!L->currents[c].stride_t)
                add_current<N>(base, current_at(L->currents + c, b, y, x, 0) + block.first, block);
    }

    // All of the current but the gathered terms. taps: from `find_masked_taps`.
    void start_sum(int t, const uint64_t* const* taps, F* acc) const {
        for (int i = 0; i < N; ++i) acc[i] = base[i];
        for (int c = 0; c < L->n_currents; ++c)
            if (L->currents[c].stride_t)
                add_current<N>(acc, current_at(L->currents + c, b, y, x, t) + block.first, block);
        for (int i = 0; i < L->n_terms; ++i) {
            if (!L->terms[i].masked) continue;
            masked_term<N>(acc, L->terms + i, block, taps, t);
            taps += L->terms[i].kernel_y * L->terms[i].kernel_x;
        }
    }

    // Where the spikes of all masked terms are.
    void find_masked_taps(const Lists* lists) const {
        const uint64_t** taps = lists->taps;
        for (int i = 0; i < L->n_terms; ++i)
            if (L->terms[i].masked) taps += find_taps(L, L->terms + i, b, y, x, taps);
    }

    void fire_all(const Firing* f, int t, const F* acc) {
        uint64_t* to = out + (size_t)t * planes * words;
        if (f->plain) {
            uint64_t bits = 0;
            for (int i = 0; i < N; ++i)
                bits |= (uint64_t)fire_plain(load(f->threshold + 16 * i), acc[i], v + i) << 16 * i;
            put_bits(to, block.first, block.count, bits);
            return;
        }
        const float time = (float)(L->past + t + 1);
        F n[N];
        uint64_t minus = 0;
        for (int i = 0; i < N; ++i) {
            n[i] = fire(f, 16 * i, acc[i], v + i, total, time);
            minus |= (uint64_t)less(n[i], all(0.0f)) << 16 * i;
            n[i] = absolute(n[i]);
        }
        for (int j = 0; j < L->out_magnitudes; ++j) {
            uint64_t bits = 0;
            for (int i = 0; i < N; ++i) bits |= (uint64_t)bit_of(n[i], j) << 16 * i;
            put_bits(to + (size_t)j * words, block.first, block.count, bits);
        }
        if (L->out_has_sign)
            put_bits(to + (size_t)L->out_magnitudes * words, block.first, block.count, minus);
    }
};

// A gathered term as one block sees it: its weights, and the first of its lists.
typedef struct {
    const char* rows;
    const float* scales;
    int slot;
    bool unit;
} Gathered;

static inline Gathered gathered_term(const sp_layer* L, const sp_term* term, sp_block block,
                                     int first_slot) {
    const int group = block.first / (L->channels / term->groups);
    const size_t taps = term->shared ? 1 : (size_t)term->kernel_y * term->kernel_x;
    const size_t rows = taps * (term->source.channels / term->groups);
    return {(const char*)term->weights + ((rows * block.index) << L->row_shift),
            scales_of(&term->source), first_slot + group,
            term->source.magnitudes == 1 && !term->source.has_sign};
}

// Nothing but a current that is the same at every timestep, into plain neurons: the first layer.
template <int N>
static void run_constant(const sp_layer* L, const Firing* f, sp_block block, int64_t from,
                         int64_t to) {
    F threshold[N];
    for (int i = 0; i < N; ++i) threshold[i] = load(f->threshold + 16 * i);
    for (int64_t position = from; position < to; ++position) {
        Site<N> site(L, block, position);
        site.load_state();
        site.find_base();
        uint64_t* words = site.out;
        for (int t = L->begin; t < L->end; ++t, words += site.words) {
            uint64_t bits = 0;
            for (int i = 0; i < N; ++i)
                bits |= (uint64_t)fire_plain(threshold[i], site.base[i], site.v + i) << 16 * i;
            put_bits(words, block.first, block.count, bits);
        }
        site.store_state();
    }
}

// Few spikes: sums stay in the registers from the first row to the neuron.
template <int N>
static void run_fused(const sp_layer* L, const Lists* lists, const Firing* f, sp_block block,
                      int64_t from, int64_t to) {
    const int steps = L->end - L->begin;
    for (int64_t position = from; position < to; ++position) {
        Site<N> site(L, block, position);
        site.load_state();
        site.find_base();
        site.find_masked_taps(lists);
        for (int t = 0; t < steps; ++t) {
            Sums<N> sums;
            sums.start();
            site.start_sum(t, lists->taps, sums.part[0]);
            for (int i = 0, slot = 0; i < L->n_terms; ++i) {
                if (L->terms[i].masked) continue;
                const Gathered term = gathered_term(L, L->terms + i, block, slot);
                const size_t at = ((size_t)term.slot * L->tile + (position - from)) * steps + t;
                const uint32_t *first = lists->entries + lists->starts[at],
                               *last = lists->entries + lists->ends[at];
                if (term.unit)
                    sums.template gather<true>(term.rows, term.scales, first, last);
                else
                    sums.template gather<false>(term.rows, term.scales, first, last);
                slot += L->terms[i].groups;
            }
            sums.finish();
            site.fire_all(f, t, sums.part[0]);
        }
        site.store_state();
    }
}

// Adds the rows of one or two kernel positions to the waiting sums of one output position.
template <int N, bool UNIT, int TAPS>
static void add_rows(const Lists* lists, const Rows* rows, const float* scales, int steps,
                     float* home) {
    const uint32_t *const entries = lists->entries, *starts[TAPS], *ends[TAPS];
    const char* weights[TAPS];
    for (int j = 0; j < TAPS; ++j) {
        starts[j] = lists->starts + rows->lists[j];
        ends[j] = lists->ends + rows->lists[j];
        weights[j] = rows->weights[j];
    }
    for (int t = 0; t < steps; ++t, home += 16 * N) {
        Sums<N> sums;
        sums.start();
        for (int i = 0; i < N; ++i) sums.part[0][i] = load(home + 16 * i);
        for (int j = 0; j < TAPS; ++j)
            sums.template gather<UNIT>(weights[j], scales, entries + starts[j][t],
                                       entries + ends[j][t]);
        sums.finish();
        for (int i = 0; i < N; ++i) store(home + 16 * i, sums.part[0][i]);
    }
}

// Adds a term to the waiting sums of the tile, portion by portion of its weights.
template <int N, bool UNIT>
static void add_term(const sp_layer* L, const Lists* lists, const Pixels* pixels,
                     const Gathered* gathered, int group, int64_t positions) {
    const int steps = L->end - L->begin;
    for (int tap = 0; tap < pixels->taps; tap += pixels->together)
        for (int portion = 0; portion < pixels->portions; ++portion)
            for (int64_t place = 0; place < positions; ++place) {
                const Rows rows =
                    rows_of(L, pixels, gathered->rows, group, tap, portion, (int)place);
                float* home = lists->sums + place * steps * 16 * N;
                if (rows.count == 2)
                    add_rows<N, UNIT, 2>(lists, &rows, gathered->scales, steps, home);
                else if (rows.count)
                    add_rows<N, UNIT, 1>(lists, &rows, gathered->scales, steps, home);
            }
}

// Many spikes: the weights are taken in portions that fit the L1 cache, each for all positions and
// timesteps of the tile; the sums wait in memory meanwhile.
template <int N>
static void run_split(const sp_layer* L, const Lists* lists, const Firing* f, sp_block block,
                      int64_t from, int64_t to) {
    const int steps = L->end - L->begin;
    float* sums = lists->sums;  // [tile][steps][16 * N]
    for (int64_t position = from; position < to; ++position) {
        Site<N> site(L, block, position);
        site.find_base();
        site.find_masked_taps(lists);
        for (int t = 0; t < steps; ++t) {
            F acc[N];
            site.start_sum(t, lists->taps, acc);
            float* home = sums + ((position - from) * steps + t) * 16 * N;
            for (int i = 0; i < N; ++i) store(home + 16 * i, acc[i]);
        }
    }
    for (Pixels pixels(L, lists); pixels.term; pixels.next()) {
        const int group = block.first / (L->channels / pixels.term->groups);
        const Gathered term = gathered_term(L, pixels.term, block, 0);
        if (term.unit)
            add_term<N, true>(L, lists, &pixels, &term, group, to - from);
        else
            add_term<N, false>(L, lists, &pixels, &term, group, to - from);
    }
    for (int64_t position = from; position < to; ++position) {
        Site<N> site(L, block, position);
        site.load_state();
        for (int t = 0; t < steps; ++t) {
            F acc[N];
            const float* home = sums + ((position - from) * steps + t) * 16 * N;
            for (int i = 0; i < N; ++i) acc[i] = load(home + 16 * i);
            site.fire_all(f, t, acc);
        }
        site.store_state();
    }
}

static inline bool is_constant(const sp_layer* L) {
    bool changes = L->n_terms > 0;
    for (int c = 0; c < L->n_currents; ++c) changes = changes || L->currents[c].stride_t;
    return !changes;
}

template <int N>
static void run_positions(const sp_layer* L, const Lists* lists, const Firing* f, sp_block block,
                          int64_t from, int64_t to) {
    if (f->plain && is_constant(L))
        run_constant<N>(L, f, block, from, to);
    else if (L->split)
        run_split<N>(L, lists, f, block, from, to);
    else
        run_fused<N>(L, lists, f, block, from, to);
}

static void run_block(const sp_layer* L, const Lists* lists, sp_block block, int64_t from,
                      int64_t to) {
    Firing f;
    prepare(&f, &L->neuron, L->total, block);
    switch (block.width / 16) {
        case 1: run_positions<1>(L, lists, &f, block, from, to); break;
        case 2: run_positions<2>(L, lists, &f, block, from, to); break;
        case 3: run_positions<3>(L, lists, &f, block, from, to); break;
        default: run_positions<4>(L, lists, &f, block, from, to); break;
    }
}

// Positions [from, to) of all images together, blocks [first_block, last_block).
void run_tile(const sp_layer* L, const Lists* lists, int64_t from, int64_t to, int first_block,
              int last_block) {
    const size_t reserve = most_entries(L);
    while (from < to) {
        uint32_t* end = lists->entries;
        int64_t next = from;
        if (L->split) start_pixels(L, lists);
        for (; next < to; ++next) {
            const int64_t row = next / L->width;
            const int b = (int)(row / L->height), y = (int)(row % L->height);
            const int x = (int)(next % L->width), place = (int)(next - from);
            const size_t room = lists->capacity - (size_t)(end - lists->entries);
            if (room < reserve && room < entries_at(L, b, y, x, lists)) break;
            end = L->split ? list_pixels(L, b, y, x, place, lists, end)
                           : list_position(L, b, y, x, place, lists, end);
        }
        for (int k = first_block; k < last_block; ++k) run_block(L, lists, L->blocks[k], from, next);
        from = next;
    }
}
