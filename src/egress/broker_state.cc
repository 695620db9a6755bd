#include "egress/broker_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <nlohmann/json.hpp>

#include "audit/receipt.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/log.h"
#include "egress/limits.h"
#include "egress/message.h"

namespace hearth::egress {
namespace {

constexpr std::string_view kDigestDomain = "hearth-payload-digest-v1";

std::unexpected<Error> broken(const std::string& what, const std::string& path, int error) {
    return fail(ErrorKind::internal,
                errno_text(format("the egress broker cannot {} {}", what, path), error));
}

// Beside the path, then renamed over it.
Status replace_file(const std::string& path, std::string_view bytes, bool sync) {
    const std::string beside = path + random_id(".new-");
    const Fd fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return broken("create", beside, errno);
    const bool ok = ::write(fd.get(), bytes.data(), bytes.size()) == ssize_t(bytes.size()) &&
                    (!sync || ::fdatasync(fd.get()) == 0) &&
                    ::rename(beside.c_str(), path.c_str()) == 0;
    if (ok && sync) {
        // A name is safe against power loss when its folder is.
        const std::string parent = path.substr(0, path.rfind('/') + 1);
        const Fd folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!folder || ::fsync(folder.get()) != 0) return broken("sync", parent, errno);
    }
    if (ok) return {};
    const int error = errno;
    ::unlink(beside.c_str());
    return broken("write", path, error);
}

// Makes the key where there is none. Of two brokers that start at the same time one makes it.
Result<std::string> read_or_make_keys(const std::string& folder) {
    const std::string path = folder + "/key";
    if (::access(path.c_str(), F_OK) != 0) {
        const std::string fresh = path + random_id(".new-");
        HEARTH_CHECK_OK(replace_file(fresh, random_bytes(2 * kSeedBytes), true));
        const bool linked = ::link(fresh.c_str(), path.c_str()) == 0 || errno == EEXIST;
        const int error = errno;
        ::unlink(fresh.c_str());
        if (!linked) return broken("make the key", path, error);
    }
    HEARTH_TRY(std::string keys, read_file(path, 4096));
    if (keys.size() != 2 * kSeedBytes)
        return fail(ErrorKind::internal,
                    format("the egress broker's key {} has {} bytes, expected {}; restore it from "
                           "a copy, or move it away to begin with a new one",
                           path, keys.size(), 2 * kSeedBytes));
    return keys;
}

// Waits a bounded time: whoever holds it holds it for a file's replacement, unless it was stopped.
Result<Fd> lock_folder(const std::string& folder) {
    const std::string path = folder + "/lock";
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return broken("open", path, errno);
    for (std::int64_t waited_ms = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++waited_ms) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || waited_ms > kBrokerLockMs)
            return broken("lock", path, errno);
        const timespec pause{0, 1'000'000};
        ::nanosleep(&pause, nullptr);
    }
    return fd;
}

void write_counts(JsonWriter& w, const ConnectionCounts& c) {
    w.begin_object().field("n_opened", c.n_opened).field("n_closed", c.n_closed);
    w.field("bytes_out", c.bytes_out).field("bytes_in", c.bytes_in);
    w.field("wire_bytes_out", c.wire_bytes_out).field("wire_bytes_in", c.wire_bytes_in);
    w.end_object();
}

Result<std::int64_t> number_at(const Json& json, const char* name) {
    const auto it = json.is_object() ? json.find(name) : json.end();
    if (!json.is_object() || it == json.end() || !it->is_number_integer())
        return fail(ErrorKind::invalid_request, format("{} is missing or no whole number", name));
    return it->get<std::int64_t>();
}

Result<ConnectionCounts> read_counts(const Json& json) {
    ConnectionCounts c;
    HEARTH_TRY(c.n_opened, number_at(json, "n_opened"));
    HEARTH_TRY(c.n_closed, number_at(json, "n_closed"));
    HEARTH_TRY(c.bytes_out, number_at(json, "bytes_out"));
    HEARTH_TRY(c.bytes_in, number_at(json, "bytes_in"));
    HEARTH_TRY(c.wire_bytes_out, number_at(json, "wire_bytes_out"));
    HEARTH_TRY(c.wire_bytes_in, number_at(json, "wire_bytes_in"));
    return c;
}

const Json& member(const Json& json, const char* name) {
    static const Json kNone;
    const auto it = json.find(name);
    return it == json.end() ? kNone : *it;
}

void keep_bounded(BrokerCounters& counters) {
    while (counters.days.size() > kCounterDaysMax) counters.days.erase(counters.days.begin());
    auto& all = counters.checkpoints;
    while (all.size() > kCheckpointsKeptMax)
        all.erase(std::ranges::min_element(all, {}, [](const auto& c) { return c.counter; }));
}

}  // namespace

ConnectionCounts& ConnectionCounts::operator+=(const ConnectionCounts& other) {
    n_opened += other.n_opened;
    n_closed += other.n_closed;
    bytes_out += other.bytes_out;
    bytes_in += other.bytes_in;
    wire_bytes_out += other.wire_bytes_out;
    wire_bytes_in += other.wire_bytes_in;
    return *this;
}

std::string day_of(std::int64_t wall_ns) {
    return rfc3339(wall_ns).substr(0, 10);
}

std::string to_json(const BrokerCounters& counters) {
    JsonWriter w;
    w.begin_object().field("v", 1).field("public_key", to_hex(counters.public_key));
    w.field("since_wall_ns", counters.since_wall_ns).field("last_number", counters.last_number);
    w.field("n_signed", counters.n_signed).field("n_damaged", counters.n_damaged);
    write_counts(w.key("total"), counters.total);
    w.key("days").begin_object();
    for (const auto& [day, counts] : counters.days) write_counts(w.key(day), counts);
    w.end_object().key("checkpoints").begin_array();
    for (const auto& checkpoint : counters.checkpoints) w.raw(audit::to_json(checkpoint));
    w.end_array().end_object();
    return w.take() + "\n";
}

Result<BrokerCounters> parse_counters(std::string_view text) {
    HEARTH_TRY(const Json json, parse_json(text));
    BrokerCounters counters;
    HEARTH_TRY(const std::int64_t version, number_at(json, "v"));
    const Json& key = member(json, "public_key");
    const Json& days = member(json, "days");
    const Json& checkpoints = member(json, "checkpoints");
    if (version != 1 || !key.is_string() || !days.is_object() || !checkpoints.is_array())
        return fail(ErrorKind::invalid_request, "not the broker's counters of version 1");
    HEARTH_TRY(counters.public_key, from_hex(key.get_ref<const std::string&>()));
    HEARTH_TRY(counters.since_wall_ns, number_at(json, "since_wall_ns"));
    HEARTH_TRY(counters.last_number, number_at(json, "last_number"));
    HEARTH_TRY(counters.n_signed, number_at(json, "n_signed"));
    HEARTH_TRY(counters.n_damaged, number_at(json, "n_damaged"));
    HEARTH_TRY(counters.total, read_counts(member(json, "total")));
    for (const auto& [day, counts] : days.items()) {
        HEARTH_TRY(counters.days[day], read_counts(counts));
    }
    for (const Json& line : checkpoints) {
        HEARTH_TRY(auto checkpoint, audit::parse_checkpoint(hearth::to_text(line)));
        counters.checkpoints.push_back(std::move(checkpoint));
    }
    return counters;
}

Result<BrokerCounters> read_counters(const std::string& folder) {
    HEARTH_TRY(const std::string text, read_file(folder + "/counters.json", kCounterBytesMax));
    return parse_counters(text);
}

BrokerState::BrokerState(std::string folder, std::string_view keys)
    : folder_(std::move(folder)),
      signer_(keys.substr(0, kSeedBytes)),
      digest_key_(keys.substr(kSeedBytes)) {
    memory_.public_key = public_key();
    memory_.since_wall_ns = system_clock().wall_ns();
}

Result<BrokerState> BrokerState::open(const std::string& folder) {
    if (folder.empty()) return BrokerState("", random_bytes(2 * kSeedBytes));
    HEARTH_CHECK_OK(make_folders(folder));
    // Also of one that a person made beforehand.
    if (::chmod(folder.c_str(), 0700) != 0) return broken("close to others", folder, errno);
    HEARTH_TRY(const std::string keys, read_or_make_keys(folder));
    BrokerState state(folder, keys);
    if (::access((folder + "/public.pem").c_str(), F_OK) != 0)
        HEARTH_CHECK_OK(
            replace_file(folder + "/public.pem", public_key_pem(state.public_key()), true));
    return state;
}

// Requires: the folder's lock is held.
Result<BrokerCounters> BrokerState::load() {
    const std::string path = folder_ + "/counters.json";
    auto text = read_file(path, kCounterBytesMax);
    BrokerCounters fresh;
    fresh.public_key = public_key();
    fresh.since_wall_ns = system_clock().wall_ns();
    if (!text && text.error().kind == ErrorKind::not_found) return fresh;
    auto counters = text ? parse_counters(*text) : std::unexpected(text.error());
    // Under another key the numbers begin anew too: the old file tells of receipts of the old key.
    if (counters && counters->public_key == public_key()) return counters;
    const std::string aside =
        format("{}/counters.damaged-{}.json", folder_, system_clock().wall_ns());
    log_error(
        "egress_counters_set_aside",
        {{"to", aside}, {"why", counters ? "another key wrote them" : counters.error().message}});
    if (::rename(path.c_str(), aside.c_str()) != 0) return broken("set aside", path, errno);
    fresh.n_damaged = (counters ? counters->n_damaged : 0) + 1;
    return fresh;
}

template <class Change>
Status BrokerState::change(bool sync, Change&& change) {
    if (folder_.empty()) return change(memory_);
    HEARTH_TRY(const Fd lock, lock_folder(folder_));
    HEARTH_TRY(BrokerCounters counters, load());
    HEARTH_CHECK_OK(change(counters));
    keep_bounded(counters);
    return replace_file(folder_ + "/counters.json", to_json(counters), sync);
}

Result<std::int64_t> BrokerState::begin(bool connects, std::int64_t wall_ns) {
    std::int64_t number = 0;
    HEARTH_CHECK_OK(change(false, [&](BrokerCounters& counters) -> Status {
        number = ++counters.last_number;
        counters.total.n_opened += connects ? 1 : 0;
        if (connects) counters.days[day_of(wall_ns)].n_opened += 1;
        return {};
    }));
    return number;
}

void BrokerState::end(Receipt& receipt, bool connects, const std::string& sha256_out) {
    if (receipt.bytes_out > 0)
        receipt.digest_out =
            to_hex(hmac_sha256(digest_key_, CanonicalForm(kDigestDomain).text(sha256_out).bytes()));
    audit::sign(signer_, receipt);
    if (!connects) return;
    const ConnectionCounts before = unsaved_;
    unsaved_ += {.n_closed = 1,
                 .bytes_out = receipt.bytes_out,
                 .bytes_in = receipt.bytes_in,
                 .wire_bytes_out = receipt.wire_bytes_out,
                 .wire_bytes_in = receipt.wire_bytes_in};
    const Status saved = change(false, [&](BrokerCounters& counters) -> Status {
        counters.total += unsaved_;
        counters.days[day_of(receipt.closed_wall_ns)] += unsaved_;
        return {};
    });
    if (saved)
        unsaved_ = {};
    else
        log_error("egress_counters",
                  {{"error", saved.error().message}, {"n_unsaved", before.n_closed + 1}});
}

Result<audit::SignedCheckpoint> BrokerState::sign(const audit::CheckpointRequest& request,
                                                  std::int64_t n_connections) {
    HEARTH_CHECK_OK(audit::check_request(request));
    audit::SignedCheckpoint out;
    HEARTH_CHECK_OK(change(true, [&](BrokerCounters& counters) -> Status {
        auto& all = counters.checkpoints;
        const auto last = std::ranges::find_if(all, [&](const auto& c) {
            return c.request.slot == request.slot && c.request.chain == request.chain;
        });
        if (last != all.end() && request.seq <= last->request.seq)
            return fail(ErrorKind::forbidden_by_policy,
                        format("the broker has signed {} up to entry {} and signs nothing that "
                               "ends at {}: a journal only grows",
                               request.slot, last->request.seq, request.seq));
        out = audit::sign(signer_, request, n_connections, ++counters.n_signed);
        if (last != all.end()) all.erase(last);
        all.push_back(out);
        return {};
    }));
    return out;
}

}  // namespace hearth::egress
