// ModelFile: one file of a model, mapped read-only, and what happens when it changes under the map.
//
// A map shows the file as it is, not as it was: whoever writes into the file changes our weights,
// and whoever shortens it takes pages away, so that the next touch raises SIGBUS. Three things
// follow:
//
// - Nothing that decides where we read or write comes from the map: Model reads header, metadata
//   and tensor table from a copy (gguf.h, head_bytes). What stays in the map is weights, and
//   kernels take any bits for numbers.
// - unchanged() compares size and time of change with those at open(). Model asks after loading,
//   and others may at any time.
// - SIGBUS inside the map of a model ends the process with exit code 1 and a message that names the
//   file. There is nothing to go on with: the weights are gone in the middle of a kernel. A SIGBUS
//   elsewhere goes to whoever handled it before.
//
// Replacing a model by renaming a new file onto it is safe: the map keeps the old one.
//
// Thread: open and close from any; the handler runs in the thread that touched the page.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/file.h"
#include "base/result.h"

namespace hearth::model {

class ModelFile {
  public:
    // Errors: as MappedFile::open.
    static Result<ModelFile> open(const std::string& path);
    ModelFile() = default;
    ModelFile(ModelFile&& other) noexcept;
    ModelFile& operator=(ModelFile&& other) noexcept;
    ~ModelFile();

    std::span<const std::byte> bytes() const { return map_.bytes(); }
    const std::string& path() const { return path_; }
    // Errors: invalid_request, naming the file.
    Status unchanged() const;

  private:
    struct Stamp {
        std::int64_t size = 0, changed_s = 0, changed_ns = 0;
        bool operator==(const Stamp&) const = default;
    };
    static Result<Stamp> stamp_of(const Fd& fd, const std::string& path);

    std::string path_;
    Fd fd_;
    Stamp stamp_;
    MappedFile map_;
    int guard_ = -1;  // place in the table that the handler reads
};

}  // namespace hearth::model
