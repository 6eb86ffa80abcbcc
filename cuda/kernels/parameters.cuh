// What the neurons of a layer share, and how one of them starts.
typedef struct {
    const float *threshold, *lowest, *highest;  // [channels]
    Shape shape;
} Layer;

DEVICE void start_neuron(Neuron *s, Layer layer, int channel, float v, float total) {
    s->v = v;
    s->total = total;
    s->threshold = layer.threshold[channel];
#if SP_NEURON == GENERAL
    s->inverse = 1.0f / s->threshold;
#endif
#if SP_BOUNDS == 2
    s->lowest = layer.lowest[channel];
    s->highest = layer.highest[channel];
#endif
}
