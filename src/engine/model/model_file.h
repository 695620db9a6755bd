// ModelFile: one file of a model, mapped read-only, and what happens when it changes under the map.
//
// A map shows the file as it is, not as it was: whoever writes into the file changes our weights,
// and whoever shortens it takes pages away, so that the next touch raises SIGBUS. Three things
// follow:
//
// - Nothing that decides where we read or write comes from the map: Shards reads header, metadata
//   and tensor table from a copy (gguf.h, head_bytes). What stays in the map is weights, and
//   kernels take any bits for numbers.
// - A page that is gone becomes a page of zeros, and the kernel that touched it goes on. A SIGBUS
//   outside the maps of models goes to whoever handled it before.
// - unchanged() says whether the file lost pages, and whether its size and time of change are those
//   of open(). Model asks after loading, the engine after each step: what was computed from other
//   weights is not handed out.
//
// Replacing a model by renaming a new file onto it is safe: the map keeps the old one.
//
// Thread: open and close from any; the handler runs in the thread that touched the page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/file.h"
#include "base/result.h"

namespace hearth::model {

class ModelFile {
  public:
    // Errors: as open_file's and MappedFile::of's.
    static Result<ModelFile> open(const std::string& path,
                                  const OpenFile& open_file = MappedFile::open_regular);
    ModelFile() = default;
    ModelFile(ModelFile&& other) noexcept;
    ModelFile& operator=(ModelFile&& other) noexcept;
    ~ModelFile();

    std::span<const std::byte> bytes() const { return map_.bytes(); }
    const std::string& path() const { return path_; }
    // Costs an fstat. Errors: invalid_request, naming the file.
    Status unchanged() const;
    // Of the file and its state at open(): device, inode, size, times of change. Another text for
    // the same bytes is possible, the same text for others is not meant to be.
    std::string identity() const;
    // Advice: pages read so far are not needed again soon.
    void forget_pages() const;

  private:
    // What fstat says. The inode changes with a rename too, and nobody can set that time.
    struct Stamp {
        std::uint64_t device = 0, inode = 0;
        std::int64_t size = 0, changed_s = 0, changed_ns = 0;
        std::int64_t inode_changed_s = 0, inode_changed_ns = 0;
        bool same_bytes(const Stamp& o) const {
            return size == o.size && changed_s == o.changed_s && changed_ns == o.changed_ns;
        }
    };
    static Result<Stamp> stamp_of(const Fd& fd, const std::string& path);

    std::string path_;
    Fd fd_;
    Stamp stamp_;
    MappedFile map_;
    int guard_ = -1;  // place in the table that the handler reads
};

}  // namespace hearth::model
