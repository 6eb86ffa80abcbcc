// Neurons of one block and output position: their state, what feeds them but for gathered synapses,
// and where their spikes go.
#pragma once

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

// Adds the nearest whole numbers; `fractions` is set if these should be whole and are not, or are
// larger than floats hold them exactly.
template <int N>
static inline void add_rounded(I* acc, const F* current, bool whole, int32_t* fractions) {
    for (int i = 0; i < N; ++i) {
        const I rounded = to_ints(current[i]);
        const F distance = absolute(sub(to_floats(rounded), current[i]));
        const M wrong = (M)~(less(absolute(current[i]), all(0x1p24f)) &
                             less(distance, all(whole ? 0x1p-126f : 1.0f)));
        if (__builtin_expect(wrong, 0)) *fractions = 1;
        acc[i] = add(acc[i], rounded);
    }
}

static AT_ONCE void put_bits(uint64_t* words, int first, int count, uint64_t bits) {
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
template <class K, int N>
struct Site {
    typedef typename K::Number Number;
    const sp_layer* L;
    int32_t* fractions;
    sp_block block;
    int b, y, x, words, planes;
    bool changing;  // a current is another one at every timestep
    Number* v_home;
    Number* total;
    uint64_t* out;  // of the first timestep
    typename K::Vector v[N], base[N];

    Site(const sp_layer* layer, const Lists* lists, sp_block of, int64_t position)
        : L(layer), fractions(lists->fractions), block(of) {
        x = (int)(position % L->width);
        y = (int)(position / L->width % L->height);
        b = (int)(position / L->width / L->height);
        words = (L->channels + 63) / 64;
        planes = L->out_magnitudes + (L->out_has_sign != 0);
        v_home = L->v ? (Number*)L->v + position * L->padded + block.offset : nullptr;
        total = L->total ? (Number*)L->total + position * L->padded + block.offset : nullptr;
        out = L->out + (position * L->timesteps + L->begin) * planes * words;
    }

    void load_state() {
        for (int i = 0; i < N; ++i) {
            v[i] = load(L->fresh ? (const Number*)L->neuron.v0 + block.offset + 16 * i
                                 : v_home + 16 * i);
            if (L->fresh && total) store(total + 16 * i, K::zero());
        }
    }

    void store_state() const {
        for (int i = 0; v_home && i < N; ++i) store(v_home + 16 * i, v[i]);
    }

    // The part of the current that is the same at every timestep.
    void find_base() {
        for (int i = 0; i < N; ++i)
            base[i] = L->neuron.bias
                          ? load((const Number*)L->neuron.bias + block.offset + 16 * i)
                          : K::zero();
        changing = false;
        for (int c = 0; c < L->n_currents; ++c) changing = changing || L->currents[c].stride_t;
        add_fixed(base);
    }

    void add_fixed(F* to) const {
        for (int c = 0; c < L->n_currents; ++c)
            if (!L->currents[c].stride_t)
                add_current<N>(to, current_at(L->currents + c, b, y, x, 0) + block.first, block);
    }

    void add_fixed(I* to) const {
        if (!changing && L->n_currents) add_changing(to, 0);
    }

    // What the base lacks.
    void add_changing(F* to, int t) const {
        for (int c = 0; c < L->n_currents; ++c)
            if (L->currents[c].stride_t)
                add_current<N>(to, current_at(L->currents + c, b, y, x, t) + block.first, block);
    }

    // All currents, which are added up before they are rounded.
    void add_changing(I* to, int t) const {
        F sum[N];
        for (int i = 0; i < N; ++i) sum[i] = all(0.0f);
        for (int c = 0; c < L->n_currents; ++c)
            add_current<N>(sum, current_at(L->currents + c, b, y, x, t) + block.first, block);
        add_rounded<N>(to, sum, L->integer == 1, fractions);
    }

    // All of the current but the gathered terms. taps: from `find_masked_taps`.
    AT_ONCE void start_sum(int t, const uint64_t* const* taps, typename K::Vector* acc) const {
        for (int i = 0; i < N; ++i) acc[i] = base[i];
        if (changing) add_changing(acc, t);
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

    AT_ONCE void fire_all(const Firing* f, int t, const F* acc) {
        if (f->plain)
            fire_plainly(f, t, acc);
        else
            fire_any(f, t, acc);
    }

    AT_ONCE void fire_all(const WholeFiring* f, int t, I* acc) {
        if (f->odd) charge_all_oddly(f, acc);
        if (f->plain)
            fire_plainly(f, t, acc);
        else if (f->single && f->bounds)
            fire_singly<true>(f, t, acc);
        else if (f->single)
            fire_singly<false>(f, t, acc);
        else
            fire_any(f, t, acc);
    }

    __attribute__((noinline)) void charge_all_oddly(const WholeFiring* f, I* acc) {
        for (int i = 0; i < N; ++i) {
            v[i] = charge_oddly(f, v[i], acc[i]);
            acc[i] = all_ints(0);
        }
    }

    template <class Neurons, class V>
    AT_ONCE void fire_plainly(const Neurons* f, int t, const V* acc) {
        uint64_t bits = 0;
        for (int i = 0; i < N; ++i)
            bits |= (uint64_t)fire_plain(f, load(f->threshold + 16 * i), acc[i], v + i) << 16 * i;
        put_bits(out + (size_t)t * planes * words, block.first, block.count, bits);
    }

    template <bool BOUNDS>
    AT_ONCE void fire_singly(const WholeFiring* f, int t, const I* acc) {
        uint64_t *to = out + (size_t)t * planes * words, bits = 0, minus = 0;
        UNROLLED for (int i = 0; i < N; ++i) {
            M down;
            bits |= (uint64_t)fire_single<BOUNDS>(f, 16 * i, acc[i], v + i, total, t, &down) << 16 * i;
            minus |= (uint64_t)down << 16 * i;
        }
        put_bits(to, block.first, block.count, bits);
        if (L->out_has_sign) put_bits(to + words, block.first, block.count, minus);
    }

    template <class Neurons, class V>
    AT_ONCE void fire_any(const Neurons* f, int t, const V* acc) {
        uint64_t *to = out + (size_t)t * planes * words, bits = 0, minus = 0;
        V n[N];
        for (int i = 0; i < N; ++i) {
            n[i] = fire(f, 16 * i, acc[i], v + i, total, t);
            minus |= (uint64_t)negative(n[i]) << 16 * i;
            n[i] = absolute(n[i]);
        }
        for (int j = 0; j < L->out_magnitudes; ++j) {
            bits = 0;
            for (int i = 0; i < N; ++i) bits |= (uint64_t)bit_of(n[i], j) << 16 * i;
            put_bits(to + (size_t)j * words, block.first, block.count, bits);
        }
        if (L->out_has_sign)
            put_bits(to + (size_t)L->out_magnitudes * words, block.first, block.count, minus);
    }
};
