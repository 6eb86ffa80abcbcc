// Runs a kernel over a grid: blocks one after the other, the threads of a block as fibers that
// take turns at barriers and warp operations, in an order that the caller chooses.
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct Index {
    unsigned x, y, z;
};
Index threadIdx, blockIdx, blockDim, gridDim;

namespace {
enum { STACK = 128 * 1024, MOST = 1024, LANES = 32 };
enum State { READY, AT_BARRIER, AT_EXCHANGE, DONE };

struct Fiber {
    jmp_buf at;
    ucontext_t first;
    char *stack;
    bool started;
    State state;
    Index index;
    int kind, round;  // of the last exchange
    unsigned mask, value;
};
struct Warp {
    unsigned values[2][LANES];  // of this exchange and the one before
};

Fiber fibers[MOST];
Warp warps[MOST / LANES];
Fiber *running;
jmp_buf scheduler;
sigjmp_buf outside;
ucontext_t scheduler_context;
void (*body)(void **);
void **body_arguments;
char *message;
size_t message_size;
uint64_t seed;

unsigned random_below(unsigned n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((seed >> 33) % n);
}

[[noreturn]] void fail(const char *what) {
    snprintf(message, message_size, "block (%u, %u, %u), thread %u: %s", blockIdx.x, blockIdx.y,
             blockIdx.z, threadIdx.x, what);
    siglongjmp(outside, 1);
}

void on_signal(int number, siginfo_t *info, void *) {
    char text[96];
    if (number == SIGSEGV || number == SIGBUS)
        snprintf(text, sizeof text, "memory at %p", info->si_addr);
    else
        snprintf(text, sizeof text, "overflow, shift or index out of range");
    fail(text);
}

void leave(State state) {
    running->state = state;
    if (!_setjmp(running->at)) _longjmp(scheduler, 1);
}

void fiber_main() {
    for (;;) {
        body(body_arguments);
        leave(DONE);
    }
}

// Run a fiber until it waits or is done.
void resume(Fiber *fiber) {
    running = fiber;
    threadIdx = fiber->index;
    if (_setjmp(scheduler)) return;
    if (fiber->started) _longjmp(fiber->at, 1);
    fiber->started = true;
    if (!fiber->stack)
        fiber->stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    getcontext(&fiber->first);
    fiber->first.uc_stack.ss_sp = fiber->stack;
    fiber->first.uc_stack.ss_size = STACK;
    fiber->first.uc_link = nullptr;
    makecontext(&fiber->first, fiber_main, 0);
    swapcontext(&scheduler_context, &fiber->first);
}

// Let a warp go on whose lanes have all come to the same exchange.
bool release_warp(unsigned warp, unsigned threads) {
    unsigned first = warp * LANES, present = 0;
    for (unsigned lane = 0; lane < LANES && first + lane < threads; ++lane)
        if (fibers[first + lane].state == AT_EXCHANGE) present |= 1u << lane;
    if (!present) return false;
    Fiber *any = nullptr;
    for (unsigned lane = 0; lane < LANES; ++lane) {
        if (!(present >> lane & 1)) continue;
        Fiber *fiber = fibers + first + lane;
        if (fiber->mask != ~0u || present != ~0u) return false;  // kernels here use whole warps
        if (any && (any->kind != fiber->kind || any->round != fiber->round)) return false;
        any = fiber;
    }
    for (unsigned lane = 0; lane < LANES; ++lane) {
        warps[warp].values[any->round % 2][lane] = fibers[first + lane].value;
        fibers[first + lane].state = READY;
    }
    return true;
}

bool release_block(unsigned threads) {
    for (unsigned i = 0; i < threads; ++i)
        if (fibers[i].state != AT_BARRIER) return false;
    for (unsigned i = 0; i < threads; ++i) fibers[i].state = READY;
    return true;
}

void shuffle(unsigned *order, unsigned n, int schedule) {
    for (unsigned i = 0; i < n; ++i) order[i] = schedule == 1 ? n - 1 - i : i;
    for (unsigned i = n; schedule == 2 && i > 1; --i) {
        unsigned j = random_below(i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

void run_block(unsigned threads, int schedule) {
    unsigned order[MOST];
    for (unsigned i = 0; i < threads; ++i) {
        fibers[i].state = READY;
        fibers[i].round = 0;
        fibers[i].index = {i, 0, 0};
    }
    for (;;) {
        shuffle(order, threads, schedule);
        unsigned done = 0;
        for (unsigned i = 0; i < threads; ++i) {
            Fiber *fiber = fibers + order[i];
            if (fiber->state == READY) resume(fiber);
            done += fiber->state == DONE;
        }
        if (done == threads) return;
        bool go_on = release_block(threads);
        for (unsigned w = 0; w <= (threads - 1) / LANES; ++w) go_on |= release_warp(w, threads);
        if (!go_on) fail("waits for threads that never come to this barrier or warp operation");
    }
}
}  // namespace

extern "C" {
void host_barrier() { leave(AT_BARRIER); }

const unsigned *host_exchange(int kind, unsigned mask, unsigned value) {
    running->kind = kind;
    running->mask = mask;
    running->value = value;
    unsigned warp = running->index.x / LANES;
    int round = ++running->round;
    leave(AT_EXCHANGE);
    return warps[warp].values[round % 2];
}

// Bytes of memory with an unreadable page on either side: `size` of them, which end (or begin) at
// the border. Returns the base of the mapping; *bytes is where they begin.
void *host_guarded(size_t size, size_t align, int at_end, void **bytes) {
    const size_t page = 4096, body_size = (size + page - 1) / page * page;
    char *base = (char *)mmap(nullptr, body_size + 2 * page, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == (char *)MAP_FAILED) return nullptr;
    mprotect(base + page, body_size, PROT_READ | PROT_WRITE);
    size_t slack = at_end ? (body_size - size) / align * align : 0;
    *bytes = base + page + slack;
    return base;
}
void host_release(void *base, size_t size) {
    const size_t page = 4096;
    munmap(base, (size + page - 1) / page * page + 2 * page);
}

// Run blocks [from, until) of the grid, in linear order of their index. schedule: 0 ascending,
// 1 descending, 2 shuffled by the seed. shared: the kernel's shared memory. Returns 0, or 1 and a
// message.
int host_run(void (*call)(void **), void **arguments, const unsigned *grid, unsigned threads,
             uint64_t from, uint64_t until, int schedule, uint64_t start, char *shared,
             size_t shared_size, char *text, size_t text_size) {
    body = call;
    body_arguments = arguments;
    message = text;
    message_size = text_size;
    seed = start;
    blockDim = {threads, 1, 1};
    gridDim = {grid[0], grid[1], grid[2]};
    for (Fiber &fiber : fibers) fiber.started = false;
    struct sigaction action = {}, before[4];
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    const int signals[4] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
    for (int i = 0; i < 4; ++i) sigaction(signals[i], &action, before + i);
    volatile int failed = 1;
    if (!sigsetjmp(outside, 1)) {
        uint64_t blocks = until - from;
        unsigned *order = (unsigned *)malloc((size_t)blocks * sizeof *order);
        shuffle(order, (unsigned)blocks, schedule);
        for (uint64_t i = 0; i < blocks; ++i) {
            uint64_t block = from + order[i];
            blockIdx = {(unsigned)(block % grid[0]), (unsigned)(block / grid[0] % grid[1]),
                        (unsigned)(block / grid[0] / grid[1])};
            if (shared_size) memset(shared, 0xA5, shared_size);
            run_block(threads, schedule);
        }
        free(order);
        failed = 0;
    }
    for (int i = 0; i < 4; ++i) sigaction(signals[i], before + i, nullptr);
    return failed;
}
}
