#include "serve/keys.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/crypto.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "base/suggest.h"
#include "serve/key_token.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

std::unexpected<Error> cannot(const char* verb, const std::string& path) {
    return fail(ErrorKind::internal, format("cannot {} {}: {}", verb, path, std::strerror(errno)));
}

// A file of ours that only this user can read. Errors: not_found, or what is wrong with it.
Result<std::string> read_private(const std::string& path, std::size_t n_max) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd && errno == ENOENT) return fail(ErrorKind::not_found, path + " is not there");
    struct stat info;
    if (!fd || ::fstat(fd.get(), &info) != 0) return cannot("open", path);
    if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
        return fail(ErrorKind::invalid_request,
                    format("{} must be a file of mode 0600 that belongs to this user, so that "
                           "nobody else can make keys: chmod 600 it, or move it away",
                           path));
    if (info.st_size < 0 || std::size_t(info.st_size) > n_max)
        return fail(ErrorKind::invalid_request,
                    format("{} has {} bytes, the limit is {}", path, info.st_size, n_max));
    std::string bytes(std::size_t(info.st_size), '\0');
    std::size_t n = 0;
    while (n < bytes.size()) {
        const ssize_t got = ::read(fd.get(), bytes.data() + n, bytes.size() - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return cannot("read", path);
        if (got == 0) break;
        n += std::size_t(got);
    }
    bytes.resize(n);
    return bytes;
}

// Held until the descriptor closes.
Result<Fd> lock_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return cannot("open", path);
    constexpr std::int64_t kTurnMs = 10;
    for (std::int64_t waited_ms = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;
         waited_ms += kTurnMs) {
        if (errno != EWOULDBLOCK && errno != EINTR) return cannot("lock", path);
        if (waited_ms >= kKeysLockWaitMs)
            return fail(ErrorKind::overloaded,
                        format("another process has held {} for {} s; try again", path,
                               kKeysLockWaitMs / 1000));
        std::this_thread::sleep_for(std::chrono::milliseconds(kTurnMs));
    }
    return fd;
}

Result<User*> find_user(KeyFile& file, const std::string& name) {
    std::vector<std::string> names;
    for (User& user : file.users) {
        if (user.name == name) return &user;
        names.push_back(user.name);
    }
    return fail(ErrorKind::not_found, not_found_text("user", name, names));
}

Result<Role> role_named(const std::string& name) {
    if (const auto role = role_from(name)) return *role;
    return fail(ErrorKind::invalid_request,
                format("{} is no role; user, operator, auditor or admin", shown_name(name)));
}

// A key of a user is at most what the user is.
Status check_owner(const KeyFile& file, const Key& key) {
    if (key.owner.empty()) return {};
    const User* owner = file.find_user(key.owner);
    if (!owner)
        return fail(ErrorKind::not_found,
                    format("there is no user {}; `hearth users add {}` makes one",
                           shown_name(key.owner), shown_name(key.owner)));
    if (key.role && !may_hold(owner->role, *key.role))
        return fail(ErrorKind::forbidden_by_policy,
                    format("{} is {}, and may not hold a key of the role {}; see `hearth users "
                           "role`",
                           shown_name(key.owner), name_of(owner->role), name_of(*key.role)));
    return {};
}

Result<Key*> find(KeyFile& file, std::string_view wanted) {
    HEARTH_TRY(const Key* key, find_key(file, wanted));
    return &file.keys[std::size_t(key - file.keys.data())];
}

constexpr const char* kHowToGetOne =
    "; send a key as `Authorization: Bearer hk-…`; `hearth keys create` makes one";

}  // namespace

// The same work for a key that does not exist as for one that does: what a guess was worth cannot
// be timed. What is wrong with the right secret is said; of a wrong one, nothing.
Result<const Key*> KeySnapshot::check(std::string_view token, std::int64_t now_s) const {
    const auto refuse = [](std::string why) {
        return fail(ErrorKind::unauthorized, std::move(why));
    };
    if (token.empty()) return refuse(format("this server needs a key{}", kHowToGetOne));
    const std::string id(id_of_token(token));
    const auto it = by_id.find(id);
    const Key* key = it == by_id.end() ? nullptr : &file.keys[it->second];
    const std::string hash = hash_of_token(secret, token);
    const KeySecret* fits = nullptr;
    static const std::string kNoHash(64, '-');
    for (std::size_t i = 0; i < 2; ++i) {
        const bool there = key && i < key->secrets.size();
        if (same_secret(there ? key->secrets[i].hash : kNoHash, hash)) fits = &key->secrets[i];
    }
    if (!fits) return refuse("this key is not known here, or was mistyped");
    if (key->revoked_s) return refuse(format("key {} was revoked", key->id));
    if (state_of(*key, now_s) == KeyState::expired)
        return refuse(format("key {} expired at {}", key->id, time_text(*key->expires_s)));
    if (fits->expires_s && now_s >= *fits->expires_s)
        return refuse(
            format("this secret of key {} was replaced, and was valid until {}; use the "
                   "new one",
                   key->id, time_text(*fits->expires_s)));
    return key;
}

Result<const Key*> find_key(const KeyFile& file, std::string_view wanted) {
    const Key* found = nullptr;
    std::vector<std::string> names;
    for (const Key& key : file.keys) {
        if (key.id == wanted) return &key;
        if (key.revoked_s) continue;
        names.push_back(key.name);
        if (key.name != wanted) continue;
        if (found)
            return fail(ErrorKind::invalid_request,
                        format("two keys are called {}; say which by its id, {} or {}",
                               shown_name(wanted), found->id, key.id));
        found = &key;
    }
    if (found) return found;
    return fail(ErrorKind::not_found, not_found_text("key", wanted, names));
}

KeyStore::KeyStore(std::string state_folder, const Clock& clock)
    : folder_(std::move(state_folder)), clock_(clock) {}

KeyStore::Seen KeyStore::look() const {
    struct stat info;
    if (::lstat(path().c_str(), &info) != 0) return {};
    const auto ns = [](const timespec& t) { return std::int64_t(t.tv_sec) * kNsPerS + t.tv_nsec; };
    return {true, info.st_dev, info.st_ino, info.st_size, ns(info.st_mtim), ns(info.st_ctim)};
}

Result<std::shared_ptr<const KeySnapshot>> KeyStore::current() {
    const std::lock_guard lock(mutex_);
    Seen seen = look();
    if (!loaded_ || seen != seen_) {
        // What was looked at before the file was read: a change in between is seen next time.
        auto loaded = load();
        if (loaded_ && !loaded) log_error("keys_unreadable", {{"error", loaded.error().message}});
        loaded_ = true;
        seen_ = seen;
        error_.reset();
        snapshot_.reset();
        if (loaded)
            snapshot_ = std::move(*loaded);
        else
            error_ = loaded.error();
    }
    if (error_) return fail(*error_);
    return snapshot_;
}

bool KeyStore::has_ended(const std::string& id) {
    const auto now = current();
    if (!now) return false;
    const auto found = (*now)->by_id.find(id);
    return found == (*now)->by_id.end() ||
           state_of((*now)->file.keys[found->second], now_s()) != KeyState::active;
}

Result<std::shared_ptr<const KeySnapshot>> KeyStore::load() const {
    auto snapshot = std::make_shared<KeySnapshot>();
    auto text = read_private(path(), kKeysFileBytesMax);
    if (!text && text.error().kind != ErrorKind::not_found) return fail(text.error());
    if (text) {
        HEARTH_TRY(snapshot->file, parse_key_file(*text));
    }
    if (!snapshot->file.keys.empty()) {
        HEARTH_TRY(snapshot->secret, store_secret(false));
    }
    for (std::size_t i = 0; i < snapshot->file.keys.size(); ++i)
        snapshot->by_id.emplace(snapshot->file.keys[i].id, i);
    snapshot->required = !snapshot->file.keys.empty();
    return snapshot;
}

Result<std::string> KeyStore::store_secret(bool may_make) const {
    auto text = read_private(secret_path(), 2 * kDigestBytes + 1);
    if (!text && text.error().kind == ErrorKind::not_found) {
        if (!may_make)
            return fail(ErrorKind::invalid_request,
                        format("{} is missing, without which no key can be checked; bring it back, "
                               "or move keys.json away and make new keys",
                               secret_path()));
        std::string secret = random_bytes(kDigestBytes);
        HEARTH_CHECK_OK(write_file(secret_path(), to_hex(secret) + "\n", 0600));
        return secret;
    }
    if (!text) return fail(text.error());
    auto secret = from_hex(std::string_view(*text).substr(0, 2 * kDigestBytes));
    if (!secret || secret->size() != kDigestBytes)
        return fail(ErrorKind::invalid_request,
                    format("{} must hold 64 hex digits; bring it back, or move it and keys.json "
                           "away and make new keys",
                           secret_path()));
    return secret;
}

Status KeyStore::edit(const std::function<Status(KeyFile&, const std::string& secret)>& change) {
    HEARTH_CHECK_OK(make_folders(folder_));
    HEARTH_TRY(const Fd lock, lock_file(folder_ + "/keys.lock"));
    HEARTH_TRY(const auto now, load());
    KeyFile file = now->file;
    HEARTH_TRY(const std::string secret, store_secret(file.keys.empty()));
    HEARTH_CHECK_OK(change(file, secret));
    ++file.changes;
    return write_file(path(), to_text(file), 0600);
}

Result<IssuedKey> KeyStore::create(const KeyWish& wish) {
    HEARTH_TRY(Key key, key_of(wish, now_s()));
    IssuedKey issued;
    const Status done = edit([&](KeyFile& file, const std::string& secret) -> Status {
        HEARTH_CHECK_OK(check_owner(file, key));
        if (std::int64_t(file.keys.size()) >= kKeysMax)
            return fail(
                ErrorKind::overloaded,
                format("there are {} keys, revoked ones included, which is the limit", kKeysMax));
        NewToken token = new_token();
        while (file.find_key(token.id)) token = new_token();
        key.id = token.id;
        if (key.name.empty()) key.name = key.id;
        key.secrets = {{hash_of_token(secret, token.token.reveal()), now_s()}};
        file.keys.push_back(key);
        issued = {key, std::move(token.token)};
        return {};
    });
    if (!done) return fail(done.error());
    return issued;
}

Result<Key> KeyStore::revoke(std::string_view wanted) {
    Key revoked;
    const Status done = edit([&](KeyFile& file, const std::string&) -> Status {
        HEARTH_TRY(Key * key, find(file, wanted));
        if (!key->revoked_s) key->revoked_s = now_s();
        revoked = *key;
        return {};
    });
    if (!done) return fail(done.error());
    return revoked;
}

Result<IssuedKey> KeyStore::rotate(std::string_view wanted, std::int64_t overlap_s) {
    if (overlap_s < 0 || overlap_s > kKeyLifeMaxS)
        return fail(ErrorKind::invalid_request, "an overlap is between 0 and ten years");
    IssuedKey issued;
    const Status done = edit([&](KeyFile& file, const std::string& secret) -> Status {
        HEARTH_TRY(Key * key, find(file, wanted));
        if (state_of(*key, now_s()) != KeyState::active)
            return fail(ErrorKind::invalid_request,
                        format("key {} is {}; make a new one instead", key->id,
                               name_of(state_of(*key, now_s()))));
        Secret token = new_token_of(key->id);
        KeySecret old = key->secrets.empty() ? KeySecret{} : key->secrets.front();
        old.expires_s = now_s() + overlap_s;
        key->secrets = {{hash_of_token(secret, token.reveal()), now_s()}};
        if (overlap_s > 0 && !old.hash.empty()) key->secrets.push_back(std::move(old));
        issued = {*key, std::move(token)};
        return {};
    });
    if (!done) return fail(done.error());
    return issued;
}

Result<User> KeyStore::add_user(const std::string& name, const std::string& role) {
    // A name is what a key's owner may be: the same words are allowed.
    if (auto wrong = key_of({.owner = name}, now_s()); !wrong) return fail(wrong.error());
    if (name.empty()) return fail(ErrorKind::invalid_request, "a user needs a name");
    User user{.name = name, .created_s = now_s()};
    HEARTH_TRY(user.role, role_named(role.empty() ? "user" : role));
    const Status done = edit([&](KeyFile& file, const std::string&) -> Status {
        if (file.find_user(name))
            return fail(ErrorKind::invalid_request,
                        format("there is a user {} already", shown_name(name)));
        if (std::int64_t(file.users.size()) >= kUsersMax)
            return fail(ErrorKind::overloaded,
                        format("there are {} users, which is the limit", kUsersMax));
        file.users.push_back(user);
        return {};
    });
    if (!done) return fail(done.error());
    return user;
}

Result<User> KeyStore::change_role(const std::string& name, const std::string& role) {
    User changed;
    const Status done = edit([&](KeyFile& file, const std::string&) -> Status {
        HEARTH_TRY(User * user, find_user(file, name));
        HEARTH_TRY(user->role, role_named(role));
        changed = *user;
        return {};
    });
    if (!done) return fail(done.error());
    return changed;
}

Result<std::vector<Key>> KeyStore::remove_user(const std::string& name) {
    std::vector<Key> revoked;
    const Status done = edit([&](KeyFile& file, const std::string&) -> Status {
        HEARTH_TRY(User * user, find_user(file, name));
        file.users.erase(file.users.begin() + (user - file.users.data()));
        for (Key& key : file.keys) {
            if (key.owner != name || key.revoked_s) continue;
            key.revoked_s = now_s();
            revoked.push_back(key);
        }
        return {};
    });
    if (!done) return fail(done.error());
    return revoked;
}

}  // namespace hearth::serve
