#include "serve/key_watch.h"

#include <algorithm>

namespace hearth::serve {

std::vector<std::string> KeyWatch::ended() {
    const auto now = keys_.current();
    if (!now) return {};
    const std::int64_t now_s = keys_.now_s();
    if (*now == seen_ && now_s < next_expiry_s_) return {};
    std::vector<std::string> ended;
    const auto tell = [&](const std::string& id) {
        if (ended_.insert(id).second) ended.push_back(id);
    };
    next_expiry_s_ = INT64_MAX;
    for (const Key& key : (*now)->file.keys) {
        if (state_of(key, now_s) != KeyState::active)
            tell(key.id);
        else if (key.expires_s)
            next_expiry_s_ = std::min(next_expiry_s_, *key.expires_s);
    }
    if (seen_) {
        for (const Key& key : seen_->file.keys)
            if (!(*now)->by_id.contains(key.id)) tell(key.id);
    }
    seen_ = *now;
    return ended;
}

}  // namespace hearth::serve
