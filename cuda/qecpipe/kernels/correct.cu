// The network's logits -> committed moves, what they leave of the syndrome, and which observables they flip:
// a threshold policy (`ThresholdPolicy`) carried out on whole shots, one block for a shot.
//
// A cluster of proposed moves stands or falls as one. So what has to be known of a detector is whether
// anything in its cluster speaks against it: a move below `commit`, or, where clusters have to explain all
// they touch, a detection that is left. Such detectors are `barred`, and that spreads along proposed moves
// and hyperedges until nothing changes.
//
// Rows of bits are words of 32. A table `[k, 32, W]` has what belongs to bit b of word w at (k * 32 + b) * W
// + w, so that neighbouring threads, each with a word, read neighbouring entries.
//
//   logits       [shots, volume]             float32, float16 or bfloat16: `element` 0, 1 or 2
//   packed       u8  [shots, row_bytes]      detections
//   places       i32 [32, MW]                where each move stands in a shot's output
//   first        i32 [32, MW]                a detector that each move flips
//   at           i32 [6, 32, W]              moves that flip a detector, -1 behind the last of them
//   across       i32 [6, 32, W]              the other detector of each, -1 for none
//   nodes        i32 [width, 32, HW]         detectors of a hyperedge, -1 behind the last of them
//   edge_starts  i32 [detectors + 1]         edges[edge_starts[v]:edge_starts[v + 1]] are detector v's
//   edges        i32 [...]
//   flip_starts  i32 [observables + 1]       likewise moves that flip observable o
//   flipping     i32 [...]
//   moves        u32 [shots, MW]             out: committed
//   residual     u32 [shots, W]              out: as `packed`, also behind the last detector
//   flips        u32 [shots, OW]             out
//   scratch      u32 [blocks of the grid, MW + 3 W + HW + 64 OW]
#include "elements.h"

constexpr i32 kMovesAt = 6;  // a detector, at most: flips of four data qubits and of two measurements
constexpr i32 kLanes = 64;   // that share the sum of an observable's flips

struct Tables {
    const i32* __restrict__ places;
    const i32* __restrict__ first;
    const i32* __restrict__ at;
    const i32* __restrict__ across;
    const i32* __restrict__ nodes;
    const i32* __restrict__ edge_starts;
    const i32* __restrict__ edges;
    const i32* __restrict__ flip_starts;
    const i32* __restrict__ flipping;
    i32 moves, detectors, hyperedges, width, observables;

    __device__ __forceinline__ static i32 words(i32 bits) { return (bits + 31) / 32; }

    // Bits of word w that there are, of so many bits.
    __device__ __forceinline__ static u32 used(i32 bits, i32 w) {
        return bits - 32 * w < 32 ? (1u << (bits - 32 * w)) - 1u : ~0u;
    }
};

// Of a block: proposed moves that are not sure, four rows of detectors' bits or hyperedges', sums.
__device__ __forceinline__ i64 scratch_words(const Tables& of) {
    return Tables::words(of.moves) + 3 * static_cast<i64>(Tables::words(of.detectors)) +
           Tables::words(of.hyperedges) + kLanes * static_cast<i64>(Tables::words(of.observables));
}

// Of one shot. `moves`, and what is scratch, is written in one phase and read in later ones.
struct Shot {
    const u8* __restrict__ row;
    u32 *moves, *weak, *barred, *next, *alive, *active, *sums;

    __device__ __forceinline__ Shot(const Tables& of, const u8* row, u32* moves, u32* scratch)
        : row(row), moves(moves), weak(scratch), barred(weak + Tables::words(of.moves)),
          next(barred + Tables::words(of.detectors)), alive(next + Tables::words(of.detectors)),
          active(alive + Tables::words(of.detectors)), sums(active + Tables::words(of.hyperedges)) {}
};

__device__ __forceinline__ u32 bit_of(const u32* words, i32 bit) {
    return words[bit >> 5] >> (bit & 31) & 1u;
}

// The same, and 0 for bit -1. A load that may be left out, unlike a branch, waits for nothing.
__device__ __forceinline__ u32 bit_if_any(const u32* words, i32 bit) {
    return bit >= 0 ? bit_of(words, bit) : 0u;
}

__device__ __forceinline__ u32 fired(const Shot& shot, i32 detector) {
    return detector >= 0 ? static_cast<u32>(shot.row[detector >> 3]) >> (detector & 7) & 1u : 0u;
}

__device__ __forceinline__ u32 row_word(const u8* row, i64 row_bytes, i32 word) {
    u32 bits = 0;
    QECPIPE_UNROLL
    for (int b = 0; b < 4; ++b) {
        if (4 * word + b < row_bytes) bits |= static_cast<u32>(row[4 * word + b]) << (8 * b);
    }
    return bits;
}

// Proposed moves, and those of them that are not sure enough.
template <typename Element>
__device__ __forceinline__ void propose(const Tables& of, const void* __restrict__ output, i64 start,
                                        const Shot& shot, f32 propose_above, f32 commit_from) {
    const auto* __restrict__ logits = static_cast<const typename Element::Bits*>(output) + start;
    const i32 words = Tables::words(of.moves);
    QECPIPE_FOR_THREADS(w, words) {
        u32 proposed = 0, sure = 0;
        QECPIPE_UNROLL_BY(4)
        for (i32 b = 0; b < 32; ++b) {
            const f32 logit = Element::value(logits[of.places[b * words + w]]);
            proposed |= (logit > propose_above ? 1u : 0u) << b;
            sure |= (logit < commit_from ? 0u : 1u) << b;
        }
        proposed &= Tables::used(of.moves, w);
        shot.moves[w] = proposed;
        shot.weak[w] = proposed & ~sure;
    }
}

// Hyperedges that may have happened: all their detectors fired, or all but one, and two at least.
__device__ __forceinline__ void find_hyperedges(const Tables& of, const Shot& shot) {
    const i32 words = Tables::words(of.hyperedges);
    QECPIPE_FOR_THREADS(w, words) {
        u32 active = 0;
        QECPIPE_UNROLL_BY(1)
        for (i32 b = 0; b < 32; ++b) {
            i32 size = 0, hits = 0;
            QECPIPE_UNROLL_BY(1)
            for (i32 k = 0; k < of.width; ++k) {
                const i32 node = of.nodes[(k * 32 + b) * words + w];
                size += node >= 0 ? 1 : 0;
                hits += static_cast<i32>(fired(shot, node));
            }
            active |= (hits >= 2 && hits >= size - 1 ? 1u : 0u) << b;
        }
        shot.active[w] = active;
    }
}

// Detectors that something at them speaks against, and those that it may spread to.
__device__ __forceinline__ void find_barred(const Tables& of, const Shot& shot, i64 row_bytes,
                                            bool empty_residual) {
    const i32 words = Tables::words(of.detectors);
    QECPIPE_FOR_THREADS(w, words) {
        u32 odd = 0, any = 0, doubtful = 0;
        QECPIPE_UNROLL_BY(2)
        for (i32 b = 0; b < 32; ++b) {
            QECPIPE_UNROLL
            for (i32 k = 0; k < kMovesAt; ++k) {
                const i32 move = of.at[(k * 32 + b) * words + w];
                const u32 proposed = bit_if_any(shot.moves, move);
                odd ^= proposed << b;
                any |= proposed << b;
                doubtful |= bit_if_any(shot.weak, move) << b;
            }
        }
        const u32 detections = row_word(shot.row, row_bytes, w) & Tables::used(of.detectors, w);
        shot.barred[w] = doubtful | (empty_residual ? odd ^ detections : 0u);
        shot.alive[w] = any | (of.hyperedges > 0 ? detections : 0u);
    }
}

// Whether a barred detector is one step from detector 32 w + b.
__device__ __forceinline__ bool next_to_barred(const Tables& of, const Shot& shot, i32 w, i32 b) {
    const i32 words = Tables::words(of.detectors), hyperedge_words = Tables::words(of.hyperedges);
    const i32 detector = 32 * w + b;
    u32 barred = 0;
    QECPIPE_UNROLL
    for (i32 k = 0; k < kMovesAt; ++k) {
        const i32 entry = (k * 32 + b) * words + w;
        barred |= bit_if_any(shot.moves, of.at[entry]) & bit_if_any(shot.barred, of.across[entry]);
    }
    if (barred || of.hyperedges == 0 || !fired(shot, detector)) return barred;
    for (i32 e = of.edge_starts[detector]; e < of.edge_starts[detector + 1]; ++e) {
        const i32 edge = of.edges[e];
        if (!bit_of(shot.active, edge)) continue;
        QECPIPE_UNROLL_BY(1)
        for (i32 k = 0; k < of.width; ++k) {
            const i32 node = of.nodes[(k * 32 + (edge & 31)) * hyperedge_words + (edge >> 5)];
            barred |= fired(shot, node) & bit_if_any(shot.barred, node);
        }
        if (barred) return true;
    }
    return false;
}

// Bars whole clusters: every round of it reaches one step further.
__device__ __forceinline__ void spread_barred(const Tables& of, Shot& shot) {
    const i32 words = Tables::words(of.detectors);
    bool changed = true;
    while (changed) {
        changed = false;
        QECPIPE_FOR_THREADS(w, words) {
            const u32 before = shot.barred[w];
            u32 fresh = 0;
            for (u32 rest = shot.alive[w] & ~before; rest; rest &= rest - 1) {
                const i32 b = lowest_bit(rest);
                if (next_to_barred(of, shot, w, b)) fresh |= 1u << b;
            }
            shot.next[w] = before | fresh;
            changed = changed || fresh;
        }
        changed = any_thread(changed);
        u32* const latest = shot.next;
        shot.next = shot.barred;
        shot.barred = latest;
    }
}

// Takes back the moves of clusters that are barred.
__device__ __forceinline__ void commit(const Tables& of, const Shot& shot) {
    const i32 words = Tables::words(of.moves);
    QECPIPE_FOR_THREADS(w, words) {
        u32 kept = shot.moves[w];
        for (u32 rest = kept; rest; rest &= rest - 1) {
            const i32 b = lowest_bit(rest);
            if (bit_of(shot.barred, of.first[b * words + w])) kept &= ~(1u << b);
        }
        shot.moves[w] = kept;
    }
}

__device__ __forceinline__ void leave_residual(const Tables& of, const Shot& shot, i64 row_bytes,
                                               u32* residual) {
    const i32 words = Tables::words(of.detectors);
    QECPIPE_FOR_THREADS(w, words) {
        u32 change = 0;
        QECPIPE_UNROLL_BY(2)
        for (i32 b = 0; b < 32; ++b) {
            QECPIPE_UNROLL
            for (i32 k = 0; k < kMovesAt; ++k) {
                change ^= bit_if_any(shot.moves, of.at[(k * 32 + b) * words + w]) << b;
            }
        }
        residual[w] = row_word(shot.row, row_bytes, w) ^ change;
    }
}

// Sums over a 64th of every observable's moves, then sums of these.
__device__ __forceinline__ void flip_observables(const Tables& of, const Shot& shot, u32* flips) {
    const i32 words = Tables::words(of.observables);
    QECPIPE_FOR_THREADS(index, kLanes * words) {
        const i32 lane = index % kLanes, first = 32 * (index / kLanes);
        u32 sum = 0;
        const i32 bits = of.observables - first < 32 ? of.observables - first : 32;
        for (i32 b = 0; b < bits; ++b) {
            const i32 end = of.flip_starts[first + b + 1];
            u32 odd = 0;
            QECPIPE_UNROLL_BY(1)
            for (i32 k = of.flip_starts[first + b] + lane; k < end; k += kLanes)
                odd ^= bit_of(shot.moves, of.flipping[k]);
            sum |= odd << b;
        }
        shot.sums[index] = sum;
    }
    end_phase();
    QECPIPE_FOR_THREADS(w, words) {
        u32 sum = 0;
        QECPIPE_UNROLL_BY(4)
        for (i32 lane = 0; lane < kLanes; ++lane) sum ^= shot.sums[w * kLanes + lane];
        flips[w] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(512)
    correct(const void* logits, const u8* packed, const i32* places, const i32* first, const i32* at,
            const i32* across, const i32* nodes, const i32* edge_starts, const i32* edges,
            const i32* flip_starts, const i32* flipping, u32* moves, u32* residual, u32* flips, u32* scratch,
            i64 element, i64 shots, i64 volume, i64 row_bytes, i64 num_moves, i64 detectors, i64 hyperedges,
            i64 width, i64 observables, i64 clusters, i64 empty_residual, f32 propose_above,
            f32 commit_from) {
    const Tables of{places,
                    first,
                    at,
                    across,
                    nodes,
                    edge_starts,
                    edges,
                    flip_starts,
                    flipping,
                    static_cast<i32>(num_moves),
                    static_cast<i32>(detectors),
                    static_cast<i32>(hyperedges),
                    static_cast<i32>(width),
                    static_cast<i32>(observables)};
    const i64 words = Tables::words(of.detectors), flip_words = Tables::words(of.observables);
    scratch += blockIdx.x * scratch_words(of);
    for (i64 s = blockIdx.x; s < shots; s += gridDim.x) {
        Shot shot(of, packed + s * row_bytes, moves + s * Tables::words(of.moves), scratch);
        if (element == 0) propose<Float32>(of, logits, s * volume, shot, propose_above, commit_from);
        if (element == 1) propose<Float16>(of, logits, s * volume, shot, propose_above, commit_from);
        if (element == 2) propose<BFloat16>(of, logits, s * volume, shot, propose_above, commit_from);
        if (clusters) {
            find_hyperedges(of, shot);
            end_phase();
            find_barred(of, shot, row_bytes, empty_residual != 0);
            end_phase();
            spread_barred(of, shot);
            commit(of, shot);
        }
        end_phase();
        leave_residual(of, shot, row_bytes, residual + s * words);
        flip_observables(of, shot, flips + s * flip_words);
        end_phase();
    }
}
QECPIPE_BLOCK_KERNEL(correct)
