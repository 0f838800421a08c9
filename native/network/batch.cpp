#include "network/batch.h"

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>

#include "core/variants.h"

namespace qecpipe::network::batch {

#define X(variant)                                                                                             \
    namespace variant {                                                                                        \
    int64_t float32_scratch(const FloatTables&);                                                               \
    void float32_run(const FloatTables&, const uint8_t*, int64_t, int64_t, float*, void*);                     \
    int64_t int8_scratch(const IntegerTables&);                                                                \
    void int8_run(const IntegerTables&, const uint8_t*, int64_t, int64_t, float*, void*);                      \
    }
QECPIPE_FOR_EACH_VARIANT(X)
#undef X

namespace {

Kernel<FloatTables> kernel(const FloatTables&, cpu::Variant variant) {
    switch (variant) {
#define X(name) case cpu::Variant::name: return {name::float32_scratch, name::float32_run};
        QECPIPE_FOR_EACH_VARIANT(X)
#undef X
        default: throw std::logic_error("an instruction set that is not compiled in");
    }
}

Kernel<IntegerTables> kernel(const IntegerTables&, cpu::Variant variant) {
    switch (variant) {
#define X(name) case cpu::Variant::name: return {name::int8_scratch, name::int8_run};
        QECPIPE_FOR_EACH_VARIANT(X)
#undef X
        default: throw std::logic_error("an instruction set that is not compiled in");
    }
}

void require_between(const char* what, const int32_t* table, int64_t size, int64_t least, int64_t end) {
    for (int64_t k = 0; k < size; k++) {
        if (table[k] < least || table[k] >= end) {
            throw std::invalid_argument(std::string(what) + " " + std::to_string(table[k]) + " is not below " +
                                        std::to_string(end));
        }
    }
}

// Memory of this thread, kept until it ends.
void* scratch_memory(int64_t bytes) {
    constexpr size_t kAlignment = 64;
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    thread_local std::unique_ptr<void, Free> memory;
    thread_local int64_t size = 0;
    if (size < bytes) {
        memory.reset();
        size = 0;
        memory.reset(std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment));
        if (!memory) throw std::bad_alloc();
        size = bytes;
    }
    return memory.get();
}

}  // namespace

template <class Tables>
Engine<Tables>::Engine(const Tables& tables, Storage storage, cpu::Variant variant)
    : tables_(tables), storage_(std::move(storage)), variant_(variant), kernel_(kernel(tables, variant)) {
    const Sizes& sizes = tables_.sizes;
    const int64_t rows = int64_t{sizes.layers} * sizes.rows;
    require_between("kind of a layer", sizes.kind, sizes.layers, 0, sizes.kinds);
    require_between("detector", sizes.source, rows * kDetectors * sizes.columns, -1, sizes.detectors);
    require_between("move", sizes.targets, rows * kMoves * sizes.columns, -1, sizes.moves);
}

template <class Tables>
void Engine<Tables>::run(const uint8_t* packed, int64_t shots, float* logits) const {
    kernel_.run(tables_, packed, row_bytes(), shots, logits, scratch_memory(scratch_bytes()));
}

template class Engine<FloatTables>;
template class Engine<IntegerTables>;

}  // namespace qecpipe::network::batch
