// Host twins of the instructions in mma.cuh, after the tables of the PTX manual (fragments of mma.m16n8k8 and m16n8k16,
// ldmatrix). Sums are float32 in the order of the depth: a real tensor core adds in an order that is not documented.
#include <vector>

static inline u32 to_tf32(u32 bits) {
    bool finite = (bits >> 23 & 255) != 255;
    return (finite ? bits + 0x1000u : bits) & ~0x1fffu;
}

// ----------------------------------------------------------------------------------- copies that take their time

namespace copies {
struct Copy {
    void* to;
    const void* from;
    bool inside;
    int group;
};
struct Thread {
    std::vector<Copy> waiting;
    int groups = 0;             // committed so far
    dim3 block = {~0u, 0, 0};
};
static std::vector<Thread> threads(1024);

static inline Thread& mine() {
    Thread& thread = threads[(threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x];
    bool same = thread.block.x == blockIdx.x && thread.block.y == blockIdx.y && thread.block.z == blockIdx.z;
    if (!same) {
        if (!thread.waiting.empty()) shim::fail("a block ended while asynchronous copies into its shared memory ran");
        thread.block = blockIdx;
    }
    return thread;
}
}  // namespace copies

static inline void copy_async_16(void* shared, const void* global, bool inside) {
    races::note_write(shared, 16);
    if (inside) races::note_read(global, 16);
    races::Unwatched twin;
    memset(shared, 0xff, 16);                   // the copy may begin at once: whoever still reads there reads nonsense
    if ((uintptr_t)shared % 16 || (inside && (uintptr_t)global % 16))
        shim::fail("copy_async_16: an address is not a multiple of 16");
    copies::Thread& thread = copies::mine();
    thread.waiting.push_back({shared, global, inside, thread.groups});
}

static inline void copy_async_commit() {
    races::Unwatched twin;
    copies::mine().groups++;
}

template <int N>
void copy_async_wait() {
    std::vector<void*> arrived;
    {
        races::Unwatched twin;
        copies::Thread& thread = copies::mine();
        std::vector<copies::Copy> later;
        for (const copies::Copy& copy : thread.waiting)
            if (copy.group >= thread.groups - N) {
                later.push_back(copy);
            } else {
                if (copy.inside) memcpy(copy.to, copy.from, 16);
                else memset(copy.to, 0, 16);
                arrived.push_back(copy.to);
            }
        thread.waiting.swap(later);
    }
    for (void* to : arrived) races::note_write(to, 16);
}

// ---------------------------------------------------------------------------------------- instructions of a whole warp

static inline void load_matrices(u32 (&r)[4], const void* row) {
    races::note_read(row, 16);
    races::Unwatched twin;
    if ((uintptr_t)row % 16) shim::fail("load_matrices: the address of a row is not a multiple of 16");
    u32 words[4], all[4][32];
    memcpy(words, row, 16);                     // this lane's row; lane l then takes word l%4 of row l/4 of each matrix
    for (int i = 0; i < 4; i++) shim::warp_gather(words[i], all[i]);
    int lane = shim::lane();
    for (int i = 0; i < 4; i++) r[i] = all[lane % 4][i * 8 + lane / 4];
}

// Registers of all lanes -> a (16 x DEPTH) and b (DEPTH x 8), then this lane's four sums.
template <int DEPTH, typename Unpack>
void multiply_on_host(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], Unpack unpack) {
    races::Unwatched twin;
    constexpr int PER_WORD = DEPTH / 8;         // numbers in a register: 1 for TF32, 2 for half
    static float left[16][DEPTH], right[DEPTH][8];
    struct Registers {
        u32 a[4], b[2];
    } mine, all[32];
    memcpy(mine.a, a, sizeof(mine.a));
    memcpy(mine.b, b, sizeof(mine.b));
    shim::warp_gather(mine, all);
    for (int lane = 0; lane < 32; lane++)
        for (int part = 0; part < PER_WORD; part++) {
            int g = lane / 4, k = lane % 4 * PER_WORD + part, half = DEPTH / 2;
            left[g][k] = unpack(all[lane].a[0], part);
            left[g + 8][k] = unpack(all[lane].a[1], part);
            left[g][k + half] = unpack(all[lane].a[2], part);
            left[g + 8][k + half] = unpack(all[lane].a[3], part);
            right[k][g] = unpack(all[lane].b[0], part);
            right[k + half][g] = unpack(all[lane].b[1], part);
        }
    int g = shim::lane() / 4, column = shim::lane() % 4 * 2;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < DEPTH; k++) d[i] += left[g + i / 2 * 8][k] * right[k][column + i % 2];
}

static inline void multiply_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    multiply_on_host<8>(d, a, b, [](u32 word, int) { return __uint_as_float(word & ~0x1fffu); });   // cuts bits off
}

static inline void multiply_f16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    multiply_on_host<16>(d, a, b, [](u32 word, int part) {
        f16 number;
        number.bits = (unsigned short)(word >> 16 * part);
        return (float)number;
    });
}
