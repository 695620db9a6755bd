// KeyWatch: which keys ended since it was last asked, so that what is kept for them can go.
//
// Thread: one at a time; the server's tick.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "serve/keys.h"

namespace hearth::serve {

class KeyWatch {
  public:
    explicit KeyWatch(KeyStore& keys) : keys_(keys) {}
    // Ids of keys that were revoked, have expired, or are not in the file any more; each once.
    // While the file cannot be read, none: nobody is let in then.
    std::vector<std::string> ended();

  private:
    KeyStore& keys_;
    std::shared_ptr<const KeySnapshot> seen_;
    std::int64_t next_expiry_s_ = 0;         // of the keys in it
    std::unordered_set<std::string> ended_;  // told already
};

}  // namespace hearth::serve
