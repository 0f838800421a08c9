// Work on a few neighbours at a time, whose number is known when the code is compiled.
#pragma once

#include <type_traits>
#include <utility>

// Before a function: all that it calls becomes part of it. Not with AddressSanitizer, whose checks make so
// large a function take minutes to compile.
#ifdef __SANITIZE_ADDRESS__
#define QECPIPE_FLATTEN
#else
#define QECPIPE_FLATTEN [[gnu::flatten]]
#endif

namespace qecpipe::network::QECPIPE_VARIANT {

// Calls visit(first, std::integral_constant<int, width>) for tiles of `count` neighbours that are alike in
// width, none wider than kWidest.
template <int kWidest, class Visitor>
inline void for_each_tile(int count, Visitor visit) {
    const int tiles = count <= kWidest ? 1 : (count + kWidest - 1) / kWidest;
    const int width = tiles == 1 ? count : count / tiles,
              wider = count - width * tiles;  // divisions are slow
    int first = 0;
    const auto go = [&]<int... kWidths>(int tile_width, std::integer_sequence<int, kWidths...>) {
        (void)((kWidths + 1 == tile_width &&
                (visit(first, std::integral_constant<int, kWidths + 1>()), true)) ||
               ...);
    };
    for (int tile = 0; tile < tiles; ++tile) {
        const int here = width + (tile < wider);
        go(here, std::make_integer_sequence<int, kWidest>());
        first += here;
    }
}

// Calls visit(std::integral_constant<int, k>()) for k from 0 to kCount - 1, all written out: an array that
// is indexed by nothing else is kept in registers, over loops too.
template <int kCount, class Visitor>
inline void unrolled(Visitor visit) {
    const auto go = [&]<int... k>(std::integer_sequence<int, k...>) {
        (visit(std::integral_constant<int, k>()), ...);
    };
    go(std::make_integer_sequence<int, kCount>());
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
