// Spikes per channel, up or down, added to counts[channels]: whole numbers, so in any order. A warp
// within one channel adds once. Every lane calls it; one past the end brings zeros.
DEVICE void count_spikes(u64 *counts, Shape shape, i64 group, const u32 *fired) {
    Place place = place_of(group * SP_VECTOR, shape);
    const int channel = place.channel;
    bool same = channel == __shfl_sync(ALL_LANES, channel, 0);
    u32 all = 0;
#pragma unroll
    for (int i = 0; i < SP_VECTOR; ++i) {
        all += fired[i];
        same = same && place.channel == channel;
        place = after(place, shape);
    }
    if (__all_sync(ALL_LANES, same)) {
#pragma unroll
        for (int apart = WARP / 2; apart > 0; apart /= 2)
            all += __shfl_down_sync(ALL_LANES, all, apart);
        if (threadIdx.x % WARP == 0) atomicAdd(counts + channel, (u64)all);
        return;
    }
    place = place_of(group * SP_VECTOR, shape);
    for (int i = 0; i < SP_VECTOR; ++i) {
        if (fired[i]) atomicAdd(counts + place.channel, (u64)fired[i]);
        place = after(place, shape);
    }
}
