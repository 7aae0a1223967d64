// Runs kernels of one .cu file (included by the file that is compiled) on arrays from .npy files.
//
//   EXECUTABLE REQUEST, a text file: kernel name; grid (3), block (3), bytes of dynamic shared memory; then one argument
//   per line: `a FILE.npy` an array, `s CODE TEXT` a number, `b HEX` a struct by value, `n` a null pointer.
//
// Arrays behind pointers that are not const are written back to their files. Every launch runs twice, with blocks and
// threads taken forward and backward, and the two results must have the same bytes. The build for races (races.h) runs
// it once: that finds them in any order.
#include <stdarg.h>
#include <ucontext.h>

#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define ANNOUNCE_SWITCH(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define ANNOUNCE_ARRIVAL(saved, bottom, size) __sanitizer_finish_switch_fiber(saved, bottom, size)
#else
#define ANNOUNCE_SWITCH(save, bottom, size)
#define ANNOUNCE_ARRIVAL(saved, bottom, size)
#endif

namespace shim {

dim3 thread, block, block_size, grid_size;
unsigned char* dynamic_shared;

static const size_t STACK = 256 * 1024;
enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Fiber {
    ucontext_t context;
    unsigned char* stack = nullptr;
    void* fake_stack = nullptr;
    State state = DONE;
    dim3 index;
    const char* file = "";      // where it waits
    int line = 0;
    unsigned mask = 0;
    unsigned warp_mask = 0;     // who took part in the last exchange
    bool orders = false;        // it waits at a __syncwarp, which orders memory; an exchange does not
    bool watched = true;        // for races
    std::vector<unsigned char> slot, gathered;
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static void* scheduler_fake;
static const void* scheduler_stack;
static size_t scheduler_stack_size;
static std::vector<unsigned> warp_intervals;
static int current, threads;
static void (*body)(void*);
static void* body_argument;

void fail(const char* format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "cuda shim: block (%u %u %u) thread (%u %u %u): ", block.x, block.y, block.z, thread.x, thread.y, thread.z);
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    fflush(stderr);
    _Exit(3);
}

int lane() { return current & 31; }

static void leave(bool for_ever) {
    Fiber& f = fibers[current];
    f.watched = races::now.watched, races::now.watched = false;
    ANNOUNCE_SWITCH(for_ever ? nullptr : &f.fake_stack, scheduler_stack, scheduler_stack_size);
    swapcontext(&f.context, &scheduler);
    ANNOUNCE_ARRIVAL(f.fake_stack, &scheduler_stack, &scheduler_stack_size);
}

static void wait(State state, const char* file, int line, unsigned mask) {
    Fiber& f = fibers[current];
    f.state = state, f.file = file, f.line = line, f.mask = mask;
    leave(false);
    f.orders = false;
}

void block_barrier(const char* file, int line) { wait(AT_BARRIER, file, line, 0); }

void warp_sync(unsigned mask, const char* file, int line) {
    fibers[current].orders = true;
    wait(AT_WARP, file, line, mask);
}

void warp_exchange(unsigned mask, const void* mine, size_t size, void* all, unsigned* present, const char* file, int line) {
    Fiber& f = fibers[current];
    if (!(mask >> lane() & 1)) fail("%s:%d: lane %d is not in its own mask %08x", file, line, lane(), mask);
    f.slot.assign((const unsigned char*)mine, (const unsigned char*)mine + size);
    wait(AT_WARP, file, line, mask);
    memcpy(all, f.gathered.data(), 32 * size);      // put there when the warp was complete
    *present = f.warp_mask;
}

static void entry() {
    ANNOUNCE_ARRIVAL(nullptr, &scheduler_stack, &scheduler_stack_size);
    body(body_argument);
    fibers[current].state = DONE;
    leave(true);
}

static void resume(int i) {
    Fiber& f = fibers[i];
    current = i, thread = f.index;
    races::now.thread = i, races::now.warp_interval = warp_intervals[i / 32], races::now.watched = f.watched;
    ANNOUNCE_SWITCH(&scheduler_fake, f.stack, STACK);
    swapcontext(&scheduler, &f.context);
    ANNOUNCE_ARRIVAL(scheduler_fake, nullptr, nullptr);
}

// The warp that begins at thread `first`: when all its masked lanes wait at one place, hand out the slots and go on.
static bool release_warp(int first) {
    int last = first + 32 < threads ? first + 32 : threads;
    unsigned waiting = 0;
    for (int i = first; i < last; i++) waiting |= fibers[i].state == AT_WARP ? 1u << (i - first) : 0;
    for (int i = first; i < last; i++) {
        Fiber& f = fibers[i];
        if (f.state != AT_WARP) continue;
        unsigned existing = last - first == 32 ? 0xffffffffu : (1u << (last - first)) - 1, wanted = f.mask & existing;
        if ((waiting & wanted) != wanted) continue;
        for (int j = first; j < last; j++)
            if (wanted >> (j - first) & 1 && (fibers[j].line != f.line || fibers[j].mask != f.mask || strcmp(fibers[j].file, f.file)))
                fail("lanes of one warp wait at %s:%d (mask %08x) and %s:%d (mask %08x)", f.file, f.line, f.mask, fibers[j].file, fibers[j].line, fibers[j].mask);
        if (f.orders && wanted == existing) warp_intervals[first / 32]++;
        size_t size = f.slot.size();
        std::vector<unsigned char> all(32 * size);
        for (int j = first; j < last; j++)
            if (wanted >> (j - first) & 1) memcpy(all.data() + (j - first) * size, fibers[j].slot.data(), size);
        for (int j = first; j < last; j++)
            if (wanted >> (j - first) & 1) {
                fibers[j].gathered = all, fibers[j].warp_mask = wanted, fibers[j].state = READY;
                fibers[j].slot.clear();
            }
        return true;
    }
    return false;
}

static bool release_block() {
    const Fiber* first = nullptr;
    int arrived = 0;
    for (int i = 0; i < threads; i++) {
        Fiber& f = fibers[i];
        if (f.state != AT_BARRIER) continue;
        arrived++;
        if (!first) first = &f;
        if (f.line != first->line || strcmp(f.file, first->file))
            fail("threads of one block wait at different barriers, %s:%d and %s:%d", f.file, f.line, first->file, first->line);
    }
    if (arrived != threads) return false;
    for (int i = 0; i < threads; i++) fibers[i].state = READY;
    races::now.interval++;
    return true;
}

static void report_stuck() {
    for (int i = 0; i < threads; i++)
        if (fibers[i].state == AT_BARRIER || fibers[i].state == AT_WARP) {
            thread = fibers[i].index;
            int done = 0;
            for (int j = 0; j < threads; j++) done += fibers[j].state == DONE;
            fail("waits for ever at %s:%d (%s); %d of %d threads have ended", fibers[i].file, fibers[i].line,
                 fibers[i].state == AT_WARP ? "its warp" : "__syncthreads", done, threads);
        }
}

static void run_block(bool backward) {
    for (int i = 0; i < threads; i++) {
        Fiber& f = fibers[i];
        if (!f.stack) f.stack = (unsigned char*)malloc(STACK);
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack, f.context.uc_stack.ss_size = STACK, f.context.uc_link = nullptr;
        makecontext(&f.context, entry, 0);
        f.index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
        f.state = READY, f.fake_stack = nullptr, f.orders = false, f.watched = true;
        f.slot.clear();
    }
    races::now.block++, races::now.interval++;
    for (int alive = threads; alive;) {
        bool progress = false;
        for (int k = 0; k < threads; k++) {
            int i = backward ? threads - 1 - k : k;
            if (fibers[i].state != READY) continue;
            resume(i);
            progress = true;
            alive -= fibers[i].state == DONE;
        }
        for (int first = 0; first < threads; first += 32)
            while (release_warp(first)) progress = true;
        if (!progress && alive && !release_block()) report_stuck();
    }
}

static void run_grid(bool backward, size_t shared_bytes) {
    i64 blocks = (i64)grid_size.x * grid_size.y * grid_size.z;
    for (i64 k = 0; k < blocks; k++) {
        i64 b = backward ? blocks - 1 - k : k;
        block = {unsigned(b % grid_size.x), unsigned(b / grid_size.x % grid_size.y), unsigned(b / grid_size.x / grid_size.y)};
        dynamic_shared = (unsigned char*)malloc(shared_bytes);      // exactly so much: address sanitizer watches the end
        memset(dynamic_shared, 0xff, shared_bytes);
        races::watch("dynamic shared memory", dynamic_shared, shared_bytes, true);
        run_block(backward);
        races::forget(dynamic_shared);
        free(dynamic_shared);
    }
}

// ------------------------------------------------------------------------------------------------------- arguments

struct Request {
    std::string kernel;
    size_t shared = 0;
    std::vector<std::vector<std::string>> arguments;
};

struct Array {
    std::string name, file, header;
    unsigned char* data = nullptr;
    size_t bytes = 0;
    bool writable = false;
    std::vector<unsigned char> before, first;       // the contents before any run, and after the first
};

static std::vector<unsigned char> read_file(const std::string& name) {
    FILE* f = fopen(name.c_str(), "rb");
    if (!f) fail("cannot open %s", name.c_str());
    std::vector<unsigned char> all;
    unsigned char buffer[65536];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f));) all.insert(all.end(), buffer, buffer + n);
    fclose(f);
    return all;
}

static Array read_npy(const std::string& name, std::string& code) {
    std::vector<unsigned char> all = read_file(name);
    if (all.size() < 12 || memcmp(all.data(), "\x93NUMPY", 6)) fail("%s is no .npy file", name.c_str());
    size_t wide = all[6] > 1, length = all[8] | all[9] << 8 | (wide ? all[10] << 16 | all[11] << 24 : 0);
    size_t start = (wide ? 12 : 10) + length;
    Array a;
    a.file = name, a.header.assign(all.begin(), all.begin() + start);
    size_t at = a.header.find("'descr': '");
    if (at == std::string::npos) fail("%s: a plain dtype is wanted", name.c_str());
    code = a.header.substr(at + 11, a.header.find('\'', at + 11) - at - 11);       // without the byte order
    a.bytes = all.size() - start;
    a.data = (unsigned char*)malloc(a.bytes);
    memcpy(a.data, all.data() + start, a.bytes);
    return a;
}

template <class T> struct Code { static const char* of() { return std::is_void<T>::value ? "*" : "?"; } };
#define CODE(T, text) template <> struct Code<T> { static const char* of() { return text; } };
CODE(float, "f4") CODE(double, "f8") CODE(int, "i4") CODE(unsigned, "u4") CODE(long long, "i8") CODE(unsigned long long, "u8")
CODE(unsigned char, "u1") CODE(signed char, "i1") CODE(short, "i2") CODE(unsigned short, "u2") CODE(bool, "b1") CODE(f16, "f2")
static bool fits(const std::string& given, const char* wanted) {
    return given == wanted || (given == "f2" && !strcmp(wanted, "u2")) || !strcmp(wanted, "*");
}

template <class T, class = void>
struct Argument {                       // a struct by value
    T value;
    Argument(const std::vector<std::string>& words, std::vector<Array*>&, int number) {
        static_assert(std::is_trivially_copyable<T>::value, "a kernel takes plain structs");
        if (words[0] != "b" || words[1].size() != 2 * sizeof(T))
            fail("argument %d: the kernel takes a struct of %zu bytes, the launch gave %s of %zu", number, sizeof(T), words[0].c_str(), words.size() > 1 ? words[1].size() / 2 : 0);
        for (size_t i = 0; i < sizeof(T); i++) ((unsigned char*)&value)[i] = strtoul(words[1].substr(2 * i, 2).c_str(), nullptr, 16);
    }
};

template <class T>
struct Argument<T, std::enable_if_t<std::is_arithmetic<T>::value>> {
    T value;
    Argument(const std::vector<std::string>& words, std::vector<Array*>&, int number) {
        if (words[0] != "s" || words[1] != Code<T>::of())
            fail("argument %d: the kernel takes a number of type %s, the launch gave %s %s", number, Code<T>::of(), words[0].c_str(), words.size() > 1 ? words[1].c_str() : "");
        value = std::is_floating_point<T>::value ? (T)strtod(words[2].c_str(), nullptr) : (T)strtoll(words[2].c_str(), nullptr, 10);
    }
};

template <class T>
struct Argument<T*, void> {
    T* value = nullptr;
    Argument(const std::vector<std::string>& words, std::vector<Array*>& arrays, int number) {
        if (words[0] == "n") return;
        if (words[0] != "a") fail("argument %d: the kernel takes an array of %s, the launch gave %s", number, Code<std::remove_const_t<T>>::of(), words[0].c_str());
        for (Array* other : arrays)     // the same array twice is the same memory
            if (other->file == words[1]) {
                value = (T*)other->data, other->writable |= !std::is_const<T>::value;
                return;
            }
        std::string code;
        Array* a = new Array(read_npy(words[1], code));
        if (!fits(code, Code<std::remove_const_t<T>>::of()))
            fail("argument %d: the kernel takes an array of %s, the launch gave %s", number, Code<std::remove_const_t<T>>::of(), code.c_str());
        a->writable = !std::is_const<T>::value, a->name = "argument " + std::to_string(number);
        arrays.push_back(a);
        value = (T*)a->data;
    }
};

template <class... A, size_t... I>
void call(void (*kernel)(A...), const Request& request, std::index_sequence<I...>) {
    if (request.arguments.size() != sizeof...(A)) fail("the kernel takes %zu arguments, the launch gave %zu", sizeof...(A), request.arguments.size());
    std::vector<Array*> arrays;
    std::tuple<Argument<A>...> list{Argument<A>(request.arguments[I], arrays, I)...};
    auto launch = [&] { kernel(std::get<I>(list).value...); };
    body = [](void* f) { (*(decltype(launch)*)f)(); };
    body_argument = &launch;
    threads = block_size.x * block_size.y * block_size.z;
    fibers = std::vector<Fiber>(threads);
    warp_intervals.assign((threads + 31) / 32, 0);
    for (Array* a : arrays) {
        a->before.assign(a->data, a->data + a->bytes);
        if (a->writable) races::watch(a->name.c_str(), a->data, a->bytes, false);
    }
    run_grid(false, request.shared);
    for (Array* a : arrays) {
        a->first.assign(a->data, a->data + a->bytes);
        if (!a->writable && a->first != a->before) fail("%s: a const array has been written", a->file.c_str());
    }
#ifndef MINIVIS_RACES
    for (Array* a : arrays) memcpy(a->data, a->before.data(), a->bytes);
    run_grid(true, request.shared);
#endif
    for (Array* a : arrays) {
        if (memcmp(a->data, a->first.data(), a->bytes))
            fail("array %s: another result when threads run in the opposite order (a barrier is missing, or two threads write one cell)", a->file.c_str());
        if (!a->writable) continue;
        FILE* f = fopen(a->file.c_str(), "wb");
        if (!f || fwrite(a->header.data(), 1, a->header.size(), f) != a->header.size() || fwrite(a->data, 1, a->bytes, f) != a->bytes || fclose(f))
            fail("cannot write %s", a->file.c_str());
    }
}

template <class... A>
void call(void (*kernel)(A...), const Request& request) { call(kernel, request, std::index_sequence_for<A...>{}); }

template <auto kernel>
void entry_of(const Request& request) { call(kernel, request); }

struct Entry {
    const char* name;
    void (*run)(const Request&);
};

static Request read_request(const char* name) {
    std::vector<unsigned char> raw = read_file(name);
    std::vector<std::vector<std::string>> lines(1);
    std::string word;
    for (unsigned char c : raw) {
        if (c != ' ' && c != '\n') { word += c; continue; }
        if (!word.empty()) lines.back().push_back(word), word.clear();
        if (c == '\n') lines.emplace_back();
    }
    lines.pop_back();
    if (lines.size() < 2 || lines[1].size() != 7) fail("%s: not a request", name);
    unsigned n[6];
    for (int i = 0; i < 6; i++) n[i] = strtoul(lines[1][i].c_str(), nullptr, 10);
    grid_size = {n[0], n[1], n[2]}, block_size = {n[3], n[4], n[5]};
    return {lines[0][0], strtoul(lines[1][6].c_str(), nullptr, 10), {lines.begin() + 2, lines.end()}};
}

static int main_of(int argc, char** argv, const Entry* table, size_t count) {
    if (argc != 2) return fprintf(stderr, "usage: %s REQUEST\n", argv[0]), 2;
    Request request = read_request(argv[1]);
    for (size_t i = 0; i < count; i++)
        if (request.kernel == table[i].name) return table[i].run(request), 0;
    fail("no kernel %s in this file", request.kernel.c_str());
    return 3;
}
}  // namespace shim
