// Store: from the MODEL that a user writes to the bytes of a model.
//
//   demo                  a model that the program carries
//   PATH or FILE.gguf     a file: whatever holds a '/' or ends in .gguf
//   NAME                  <models folder>/NAME.gguf
//
// A name has 1..128 of [A-Za-z0-9._:-] and begins with a letter or digit, so that it is one file of
// the folder and nothing else. Nothing here opens a model: sizes and kinds come from stat(2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "engine/model/model.h"

namespace hearth::store {

// A model inside the executable; its bytes live as long as the program.
struct BuiltinModel {
    std::string name;
    std::span<const std::byte> bytes;
};

struct ModelEntry {
    std::string name;
    std::string path;  // empty: built in
    std::int64_t size_bytes = 0;
};

class Store {
  public:
    // open_file: how the bytes of what it resolves are reached.
    Store(std::string models_folder, std::vector<BuiltinModel> builtins,
          OpenFile open_file = MappedFile::open_regular)
        : folder_(std::move(models_folder)),
          builtins_(std::move(builtins)),
          open_file_(std::move(open_file)) {}

    // Errors: not_found with the names that are close and there; invalid_request for a name that
    // can be no model, and for what is no regular file.
    Result<model::ModelSource> resolve(const std::string& model) const;
    // Built-in models, then the folder's by name. A folder that is not there has none.
    Result<std::vector<ModelEntry>> list() const;

  private:
    Result<model::ModelSource> resolve_path(const std::string& path) const;
    Result<model::ModelSource> not_found(const std::string& model) const;

    const std::string folder_;
    const std::vector<BuiltinModel> builtins_;
    const OpenFile open_file_;
};

bool is_model_name(std::string_view name);
// What a file is called: its last part without .gguf, with characters that no name has as '_'. A
// file called like a virtual model (auto, local, cloud) gets "-model" added.
std::string name_of_file(std::string_view path);

}  // namespace hearth::store
