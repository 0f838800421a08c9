// A decoder written in Python, for the data plane.
#pragma once

#include <nanobind/nanobind.h>

#include "service/row_decoder.h"
#include "service/shape.h"

namespace qecpipe::bindings {

// Calls a Python object row by row, with the interpreter's lock: as `RoundDecoder` of decoder_service.server.
class PythonDecoder : public service::RowDecoder {
  public:
    // final_bits and layers: of the shape of its stream.
    PythonDecoder(nanobind::object decoder, service::Shape shape);
    ~PythonDecoder() override;

    void open(uint32_t epoch) override;
    service::Progress push(uint64_t sequence, const uint8_t* rows, const uint8_t* erased, uint64_t count,
                           service::Outcomes& out) override;
    service::Progress finish(uint64_t sequence, const uint8_t* row, service::Outcomes& out) override;
    service::Progress resume(service::Outcomes& out) override;
    const std::string& reason() const override { return reason_; }
    void adopt(uint64_t at_round) override;
    service::ModelId model() const override { return model_; }

    // What `adopt` hands to the decoder.
    void prepare(nanobind::object prepared) { prepared_ = std::move(prepared); }

  private:
    void take(const nanobind::object& outcomes, uint64_t sequence, service::Outcomes& out);
    bool refused(nanobind::python_error& error);
    void read_model();

    nanobind::object decoder_, prepared_;
    const service::Shape shape_;
    service::ModelId model_{};
    std::string reason_;
};

}  // namespace qecpipe::bindings
