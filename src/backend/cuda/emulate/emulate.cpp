#include "backend/cuda/emulate/emulate.h"
#include "backend/cuda/launch.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <vector>

/* Of base/dtype.h, whose names for the formats are the same as those here. */
extern "C" float f16_to_f32(uint16_t value);
extern "C" uint16_t f16_from_f32(float value);

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_BYTES = 256 * 1024, MOST_THREADS = 1024, SHOWN_BYTES = 64, WARP = 32 };

namespace
{

enum fiber_state { FIBER_READY, FIBER_AT_BARRIER, FIBER_IN_WARP, FIBER_DONE };

struct context {
#if defined(__x86_64__)
    void *stack_pointer;
#else
    ucontext_t saved;
#endif
};

struct fiber {
    context at;
    fiber_state state;
    bool started;
    emulated_place place;
    unsigned shows; /* collective operations so far */
    char *stack;
};

/* What lanes show each other: two operations' worth, since a lane may be one ahead of another. */
struct warp_board {
    alignas(16) unsigned char shown[2][WARP][SHOWN_BYTES];
    const void *at[2][WARP];
};

/* The runner of blocks of one host thread. */
struct runner {
    context home;
    std::vector<fiber> fibers;
    std::vector<warp_board> boards;
    unsigned char *shared = nullptr;
    fiber *current = nullptr;
    void (*run)(const void *) = nullptr;
    const void *with = nullptr;
};

thread_local runner here;

[[noreturn]] void give_up(const char *what)
{
    fprintf(stderr, "emulated CUDA: block (%u,%u,%u): %s\n", blockIdx.x, blockIdx.y, blockIdx.z, what);
    abort();
}

#if defined(__x86_64__)
/* Saves what the calling convention wants kept on the stack, and goes on where `to` stopped. */
extern "C" void emulated_change(void **from, void *to);
asm(R"(
.text
.type emulated_change, @function
emulated_change:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulated_change, .-emulated_change
)");
#endif

void change(context *from, context *to, const char *stack, bool leaving_for_good)
{
#if defined(__SANITIZE_ADDRESS__)
    static thread_local const void *home_bottom;
    static thread_local size_t home_size;
    void *fake = nullptr;
    const bool going_home = to == &here.home;
    __sanitizer_start_switch_fiber(leaving_for_good ? nullptr : &fake, going_home ? home_bottom : stack,
                                   going_home ? home_size : (size_t)STACK_BYTES);
#else
    (void)stack;
    (void)leaving_for_good;
#endif
#if defined(__x86_64__)
    emulated_change(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(&from->saved, &to->saved);
#endif
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(fake, &bottom, &size);
    if (from != &here.home) {
        home_bottom = bottom;
        home_size = size;
    }
#endif
}

void leave(fiber_state state)
{
    fiber *f = here.current;
    f->state = state;
    change(&f->at, &here.home, nullptr, state == FIBER_DONE);
    emulated_here = &f->place;
}

void begin()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    here.run(here.with);
    leave(FIBER_DONE);
}

void make_ready(fiber *f)
{
    if (!f->stack) {
        void *stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) give_up("no memory for another thread's stack");
        f->stack = static_cast<char *>(stack);
    }
    f->state = FIBER_READY;
    f->started = false;
    f->shows = 0;
}

void start_or_go_on(fiber *f)
{
    here.current = f;
    emulated_here = &f->place;
    if (!f->started) {
        f->started = true;
#if defined(__SANITIZE_ADDRESS__)
        /* What the last thread on this stack ended in never returned, and left its marks. */
        __asan_unpoison_memory_region(f->stack + STACK_BYTES - 4096, 4096);
#endif
#if defined(__x86_64__)
        void **top = reinterpret_cast<void **>(f->stack + STACK_BYTES) - 2;
        top[0] = reinterpret_cast<void *>(&begin); /* where emulated_change returns to; six registers below it */
        for (int i = 1; i <= 6; i++) top[-i] = nullptr;
        f->at.stack_pointer = top - 6;
#else
        getcontext(&f->at.saved);
        f->at.saved.uc_stack.ss_sp = f->stack;
        f->at.saved.uc_stack.ss_size = STACK_BYTES;
        f->at.saved.uc_link = nullptr;
        makecontext(&f->at.saved, begin, 0);
#endif
    }
    change(&here.home, &f->at, f->stack, false);
}

/* Lets go those that wait for one another and are all there; the number of threads that may run then. */
size_t release(size_t count)
{
    size_t ready = 0, waiting = 0, done = 0;
    for (size_t w = 0; w < count; w += WARP) {
        size_t in_warp = 0, left = 0;
        for (size_t i = w; i < w + WARP; i++) {
            in_warp += here.fibers[i].state == FIBER_IN_WARP;
            left += here.fibers[i].state != FIBER_DONE;
        }
        if (in_warp > 0 && in_warp == left)
            for (size_t i = w; i < w + WARP; i++)
                if (here.fibers[i].state == FIBER_IN_WARP) here.fibers[i].state = FIBER_READY;
    }
    for (size_t i = 0; i < count; i++) {
        ready += here.fibers[i].state == FIBER_READY;
        waiting += here.fibers[i].state == FIBER_AT_BARRIER;
        done += here.fibers[i].state == FIBER_DONE;
    }
    if (waiting > 0 && waiting + done == count) {
        for (size_t i = 0; i < count; i++)
            if (here.fibers[i].state == FIBER_AT_BARRIER) here.fibers[i].state = FIBER_READY;
        return waiting;
    }
    return ready;
}

void run_block(dim3 block, dim3 size, dim3 grid, size_t shared, bool backwards)
{
    const size_t count = (size_t)size.x * size.y * size.z;
    if (here.fibers.size() < count) {
        here.fibers.resize(count);
        here.boards.resize(count / WARP);
    }
    here.shared = static_cast<unsigned char *>(aligned_alloc(128, (shared + 127) / 128 * 128 + 128));
    if (!here.shared) give_up("no memory for shared memory");
    memset(here.shared, 0xff, shared);
    for (size_t i = 0; i < count; i++) {
        fiber *f = &here.fibers[i];
        make_ready(f);
        f->place.thread = dim3((unsigned)i % size.x, (unsigned)i / size.x % size.y, (unsigned)i / size.x / size.y);
        f->place.block = block;
        f->place.block_size = size;
        f->place.grid_size = grid;
    }
    for (;;) {
        for (size_t k = 0; k < count; k++) {
            fiber *f = &here.fibers[backwards ? count - 1 - k : k];
            if (f->state == FIBER_READY) start_or_go_on(f);
        }
        if (release(count) > 0) continue;
        for (size_t i = 0; i < count; i++)
            if (here.fibers[i].state != FIBER_DONE) give_up("threads wait at a barrier that others never reach");
        break;
    }
    free(here.shared);
}

} // namespace

__thread emulated_place *emulated_here;

void __syncthreads()
{
    leave(FIBER_AT_BARRIER);
}

void __syncwarp(unsigned)
{
    leave(FIBER_IN_WARP);
}

unsigned char *emulated_shared()
{
    return here.shared;
}

const void *const *emulated_show(const void *what, size_t bytes)
{
    fiber *f = here.current;
    const size_t index = (size_t)(f - here.fibers.data());
    if (bytes > SHOWN_BYTES) give_up("a lane shows too much");
    warp_board *b = &here.boards[index / WARP];
    const unsigned turn = f->shows++ % 2;
    memcpy(b->shown[turn][index % WARP], what, bytes);
    b->at[turn][index % WARP] = b->shown[turn][index % WARP];
    leave(FIBER_IN_WARP);
    return b->at[turn];
}

void emulated_launch(dim3 grid, dim3 block, size_t shared, void (*run)(const void *), const void *with)
{
    const size_t blocks = (size_t)grid.x * grid.y * grid.z, threads = (size_t)block.x * block.y * block.z;
    static unsigned launches;
    const unsigned launch = launches++;
    if (threads == 0 || threads > MOST_THREADS || threads % WARP != 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
        grid.z > 65535 || blocks == 0 || shared > gpu_shared_bytes()) {
        fprintf(stderr, "emulated CUDA: a launch of %u x %u x %u blocks of %zu threads with %zu bytes\n", grid.x,
                grid.y, grid.z, threads, shared);
        abort();
    }
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < blocks; i++) {
        here.run = run;
        here.with = with;
        const dim3 at((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y));
        run_block(at, block, grid, shared, (i + launch) % 2 == 1);
    }
}

float emulated_float(f16 value)
{
    return f16_to_f32(value.bits);
}

f16 emulated_f16(float value)
{
    return f16{f16_from_f32(value)};
}
