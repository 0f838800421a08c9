// Alternating trees and blossoms of regions: the upper half of sparse blossom, see flooder.h.
//
// Every defect begins as the root of a tree. Even regions of a tree grow. What one meets decides:
//  - a matched region joins as an odd one, which shrinks, and its mate as an even one;
//  - the boundary, a region matched to it, or another tree: the path to the root is matched anew, with
//    one pair more, and the trees are done: their regions are matched and keep still;
//  - another even region of the tree: the cycle becomes a blossom, which is even.
// Of odd regions with radius 0, a defect becomes part of a blossom with its neighbours in the tree, and a
// blossom is replaced by its children. Where no tree is left, the matching is the lightest: radii are duals
// that prove it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "matching/flooder.h"

namespace matching {

class Blossoms {
  public:
    explicit Blossoms(const Arcs& arcs) : arcs_(arcs), flooder_(arcs) {}

    // Forgets the last shot.
    void begin(const Weights& weights) {
        flooder_.begin(weights);
        defects_ = 0, trees_left_ = 0, passes_ = 0;
        tree_first_.clear();
    }

    void add_defect(int32_t node) {
        plant(flooder_.add_defect(node));
        defects_++;
    }

    // Matches all defects; false where that cannot be: then one is left over in some trees.
    bool solve() {
        for (int32_t defect = 0; defect < defects_; defect++) flooder_.look_at(flooder_.region(defect).node);
        return run();
    }

    // After `solve`: the lightest matching of those in which another number of paths modulo 2 ends at the
    // hub; false where there is none, or only those that weigh more than the lightest one by more than
    // `limit`.
    //
    // The hub becomes a node. Regions that were matched to it touch it, each is at the lowest weight from any
    // other on a path through it, and all of them are as well matched in pairs as they were. If they are an
    // even number, the hub becomes a defect, otherwise one of them is left over. In both cases, this is one
    // blossom of radius 0 with the hub in it, the root of a tree; the radii of all others are as they were.
    // With one tree, the duals grow by the time that passes: it is what the matching gains in weight.
    bool change_parity(double limit) {
        start_ = flooder_.now();
        if (arcs_.hub_arcs.empty()) return false;
        find_matched_to_hub();
        const double most = limit / flooder_.weight_of(1);
        flooder_.open_hub(most < static_cast<double>(kNever / 2) ? start_ + static_cast<Time>(most) : kNever);
        const size_t count = matched_.size();
        int32_t root = count == 1 ? matched_[0].region : -1;
        if (count % 2) {
            flooder_.occupy_hub(matched_[0].region, flooder_.path(matched_[0].next.path));
        } else {
            const int32_t hub = flooder_.add_defect(arcs_.hub);
            if (count == 0) root = hub;
            matched_.push_back({hub, Link{hub, -1, -1}});
        }
        if (root >= 0) {
            plant(root);
            flooder_.set_slope(root, 1);
        } else {
            root = flooder_.add_region();
            for (size_t k = 0; k < matched_.size(); k++) {
                const Child& child = matched_[k];
                flooder_.add_child(
                    root, {child.region, through_hub(child.next, matched_[(k + 1) % matched_.size()].next)});
            }
            plant(root);
            flooder_.wrap(root);
        }
        flooder_.look_from_hub();
        return run();
    }

    // After `change_parity`: by how much the new matching weighs more than the lightest one.
    double gained() const { return flooder_.weight_of(flooder_.now() - start_); }

    // The regions, whose `mate` is the matching.
    const Flooder& regions() const { return flooder_; }

  private:
    // Outermost regions that are matched to the hub, with their links to it.
    void find_matched_to_hub() {
        matched_.clear();
        passes_++;
        for (int32_t defect = 0; defect < defects_; defect++) {
            const int32_t top = flooder_.top(defect);
            Region& region = flooder_.region(top);
            if (region.seen == passes_) continue;
            region.seen = passes_;
            if (region.mate.to >= 0 || !arcs_.is_hub[flooder_.path(region.mate.path).edge]) continue;
            matched_.push_back({top, region.mate});
        }
    }

    // From one region to another; `path` -1 is the hub itself.
    Link through_hub(const Link& a, const Link& b) {
        if (!a) return {a.from, b.from, b.path};
        if (!b) return {a.from, b.from, a.path};
        return {a.from, b.from, flooder_.add_path({a.path, -1, b.path})};
    }

    // The root of a new tree.
    void plant(int32_t region) {
        Region& r = flooder_.region(region);
        r.label = Label::kEven, r.tree = static_cast<int32_t>(tree_first_.size()), r.next_in_tree = -1;
        r.mate = Link();
        tree_first_.push_back(region);
        trees_left_++;
    }

    void join(int32_t region, int32_t tree, Label label) {
        Region& r = flooder_.region(region);
        r.label = label, r.tree = tree;
        r.next_in_tree = tree_first_[tree], tree_first_[tree] = region;
    }

    bool run() {
        while (trees_left_ > 0) {
            const Event event = flooder_.next();
            switch (event.kind) {
                case Event::kNone: return false;
                case Event::kMeet: meet(event); break;
                case Event::kBoundary: augment(event.region, event.link); break;
                case Event::kVanish: vanish(event.region); break;
            }
            // Where two things were due at once, only this node may know of the other one.
            if (event.node >= 0) flooder_.look_at(event.node);
        }
        return true;
    }

    void meet(const Event& event) {
        int32_t a = event.region, b = event.other;
        Link link = event.link;
        if (flooder_.region(a).label != Label::kEven) std::swap(a, b), link = link.reversed();
        Region& other = flooder_.region(b);
        if (other.label == Label::kEven) {
            if (flooder_.region(a).tree == other.tree) return shrink(a, b, link);
            augment(a, link);
            augment(b, link.reversed());
        } else if (other.mate.to < 0) {
            other.mate = link.reversed();
            augment(a, link);
        } else {
            const int32_t tree = flooder_.region(a).tree, mate = flooder_.top(other.mate.to);
            other.via = link.reversed();
            join(b, tree, Label::kOdd);
            join(mate, tree, Label::kEven);
            flooder_.set_slope(b, -1);
            flooder_.set_slope(mate, 1);
        }
    }

    // Matches an even region outside its tree, and the path to the root anew; the tree is done.
    void augment(int32_t even, Link link) {
        const int32_t tree = flooder_.region(even).tree;
        while (true) {
            Region& e = flooder_.region(even);
            const Link before = e.mate;
            e.mate = link;
            if (!before) break;
            Region& odd = flooder_.region(flooder_.top(before.to));
            odd.mate = odd.via;
            even = flooder_.top(odd.via.to), link = odd.via.reversed();
        }
        // Those that grow first: less is due in a moment then.
        for (const Label label : {Label::kEven, Label::kOdd}) {
            for (int32_t k = tree_first_[tree]; k >= 0; k = flooder_.region(k).next_in_tree) {
                Region& region = flooder_.region(k);
                if (region.tree != tree || region.parent >= 0 || region.label != label) continue;
                region.label = Label::kMatched;
                flooder_.set_slope(k, 0);
            }
        }
        trees_left_--;
    }

    // The odd region above an even one in its tree, -1 at the root.
    int32_t odd_above(int32_t even) const {
        const Link& mate = flooder_.region(even).mate;
        return mate ? flooder_.top(mate.to) : -1;
    }
    int32_t even_above(int32_t odd) const { return flooder_.top(flooder_.region(odd).via.to); }

    // Makes a blossom of two even regions of a tree that meet, and what is on their ways to the root.
    void shrink(int32_t a, int32_t b, Link link) {
        passes_++;
        for (int32_t even = a; even >= 0;) {
            flooder_.region(even).seen = passes_;
            const int32_t odd = odd_above(even);
            even = odd < 0 ? -1 : even_above(odd);
        }
        down_.clear();
        int32_t stem = b;
        while (flooder_.region(stem).seen != passes_) {
            const int32_t odd = odd_above(stem);
            down_.push_back({stem, flooder_.region(stem).mate});
            down_.push_back({odd, flooder_.region(odd).via});
            stem = even_above(odd);
        }
        const int32_t blossom = flooder_.add_region();
        for (int32_t even = a; even != stem;) {
            const int32_t odd = odd_above(even);
            flooder_.add_child(blossom, {even, flooder_.region(even).mate});
            flooder_.add_child(blossom, {odd, flooder_.region(odd).via});
            even = even_above(odd);
        }
        // From the stem down to b, and from there to a.
        int32_t at = stem;
        for (size_t k = down_.size(); k-- > 0;) {
            flooder_.add_child(blossom, {at, down_[k].next.reversed()});
            at = down_[k].region;
        }
        flooder_.add_child(blossom, {at, link.reversed()});
        flooder_.region(blossom).mate = flooder_.region(stem).mate;
        join(blossom, flooder_.region(stem).tree, Label::kEven);
        flooder_.wrap(blossom);
    }

    void vanish(int32_t odd) {
        const Region& region = flooder_.region(odd);
        if (region.children) return expand(odd);
        const Link up = region.via, down = region.mate;
        const Link link{up.to, down.to, flooder_.add_path({up.path, -1, down.path})};
        shrink(flooder_.top(up.to), flooder_.top(down.to), link);
    }

    // Replaces an odd blossom by its children, of which those between its ends in the tree stay there.
    void expand(int32_t blossom) {
        const Region b = flooder_.region(blossom);
        const int32_t top = flooder_.child_around(blossom, b.via.from),
                      end = flooder_.child_around(blossom, b.mate.from);
        const int32_t size = b.children, step = (end - top + size) % size % 2 ? size - 1 : 1;
        flooder_.region(blossom).label = Label::kMatched, flooder_.region(blossom).tree = -1;
        flooder_.unwrap(blossom);
        const auto link = [&](int32_t k) {  // to the next in this direction
            return step == 1 ? flooder_.child(b, k).next
                             : flooder_.child(b, (k + step) % size).next.reversed();
        };
        const auto child = [&](int32_t k) { return flooder_.child(b, k).region; };
        int32_t at = top;
        flooder_.region(child(at)).via = b.via;
        while (at != end) {
            const int32_t even = (at + step) % size, odd = (even + step) % size;
            flooder_.region(child(at)).mate = link(at),
            flooder_.region(child(even)).mate = link(at).reversed();
            flooder_.region(child(odd)).via = link(even).reversed();
            join(child(at), b.tree, Label::kOdd);
            join(child(even), b.tree, Label::kEven);
            at = odd;
        }
        flooder_.region(child(end)).mate = b.mate;
        join(child(end), b.tree, Label::kOdd);
        for (at = (end + step) % size; at != top; at = (at + 2 * step) % size) {
            const int32_t other = (at + step) % size;
            flooder_.region(child(at)).mate = link(at),
            flooder_.region(child(other)).mate = link(at).reversed();
            for (const int32_t k : {at, other}) {
                flooder_.region(child(k)).label = Label::kMatched, flooder_.region(child(k)).tree = -1;
            }
        }
        for (int32_t k = 0; k < size; k++) {
            const Label label = flooder_.region(child(k)).label;
            flooder_.set_slope(child(k), label == Label::kEven ? 1 : label == Label::kOdd ? -1 : 0);
        }
    }

    const Arcs& arcs_;
    Flooder flooder_;
    int32_t defects_ = 0, trees_left_ = 0, passes_ = 0;
    Time start_ = 0;  // of `change_parity`
    std::vector<int32_t> tree_first_;
    std::vector<Child> down_, matched_;
};

}  // namespace matching
