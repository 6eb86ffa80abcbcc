// What the neurons of a layer share, and how one of them starts.
typedef struct {
    const float *threshold, *value;   // [channels]
    const state_t *lowest, *highest;  // [channels]
    Shape shape;
} Layer;

DEVICE void start_neuron(Neuron *s, Layer layer, int channel, state_t v, float total) {
    s->v = v;
    s->total = total;
    s->threshold = layer.threshold[channel];
#if SP_VALUE
    s->value = layer.value[channel];
#endif
#if SP_NEURON == GENERAL && SP_BITS <= 24
    s->inverse = 1.0f / s->threshold;
#endif
#if SP_BOUNDS == 2
    s->lowest = layer.lowest[channel];
    s->highest = layer.highest[channel];
#endif
}
