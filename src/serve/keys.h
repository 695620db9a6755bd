// KeyStore: the keys of this machine, in the state folder.
//
//   keys.json     what is known of each key (key_file.h), 0600, replaced as a whole
//   keys.secret   what their hashes are keyed with, 0600, made once
//   keys.lock     flock'ed by whoever changes them
//
// A running server looks at keys.json's inode, size and times at the head of every request, so that
// a revoked key is refused at once, whoever revoked it. Where the file cannot be read or is wrong,
// nobody is let in; and once keys were seen, nobody without one, even if the file goes.
//
// Thread: any; one mutex, held while a changed file is read (a request's head waits for that).
#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/secret.h"
#include "serve/key_file.h"

namespace hearth::serve {

// The keys at one moment; never changes.
struct KeySnapshot {
    KeyFile file;
    std::string secret;                                       // what hashes are keyed with
    std::unordered_map<std::string, std::size_t> by_id = {};  // into file.keys
    bool required = false;                                    // keys exist, or did
    // Errors: unauthorized, in words that say what is wrong with the token and nothing else.
    Result<const Key*> check(std::string_view token, std::int64_t now_s) const;
};

// What making or rotating a key shows once.
struct IssuedKey {
    Key key;
    Secret token;
};

// An id, or a name that only one key has which is not revoked. Errors: not_found; invalid_request
// where two keys have it.
Result<const Key*> find_key(const KeyFile& file, std::string_view wanted);

class KeyStore {
  public:
    explicit KeyStore(std::string state_folder, const Clock& clock = system_clock());

    // Errors: what is wrong with the file, or who else can read it. Then nobody may be let in.
    Result<std::shared_ptr<const KeySnapshot>> current();
    // It was revoked, has expired, or is not in the file any more. False while nobody can say.
    bool has_ended(const std::string& id);

    // Changes; each is on disk when it returns. Errors: invalid_request, not_found, overloaded
    // where another process holds the lock for too long.
    Result<IssuedKey> create(const KeyWish& wish);
    // key: an id, or a name that only one key has which is not revoked.
    Result<Key> revoke(std::string_view key);
    // The old secret stays valid for overlap_s.
    Result<IssuedKey> rotate(std::string_view key, std::int64_t overlap_s);
    Result<User> add_user(const std::string& name, const std::string& role);
    Result<User> change_role(const std::string& name, const std::string& role);
    // Revokes the user's keys too, and returns these.
    Result<std::vector<Key>> remove_user(const std::string& name);

    std::string usage_path() const { return folder_ + "/usage.jsonl"; }
    std::int64_t now_s() const { return clock_.wall_ns() / kNsPerS; }

  private:
    struct Seen {  // what tells one state of the file from another
        bool exists = false;
        dev_t device = 0;
        ino_t inode = 0;
        off_t size = 0;
        std::int64_t modified_ns = 0, changed_ns = 0;
        friend bool operator==(const Seen&, const Seen&) = default;
    };
    std::string path() const { return folder_ + "/keys.json"; }
    std::string secret_path() const { return folder_ + "/keys.secret"; }
    Seen look() const;
    Result<std::shared_ptr<const KeySnapshot>> load() const;
    Result<std::string> store_secret(bool may_make) const;
    Status edit(const std::function<Status(KeyFile&, const std::string& secret)>& change);

    const std::string folder_;
    const Clock& clock_;
    std::mutex mutex_;  // guards all below
    Seen seen_;
    bool loaded_ = false;
    std::shared_ptr<const KeySnapshot> snapshot_;
    std::optional<Error> error_;
};

}  // namespace hearth::serve
