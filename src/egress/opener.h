// Opener: a small process that opens model files for the main process, which may not open them.
//
//   main ── path ──▶ opener        one packet, the path as it is
//   main ◀── descriptor ── opener  read-only, of a regular file; or why there is none
//
// So the process that reads prompts and requests can read a model that it was started with, and no
// other file of the folders that models lie in. The opener decides by the path alone:
//
//   <models folder>/<name>.gguf     any name, also of files that came later, and links to models
//   a file it was started with      by the same text, also when another file took its place
//
// It is confined like the main process: no network, no programs, nothing written, and it can read
// only the folders of those files.
//
// Thread: start() before the sandbox; open() from any, one at a time.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "egress/child.h"

namespace hearth::egress {

struct OpenerRules {
    std::string folder = {};              // of models
    std::vector<std::string> files = {};  // besides
};
// Whether these rules open it. Source of what is a name: store::Store.
bool may_open(const OpenerRules& rules, const std::string& path);

class Opener {
  public:
    // Errors: internal.
    static Result<std::unique_ptr<Opener>> start(const OpenerRules& rules);
    ~Opener() { end_child(child_); }

    // Errors: as MappedFile::open_regular; forbidden_by_policy for a path off the rules; internal
    // where the process is gone.
    Result<Fd> open(const std::string& path);
    int pid() const { return child_.pid; }

  private:
    explicit Opener(Child child) : child_(std::move(child)) {}
    Child child_;
    std::mutex mutex_;  // one question and its answer
};

inline constexpr const char* kOpenerTask = "model-opener";
// The child's whole life. arguments: as start() gave them. Returns the exit code.
int opener_main(int channel, const std::vector<std::string>& arguments);

}  // namespace hearth::egress
