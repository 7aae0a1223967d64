// What g++ -fsanitize=thread calls, and the memory of who touched what. Compiled without that flag: see races.h.
#define MINIVIS_RACES 1
#include "races.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vector>

extern "C" char __data_start, _end;         // the linker's: around every static variable, shared memory among them

namespace races {
Now now;

namespace {
struct Access {
    uint32_t block = 0, interval = 0, warp_interval = 0, where = 0;
    int thread = -1;                        // -1: nobody yet
};

struct Cell {                               // of one byte
    Access write, read;
    bool other_blocks = false, other_warps = false, other_lanes = false;     // read it as well, since `read.interval`
};

struct Region {
    const char* name;
    uintptr_t start, end;
    bool shared;
    std::vector<Cell> cells;
};

std::vector<Region> regions;

void tell(const Access& a, const char* did) {
    char command[256], text[1024] = "";
    snprintf(command, sizeof command, "addr2line -s -i -e /proc/%d/exe 0x%x 2>/dev/null", getpid(), a.where - 1);
    if (FILE* pipe = popen(command, "r")) {
        text[fread(text, 1, sizeof text - 1, pipe)] = 0;
        pclose(pipe);
    }
    fprintf(stderr, "thread %d of block %u %s at ", a.thread, a.block, did);
    const char* between = "";
    for (char* line = strtok(text, "\n"); line; line = strtok(nullptr, "\n")) {     // one for each function put in place
        line[strcspn(line, " ")] = 0;                                                // of its call; behind a blank more
        fprintf(stderr, "%s%s", between, line);
        between = " from ";
    }
    fprintf(stderr, "; ");
}

[[noreturn]] void report(const Region& region, uintptr_t at, const Access& before, const char* then, const Access& me,
                         const char* does) {
    now.watched = false;
    fprintf(stderr, "cuda shim: a race for byte %zu of %s: ", (size_t)(at - region.start), region.name);
    tell(before, then);
    tell(me, does);
    fprintf(stderr, "nothing orders the two\n");
    fflush(stderr);
    _Exit(3);
}

// Whether `a`, of the same block, came before a barrier or a __syncwarp that this thread has passed since.
bool ordered(const Access& a) {
    return a.thread < 0 || a.thread == now.thread || a.interval != now.interval
        || (a.thread / 32 == now.thread / 32 && a.warp_interval != now.warp_interval);
}

// In shared memory whatever other blocks did is over: their variables were others.
bool elsewhere(const Region& region, const Access& a) { return a.thread >= 0 && !region.shared && a.block != now.block; }
bool mine(const Access& a) { return a.thread >= 0 && a.block == now.block; }

void touch_cell(const Region& region, Cell& cell, uintptr_t at, bool write, const Access& me) {
    if (elsewhere(region, cell.write) || (mine(cell.write) && !ordered(cell.write)))
        report(region, at, cell.write, "wrote", me, write ? "writes" : "reads");
    if (write) {
        if (elsewhere(region, cell.read) || (!region.shared && cell.other_blocks))
            report(region, at, cell.read, "read", me, "writes");
        bool others = cell.other_warps || (cell.other_lanes && cell.read.warp_interval == now.warp_interval);
        if (mine(cell.read) && cell.read.interval == now.interval && (!ordered(cell.read) || others))
            report(region, at, cell.read, "read", me, "writes");
        cell.write = me;
        return;
    }
    if (cell.read.thread >= 0 && cell.read.block != me.block) cell.other_blocks = true;
    bool same = mine(cell.read) && cell.read.interval == me.interval;
    cell.other_warps = same && (cell.other_warps || cell.read.thread / 32 != me.thread / 32);
    cell.other_lanes = same && cell.read.warp_interval == me.warp_interval
        && (cell.other_lanes || cell.read.thread != me.thread);
    cell.read = me;
}
}  // namespace

void watch(const char* name, const void* memory, size_t bytes, bool shared) {
    uintptr_t start = (uintptr_t)memory;
    regions.push_back({name, start, start + bytes, shared, std::vector<Cell>(bytes)});
}

void forget(const void* memory) {
    for (size_t i = 0; i < regions.size(); i++)
        if (regions[i].start == (uintptr_t)memory) regions.erase(regions.begin() + i--);
}

static void touch(const void* memory, size_t bytes, bool write, const void* where) {
    if (!now.watched) return;
    uintptr_t at = (uintptr_t)memory;
    if (at - (uintptr_t)&now < sizeof now) return;
    static bool statics = (watch("static shared memory", &__data_start, &_end - &__data_start, true), true);
    (void)statics;
    for (Region& region : regions)
        if (at >= region.start && at < region.end) {
            Access me{now.block, now.interval, now.warp_interval, (uint32_t)(uintptr_t)where, now.thread};
            for (size_t i = 0; i < bytes && at + i < region.end; i++)
                touch_cell(region, region.cells[at + i - region.start], at + i, write, me);
            return;
        }
}
#define HERE __builtin_return_address(0)
void note_read(const void* p, size_t n) { touch(p, n, false, HERE); }
void note_write(const void* p, size_t n) { touch(p, n, true, HERE); }
}  // namespace races

#define OF_SIZE(n)                                                                                                     \
    extern "C" void __tsan_read##n(void* p) { races::touch(p, n, false, HERE); }                                       \
    extern "C" void __tsan_write##n(void* p) { races::touch(p, n, true, HERE); }                                       \
    extern "C" void __tsan_unaligned_read##n(void* p) { races::touch(p, n, false, HERE); }                             \
    extern "C" void __tsan_unaligned_write##n(void* p) { races::touch(p, n, true, HERE); }                             \
    extern "C" void __tsan_volatile_read##n(void* p) { races::touch(p, n, false, HERE); }                              \
    extern "C" void __tsan_volatile_write##n(void* p) { races::touch(p, n, true, HERE); }
OF_SIZE(1) OF_SIZE(2) OF_SIZE(4) OF_SIZE(8) OF_SIZE(16)
extern "C" void __tsan_read_range(void* p, unsigned long n) { races::touch(p, n, false, HERE); }
extern "C" void __tsan_write_range(void* p, unsigned long n) { races::touch(p, n, true, HERE); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
