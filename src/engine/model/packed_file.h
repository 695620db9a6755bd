// PackedFile: a model's matrices in the form that the device multiplies with fastest, kept in a
// file, so that they are turned once and not in every step, and exist once in memory for all
// processes.
//
//   <folder>/<digest of the model>.packed    header, then the form
//   <folder>/<identity>.of                   the digest of the files with this identity
//
// The digest is SHA-256 over all of a model, which takes a second for each GB; the identity is that
// of its files' device, inode, size and times, and finds the digest without reading them. The form
// is that of each multiplied matrix in the order of the tensor table, each at a multiple of 64
// bytes. The header is text, so that people can see what they would remove:
//
//   hearth packed weights, form 3
//   model <digest>
//   bytes <of the whole file>
//   sha256 <digest of what follows the header>
//   from <absolute path>
//
// and zeros up to 4096 bytes.
//
// A file is written beside its place, synced and renamed: it is whole or not there. find() still
// compares the first and the last group of every matrix with the model, and takes nothing that is
// of other bytes; check() reads it whole. Removing the folder is safe at any time. Packed forms of models whose file is
// gone are removed when another is written.
//
// Thread: any; the device's pack() is.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "engine/model/device.h"
#include "engine/model/model_file.h"
#include "engine/model/shards.h"

namespace hearth::model {

class PackedFile {
  public:
    // The form that is there already; nothing where there is none or it is not this model's.
    static std::optional<PackedFile> find(const std::string& folder, const Shards& shards,
                                          const Device& device);
    // What is left on the disk: it serves others too.
    static constexpr std::size_t kDiskLeftBytes = std::size_t(2) << 30;
    // Makes it, or only notes the identity where the form of equal files is there. stop is looked
    // at every few MB. Errors: cancelled; does_not_fit for a disk with fewer than n_left bytes
    // after it; invalid_request if the model changed meanwhile or its path has more than 3,900
    // bytes; internal, naming the file, for a disk that refuses.
    static Status make(const std::string& folder, const Shards& shards, const Device& device,
                       const std::atomic<bool>& stop, std::size_t n_left = kDiskLeftBytes);
    // Bytes of the model's form; 0: nothing in it can be packed.
    static std::size_t bytes_of(const Gguf& gguf, const Device& device);

    // Tells the device. Requires: this object outlives the device's steps, or take_back() is called
    // between two of them.
    void give(const Gguf& gguf, Device& device) const;
    static void take_back(const Gguf& gguf, Device& device);
    // Are all bytes those that were written? Reads the file; stop as in make(). Errors: cancelled;
    // invalid_request, naming the file, if they are not.
    Status check(const std::atomic<bool>& stop) const;
    // Errors: as ModelFile::unchanged.
    Status unchanged() const { return file_.unchanged(); }

  private:
    explicit PackedFile(ModelFile file) : file_(std::move(file)) {}
    bool is_of(const Gguf& gguf, const Device& device) const;
    ModelFile file_;
    std::string digest_;  // as the header has it
};

}  // namespace hearth::model
