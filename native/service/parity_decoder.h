// A decoder that corrects nothing: for tests of the data plane, and measurements of it alone.
#pragma once

#include <algorithm>

#include "service/row_decoder.h"
#include "service/shape.h"

namespace qecpipe::service {

// Commits, every `commit` rounds and at the end of a shot, the XOR of all bytes of the shot's rows so far, in
// as many bytes as there are observables for; what it commits tells which rows it was given.
//
// refuse: a round whose first byte is this is refused, except -1. block: before every so many rounds it has
// to be resumed, except 0. gap: a shot's gap is half its last byte, where that is not 0.
class ParityDecoder : public RowDecoder {
  public:
    ParityDecoder(Shape shape, ModelId model, int refuse, uint64_t block, bool gap)
        : shape_(std::move(shape)), model_(model), refuse_(refuse), block_(block), gap_(gap) {}

    // The model that `adopt` takes over.
    void prepare(ModelId model) { prepared_ = model; }

    void open(uint32_t) override { parity_ = 0, resumed_ = false; }

    Progress push(uint64_t sequence, const uint8_t* rows, const uint8_t* erased, uint64_t count,
                  Outcomes& out) override {
        for (uint64_t k = 0; k < count; k++) {
            const size_t size = packed_bytes(shape_.bits(sequence + k));
            if (block_ > 0 && (sequence + k) % block_ == block_ - 1 && !std::exchange(resumed_, false)) {
                return blocked(sequence + k, {rows, rows + size}, k);
            }
            if (refuse_ >= 0 && size > 0 && rows[0] == refuse_ && !(erased != nullptr && erased[k])) {
                return {Decoded::kRefused, k};
            }
            take(rows, size);
            rows += size;
            const uint64_t upto = sequence + k + 1;
            if (upto % shape_.commit() == 0) commit(upto, sequence + k, out);
        }
        return {Decoded::kDone, count};
    }

    Progress finish(uint64_t sequence, const uint8_t* row, Outcomes& out) override {
        take(row, packed_bytes(shape_.bits(sequence)));
        commit(shape_.rounds(), sequence, out);
        commit(shape_.rounds(), sequence, out);
        if (gap_ && parity_ != 0) out.gap = parity_ / 2.0f;
        return {Decoded::kDone, 1};
    }

    Progress resume(Outcomes& out) override {
        resumed_ = true;
        return push(blocked_at_, blocked_row_.data(), nullptr, 1, out);
    }

    const std::string& reason() const override { return reason_; }
    void adopt(uint64_t) override { model_ = prepared_; }
    ModelId model() const override { return model_; }

  private:
    Progress blocked(uint64_t sequence, Bytes row, uint64_t rows) {
        blocked_at_ = sequence, blocked_row_ = std::move(row);
        return {Decoded::kBlocked, rows};
    }

    void take(const uint8_t* row, size_t size) {
        for (size_t k = 0; k < size; k++) parity_ ^= row[k];
    }

    void commit(uint64_t upto, uint64_t after, Outcomes& out) {
        out.items.push_back({upto, after, model_, 0});
        out.flips.insert(out.flips.end(), shape_.observable_bytes(), parity_);
    }

    const Shape shape_;
    ModelId model_, prepared_{};
    const int refuse_;
    const uint64_t block_;
    const bool gap_;
    const std::string reason_ = "refused";
    uint8_t parity_ = 0;
    bool resumed_ = false;
    uint64_t blocked_at_ = 0;
    Bytes blocked_row_;
};

}  // namespace qecpipe::service
