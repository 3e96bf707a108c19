// Runs the kernels of pulse_core/generators/kernels/features.cu on the CPU: one block after the other, and the threads
// of a block as fibres that switch at each __syncthreads(). Compiled by emulated.py, once per TYPE.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

struct Three {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
static Three threadIdx, blockIdx, blockDim, gridDim;
static ucontext_t scheduler;
static std::vector<ucontext_t> fibres;
static std::vector<bool> done;
static unsigned current;

static void __syncthreads() { swapcontext(&fibres[current], &scheduler); }

#define EMULATED
#define DEVICE inline
#define __shared__ static
#if TYPE == 1
static float half_to_float(unsigned short bits) {
    _Float16 x;
    memcpy(&x, &bits, 2);
    return (float)x;
}
static unsigned short float_to_half(float x) {
    _Float16 half = (_Float16)x;
    unsigned short bits;
    memcpy(&bits, &half, 2);
    return bits;
}
#endif
#include FEATURES

static void (*kernel)(const KernelArgs &);
static KernelArgs args;

static void fibre() {
    kernel(args);
    done[current] = true;
    swapcontext(&fibres[current], &scheduler);
}

static const size_t STACK = 64 << 10;

static void run_block() {
    static std::vector<char> stacks;
    unsigned count = blockDim.x * blockDim.y, left = count;
    stacks.resize(count * STACK);
    fibres.resize(count);
    done.assign(count, false);
    for (current = 0; current < count; current++) {
        getcontext(&fibres[current]);
        fibres[current].uc_stack.ss_sp = &stacks[current * STACK];
        fibres[current].uc_stack.ss_size = STACK;
        fibres[current].uc_link = nullptr;
        makecontext(&fibres[current], fibre, 0);
    }
    while (left)
        for (current = 0; current < count; current++) {
            if (done[current]) continue;
            threadIdx = {current % blockDim.x, current / blockDim.x, 0};
            swapcontext(&scheduler, &fibres[current]);
            left -= done[current];
        }
}

struct Named {
    const char *name;
    void (*kernel)(const KernelArgs &);
};
#define LAYOUTS(name) \
    {#name "_last_wide", name<true, WIDE>}, {#name "_last", name<true, 1>}, {#name "_one", name<false, 1>}
static const Named KERNELS[] = {
    LAYOUTS(epilogue), {"epilogue_wide", epilogue<false, WIDE>}, LAYOUTS(epilogue_back),
    {"epilogue_back_wide", epilogue_back<false, WIDE>}, LAYOUTS(style_back), {"style_back_wide", style_back<false, WIDE>},
    LAYOUTS(noise_back), LAYOUTS(haar), LAYOUTS(haar_back), {"finish", finish_sums},
    {"depthwise_3_wide", depthwise<3, 4>}, {"depthwise_3_one", depthwise<3, 1>},
    {"depthwise_4_wide", depthwise<4, 4>}, {"depthwise_4_one", depthwise<4, 1>},
};

extern "C" int size_of_args() { return sizeof(KernelArgs); }
extern "C" int run(const char *name, const unsigned *grid, const unsigned *block, const KernelArgs *given) {
    kernel = nullptr;
    for (const Named &each : KERNELS)
        if (!strcmp(each.name, name)) kernel = each.kernel;
    if (!kernel) return 1;
    args = *given;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], 1};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) run_block();
    return 0;
}
