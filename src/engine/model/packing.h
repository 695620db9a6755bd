// Packing: brings a loaded model's packed form (packed_file.h) to the device. Where the form is not
// there yet it is made on a thread of lowest priority while the model already answers from its
// file, and taken over between two steps: results have the same bits before and after. A form that
// was there is read whole by that thread; if its bytes are not those that were written, the model
// answers from its file again and a new form is made.
//
// Thread: construction: whoever loads, before there are steps. adopt(): the engine's. The worker
// only reads the model and the form, and writes the file.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include "engine/model/device.h"
#include "engine/model/packed_file.h"
#include "engine/model/shards.h"

namespace hearth::model {

class Packing {
  public:
    // Takes the form over if it is there. folder empty: never packs. Requires: shards and device
    // outlive this object.
    Packing(std::string folder, const Shards& shards, Device& device);
    ~Packing();  // stops the worker
    Packing(const Packing&) = delete;

    // Between steps. Costs two loads of atomics while there is nothing to take over.
    void adopt();
    // Waits until nothing is checked or made any more; adopt() then takes it over. Any thread, one
    // at a time.
    void settle();
    // Errors: as ModelFile::unchanged, of the form in use.
    Status unchanged() const { return in_use_ ? in_use_->unchanged() : Status(); }

  private:
    void work();
    void use(PackedFile file);

    const std::string folder_;
    const Shards& shards_;
    Device& device_;
    std::optional<PackedFile> in_use_;  // engine thread; read by the worker until is_damaged_
    std::optional<PackedFile> made_;    // the worker's until is_made_, then the engine thread's
    std::atomic<bool> is_damaged_{false}, is_made_{false}, stop_{false};
    std::thread worker_;
};

}  // namespace hearth::model
