// The edges of a matching of regions.
#pragma once

#include <cstdint>
#include <vector>

#include "matching/regions.h"

namespace matching {

class MatchedEdges {
  public:
    // Calls visit(edge) for every edge of every path of the matching: twice for one on two of them.
    template <class Visitor>
    void for_each(const Regions& regions, const Visitor& visit) {
        done_.assign(regions.num_regions(), 0);
        for (int32_t defect = 0; defect < regions.num_regions(); defect++) {
            if (regions.region(defect).node < 0) continue;
            const int32_t top = regions.top(defect);
            if (done_[top]) continue;
            done_[top] = 1;
            const Link& link = regions.region(top).mate;  // none of one that is left over
            const int32_t mate = link.to < 0 ? -1 : regions.top(link.to);
            if (link && (mate < 0 || !done_[mate])) edges_of(regions, link.path, visit);
            open_.push_back({top, link ? link.from : defect});
            while (!open_.empty()) {
                const Opened at = open_.back();
                open_.pop_back();
                pair_children(regions, at, visit);
            }
        }
    }

  private:
    // A region in which a defect is matched outside.
    struct Opened {
        int32_t region, base;
    };

    // All children but the one that is matched outside are mates of a neighbour in the cycle.
    template <class Visitor>
    void pair_children(const Regions& regions, Opened at, const Visitor& visit) {
        const Region& blossom = regions.region(at.region);
        if (!blossom.children) return;
        const int32_t size = blossom.children, base = regions.child_around(at.region, at.base);
        open_.push_back({regions.child(blossom, base).region, at.base});
        for (int32_t k = 1; k < size; k += 2) {
            const Child& one = regions.child(blossom, (base + k) % size);
            const Child& two = regions.child(blossom, (base + k + 1) % size);
            edges_of(regions, one.next.path, visit);
            open_.push_back({one.region, one.next.from});
            open_.push_back({two.region, one.next.to});
        }
    }

    template <class Visitor>
    void edges_of(const Regions& regions, int32_t number, const Visitor& visit) {
        paths_.push_back(number);
        while (!paths_.empty()) {
            const Path path = regions.path(paths_.back());
            paths_.pop_back();
            if (path.edge < 0) {
                paths_.push_back(path.a), paths_.push_back(path.b);
                continue;
            }
            visit(path.edge);
            for (int32_t v : {path.a, path.b}) {
                for (; v >= 0 && regions.visit(v).parent >= 0; v = regions.visit(v).parent) {
                    visit(regions.visit(v).edge);
                }
            }
        }
    }

    std::vector<uint8_t> done_;  // per region
    std::vector<Opened> open_;
    std::vector<int32_t> paths_;
};

}  // namespace matching
