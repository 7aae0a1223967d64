// Finds two threads that touch the same memory with nothing between them that orders them, at least one writing.
//
// The build for races is compiled with -fsanitize=thread, which makes g++ call a function before every load and store,
// and linked without that sanitizer: races.cpp defines these functions for what a launch is, where a barrier orders the
// threads of a block, __syncwarp those of a warp, and nothing orders two blocks. Shuffles, ballots and the matrix
// instructions order nothing. What is watched: the arrays of the launch, dynamic and static shared memory.
#pragma once
#include <stddef.h>

namespace races {
struct Now {                        // whose turn it is
    bool watched = false;           // the code that runs is a kernel's, not the shim's
    int thread = 0;
    unsigned block = 0;             // a number of its own for each block
    unsigned interval = 0;          // goes up with each barrier and each block
    unsigned warp_interval = 0;     // of this thread's warp: goes up with each __syncwarp of all its lanes
};

#ifdef MINIVIS_RACES
extern Now now;
void watch(const char* name, const void* memory, size_t bytes, bool shared);
void forget(const void* memory);
void note_read(const void* p, size_t n);       // for the twins of instructions: what they do themselves is unwatched
void note_write(const void* p, size_t n);

// In its scope the shim's own work goes unwatched. A fiber that waits keeps its state (driver.cpp).
struct Unwatched {
    bool before = now.watched;
    Unwatched() { now.watched = false; }
    ~Unwatched() { now.watched = before; }
};
#else
static Now now;
static inline void watch(const char*, const void*, size_t, bool) {}
static inline void forget(const void*) {}
static inline void note_read(const void*, size_t) {}
static inline void note_write(const void*, size_t) {}
struct Unwatched {
    Unwatched() {}
    ~Unwatched() {}
};
#endif
}  // namespace races
