// Shards: a model in one file, or in several that each hold some of the tensors.
//
//   <stem>-00001-of-00006.gguf … <stem>-00006-of-00006.gguf
//   split.no             in each part, from 0
//   split.count          in each part, the same
//   split.tensors.count  in each part, of all parts together
//
// Metadata are those of the first part; it is the one to open. Every part is mapped and parsed, and
// all must agree, before any tensor is used.
// Source: the naming and keys that gguf-split writes.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/model/gguf.h"
#include "engine/model/model_file.h"

namespace hearth::model {

struct ShardName {
    std::string stem;                    // with the folder
    std::int64_t number = 0, count = 0;  // number from 1
    std::string path_of(std::int64_t n) const;
};
// Nothing if the path is not that of a shard.
std::optional<ShardName> read_shard_name(const std::string& path);

class Shards {
  public:
    // Errors: as ModelFile::open and Gguf::parse; not_found or invalid_request, naming the part,
    // for one that is missing or belongs to another model.
    static Result<Shards> open(const std::string& path,
                               const OpenFile& open_file = MappedFile::open_regular);
    // All tensors. Requires: this object outlives it.
    const Gguf& gguf() const { return *gguf_; }
    // Of the file; of several, the SHA-256 of the parts' lower-case digests, one on a line, in
    // order.
    // Where stop becomes true before the end: empty.
    std::string sha256(const std::atomic<bool>* stop = nullptr) const;
    // Differs when a file is another, or was written to: what sha256() may be remembered by.
    std::string identity() const;
    const std::string& path() const { return files_[0].path(); }  // of the first part
    // The pages that were read are no longer counted as ours; a later touch reads them again.
    void forget_pages() const;
    // Errors: as ModelFile::unchanged.
    Status unchanged() const;

  private:
    Status open_rest(const ShardName& name, std::int64_t count, const OpenFile& open_file);
    Result<Gguf> open_part(const std::string& path, const OpenFile& open_file);

    std::vector<ModelFile> files_;
    std::vector<std::vector<std::byte>> heads_;  // copies (gguf.h)
    std::unique_ptr<Gguf> gguf_;
};

}  // namespace hearth::model
