// Preloaded: fresh memory holds random bits, as after hours of use, so that what reads it before it
// was written to gives another result every time. Sanitizers and MALLOC_PERTURB_ fill with one value.
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void *__libc_malloc(size_t);
void *__libc_memalign(size_t, size_t);

static _Thread_local uint64_t state;

static void *filled(void *memory, size_t size) {
    if (!state) state = (uint64_t)(uintptr_t)&state | 1;
    for (size_t at = 0; memory && at < size; at += sizeof(state)) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        memcpy((char *)memory + at, &state, size - at < sizeof(state) ? size - at : sizeof(state));
    }
    return memory;
}

void *malloc(size_t size) { return filled(__libc_malloc(size), size); }

void *memalign(size_t alignment, size_t size) {
    return filled(__libc_memalign(alignment, size), size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **to, size_t alignment, size_t size) {
    *to = memalign(alignment, size);
    return *to ? 0 : ENOMEM;
}
