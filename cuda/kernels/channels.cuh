// Which channel a neuron belongs to: each channel has `inner` neighbours in memory, then the next one
// follows; after the last one the next image. A 64-bit division takes longer than a timestep, and
// its subroutine costs registers, so the one that is needed is a product.
typedef struct {
    int channels, inner;  // channels * inner neurons in an image, fewer than 2^31
    u64 image_inverse;    // floor(2^64 / (channels * inner)) + 1; 0 where an image is one neuron
} Shape;

typedef struct {
    int channel, inside;  // inside: neuron of the channel, less than inner
} Place;

// Exact while neuron * channels * inner < 2^64.
DEVICE Place place_of(i64 neuron, Shape shape) {
    i64 image = shape.image_inverse ? (i64)__umul64hi((u64)neuron, shape.image_inverse) : neuron;
    u32 inner = (u32)shape.inner;
    u32 rest = (u32)(neuron - image * ((i64)shape.channels * shape.inner));
    Place place = {(int)(rest / inner), (int)(rest % inner)};
    return place;
}

// That of the next neuron in memory.
DEVICE Place after(Place place, Shape shape) {
    if (++place.inside == shape.inner) {
        place.inside = 0;
        if (++place.channel == shape.channels) place.channel = 0;
    }
    return place;
}
