// A layer of neurons fused with its synapses: currents never leave the registers.
//
// Work is cut into tiles of output positions. For each tile the active inputs are listed; then
// block by block of output channels (its weights stay in the L2 cache), position by
// position, timestep by timestep, the listed weight rows are added up and the neurons fire.
#pragma once

static inline Gathered gathered_term(const sp_layer* L, const sp_term* term, sp_block block,
                                     int first_slot) {
    const int group = block.first / (L->channels / term->groups);
    const size_t taps = term->shared ? 1 : (size_t)term->kernel_y * term->kernel_x;
    const size_t rows = taps * (term->source.channels / term->groups);
    const bool counted = term->source.magnitudes <= COUNTED;
    const void* scales = L->integer ? (counted ? bytes_by_count : bytes_by_bit)
                                    : (const void*)scales_of(&term->source);
    return {(const char*)term->weights + ((rows * block.index) << term->row_shift), scales,
            term->shifts ? term->shifts + block.offset : nullptr, first_slot + group, term->limit,
            rows_alone(L, &term->source)};
}

// All gathered terms; returns how many there are.
static inline int find_gathered(const sp_layer* L, sp_block block, Gathered* found) {
    int count = 0;
    for (int i = 0, slot = 0; i < L->n_terms; ++i) {
        if (L->terms[i].masked) continue;
        found[count++] = gathered_term(L, L->terms + i, block, slot);
        slot += L->terms[i].groups;
    }
    return count;
}

// Nothing but a current that is the same at every timestep, into plain neurons: the first layer.
template <class K, int N>
static void run_constant(const sp_layer* L, const Lists* lists, const typename K::Neurons* f,
                         sp_block block, int64_t from, int64_t to) {
    typename K::Vector threshold[N];
    for (int i = 0; i < N; ++i) threshold[i] = load(f->threshold + 16 * i);
    for (int64_t position = from; position < to; ++position) {
        Site<K, N> site(L, lists, block, position);
        site.load_state();
        site.find_base();
        uint64_t* words = site.out;
        for (int t = L->begin; t < L->end; ++t, words += site.words) {
            uint64_t bits = 0;
            for (int i = 0; i < N; ++i)
                bits |= (uint64_t)fire_plain(f, threshold[i], site.base[i], site.v + i) << 16 * i;
            put_bits(words, block.first, block.count, bits);
        }
        site.store_state();
    }
}

// Few spikes: sums stay in the registers from the first row to the neuron.
template <class K, int N>
static void run_fused(const sp_layer* L, const Lists* lists, const typename K::Neurons* f,
                      sp_block block, int64_t from, int64_t to) {
    const int steps = L->end - L->begin;
    const int n_gathered = find_gathered(L, block, lists->gathered);
    for (int64_t position = from; position < to; ++position) {
        Site<K, N> site(L, lists, block, position);
        site.load_state();
        site.find_base();
        site.find_masked_taps(lists);
        for (int t = 0; t < steps; ++t) {
            Sums<K, N> sums;
            sums.start();
            site.start_sum(t, lists->taps, sums.total());
            for (int i = 0; i < n_gathered; ++i) {
                const Gathered term = lists->gathered[i];
                const size_t at = ((size_t)term.slot * L->tile + (position - from)) * steps + t;
                const uint32_t *first = lists->entries + lists->starts[at],
                               *last = lists->entries + lists->ends[at];
                sums.start_term(&term);
                if (term.unit)
                    sums.template gather<true>(term.rows, term.scales, first, last);
                else
                    sums.template gather<false>(term.rows, term.scales, first, last);
                sums.finish_term();
            }
            sums.finish();
            site.fire_all(f, t, sums.total());
        }
        site.store_state();
    }
}

// Adds the rows of TAPS kernel positions, 0: of any number, to the waiting sums of one output position.
template <class K, int N, bool UNIT, int TAPS>
static void add_rows(const Lists* lists, const Rows* rows, const Gathered* term, int steps,
                     typename K::Number* home) {
    const int taps = TAPS ? TAPS : rows->count;
    const uint32_t *const entries = lists->entries, *starts[TOGETHER], *ends[TOGETHER];
    const char* weights[TOGETHER];
    for (int j = 0; j < taps; ++j) {
        starts[j] = lists->starts + rows->lists[j];
        ends[j] = lists->ends + rows->lists[j];
        weights[j] = rows->weights[j];
    }
    for (int t = 0; t < steps; ++t, home += 16 * N) {
        Sums<K, N> sums;
        sums.start();
        sums.start_term(term);
        for (int i = 0; i < N; ++i) sums.total()[i] = load(home + 16 * i);
        for (int j = 0; j < taps; ++j)
            sums.template gather<UNIT>(weights[j], term->scales, entries + starts[j][t],
                                       entries + ends[j][t]);
        sums.finish_term();
        sums.finish();
        for (int i = 0; i < N; ++i) store(home + 16 * i, sums.total()[i]);
    }
}

// Adds a term to the waiting sums of the tile, portion by portion of its weights.
template <class K, int N, bool UNIT>
static void add_term(const sp_layer* L, const Lists* lists, const Pixels* pixels,
                     const Gathered* gathered, int group, int64_t positions) {
    const int steps = L->end - L->begin;
    for (int tap = 0; tap < pixels->taps; tap += pixels->together)
        for (int portion = 0; portion < pixels->portions; ++portion)
            for (int64_t place = 0; place < positions; ++place) {
                const Rows rows =
                    rows_of(L, pixels, gathered->rows, group, tap, portion, (int)place);
                typename K::Number* home = (typename K::Number*)lists->sums +
                                                 place * steps * 16 * N;
                if (rows.count > 2)
                    add_rows<K, N, UNIT, 0>(lists, &rows, gathered, steps, home);
                else if (rows.count == 2)
                    add_rows<K, N, UNIT, 2>(lists, &rows, gathered, steps, home);
                else if (rows.count)
                    add_rows<K, N, UNIT, 1>(lists, &rows, gathered, steps, home);
            }
}

// Many spikes: the weights are taken in portions that fit the L1 cache, each for all positions and
// timesteps of the tile; the sums wait in memory meanwhile.
template <class K, int N>
static void run_split(const sp_layer* L, const Lists* lists, const typename K::Neurons* f,
                      sp_block block, int64_t from, int64_t to) {
    typedef typename K::Number Number;
    const int steps = L->end - L->begin;
    Number* sums = (Number*)lists->sums;  // [tile][steps][16 * N]
    for (int64_t position = from; position < to; ++position) {
        Site<K, N> site(L, lists, block, position);
        site.find_base();
        site.find_masked_taps(lists);
        for (int t = 0; t < steps; ++t) {
            typename K::Vector acc[N];
            site.start_sum(t, lists->taps, acc);
            Number* home = sums + ((position - from) * steps + t) * 16 * N;
            for (int i = 0; i < N; ++i) store(home + 16 * i, acc[i]);
        }
    }
    for (Pixels pixels(L, lists); pixels.term; pixels.next()) {
        const int group = block.first / (L->channels / pixels.term->groups);
        const Gathered term = gathered_term(L, pixels.term, block, 0);
        if (term.unit)
            add_term<K, N, true>(L, lists, &pixels, &term, group, to - from);
        else
            add_term<K, N, false>(L, lists, &pixels, &term, group, to - from);
    }
    for (int64_t position = from; position < to; ++position) {
        Site<K, N> site(L, lists, block, position);
        site.load_state();
        for (int t = 0; t < steps; ++t) {
            typename K::Vector acc[N];
            const Number* home = sums + ((position - from) * steps + t) * 16 * N;
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

template <class K, int N>
static void run_positions(const sp_layer* L, const Lists* lists, const typename K::Neurons* f,
                          sp_block block, int64_t from, int64_t to) {
    if (f->plain && is_constant(L))
        run_constant<K, N>(L, lists, f, block, from, to);
    else if (L->split)
        run_split<K, N>(L, lists, f, block, from, to);
    else
        run_fused<K, N>(L, lists, f, block, from, to);
}

template <class K>
static void run_block(const sp_layer* L, const Lists* lists, sp_block block, int64_t from,
                      int64_t to) {
    typename K::Neurons f;
    prepare(&f, L, lists->bounds, block);
    switch (block.width / 16) {
        case 1: run_positions<K, 1>(L, lists, &f, block, from, to); break;
        case 2: run_positions<K, 2>(L, lists, &f, block, from, to); break;
        case 3: run_positions<K, 3>(L, lists, &f, block, from, to); break;
        default: run_positions<K, 4>(L, lists, &f, block, from, to); break;
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
        for (int k = first_block; k < last_block; ++k) {
            if (L->integer)
                run_block<Wholes>(L, lists, L->blocks[k], from, next);
            else
                run_block<Floats>(L, lists, L->blocks[k], from, next);
        }
        from = next;
    }
}
