#include "audit/verify.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/json.h"

namespace hearth::audit {
namespace {

// A signature takes as long as a hundred entries; one that was checked confirms all before it, so
// that those in between need not be.
constexpr std::int64_t kSignatureStride = 4096;
// Entries without a checkpoint that are remembered, 96 bytes each. The writer makes one every 128,
// or as soon as its signer answers.
constexpr std::size_t kLinksMax = 1u << 20;

// Receipts that wait for a key, about 1 KiB each. Where checkpoints are signed, a key is known
// after kSignatureStride entries.
constexpr std::size_t kPendingMax = 1u << 16;

std::string text_at(const Json& json, const char* name) {
    const auto it = json.find(name);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

bool contains(const std::vector<std::string>& list, const std::string& one) {
    return std::ranges::find(list, one) != list.end();
}

// The member of an object that is {"chain","seq","mac","root"}.
std::optional<ChainState> state_at(const Json& object, const char* name) {
    const auto it = object.is_object() ? object.find(name) : object.end();
    if (it == object.end() || !it->is_object()) return std::nullopt;
    const Json& json = *it;
    ChainState state;
    const auto seq = json.find("seq");
    if (seq == json.end() || !seq->is_number_integer()) return std::nullopt;
    state.seq = seq->get<std::int64_t>();
    state.chain = text_at(json, "chain");
    if (state.seq < 0 || !digest_from_hex(text_at(json, "mac"), state.mac) ||
        !digest_from_hex(text_at(json, "root"), state.root))
        return std::nullopt;
    return state;
}

}  // namespace

ChainVerifier::ChainVerifier(const Trust& trust, std::string slot) : trust_(trust) {
    if (trust.chain_key) hmac_.emplace(*trust.chain_key);
    stretch_.slot = std::move(slot);
    for (const SignedCheckpoint& anchor : trust.anchors)
        if (anchor.request.slot == stretch_.slot) anchored_.push_back(anchor.request.seq);
    std::ranges::sort(anchored_, std::greater());
}

ChainVerifier::ChainVerifier(const Trust& trust, std::string slot, ChainState from)
    : ChainVerifier(trust, std::move(slot)) {
    begun_ = true;
    stretch_.begin = stretch_.end = std::move(from);
    stretch_.begin_has_root = stretch_.end_has_root = true;
    links_from_ = stretch_.end.seq;
    links_mac_ = stretch_.end.mac;
    links_root_ = stretch_.end.root;
    checked_seq_ = links_from_;
}

bool ChainVerifier::reject(std::int64_t seq, std::string what) {
    if (!stretch_.finding) stretch_.finding = Finding{stretch_.slot, seq, std::move(what)};
    return false;
}

bool ChainVerifier::trusted(const std::string& key) const {
    return trust_.public_keys.empty() || contains(trust_.public_keys, key);
}

// The state before the first entry: as it says itself.
bool ChainVerifier::begin(const EntryView& entry, const Digest* previous) {
    begun_ = true;
    if (entry.event == "audit.open") {
        const auto state = previous_of(entry.json);
        if (!state) return reject(entry.seq, "the entry does not say what it follows");
        if (state->seq != entry.seq - 1)
            return reject(std::max<std::int64_t>(1, std::min(entry.seq, state->seq + 1)),
                          format("entry {} says that it follows entry {}", entry.seq, state->seq));
        stretch_.end = *state;
        stretch_.end_has_root = true;
        if (state->seq == 0 && (state->mac != Digest{} || state->root != Digest{}))
            return reject(entry.seq, "the chain does not begin at zero");
    } else if (previous && entry.seq <= trust_.from_seq) {
        stretch_.end = {.chain = {}, .seq = entry.seq - 1, .mac = *previous, .root = {}};
        stretch_.partial = true;
    } else {
        // What is missing before it, or the one that cannot be where it is.
        return reject(std::max<std::int64_t>(1, std::min(entry.seq - 1, trust_.from_seq + 1)),
                      format("entry {} is the first, and is not where a chain begins", entry.seq));
    }
    stretch_.begin = stretch_.end;
    stretch_.begin_has_root = stretch_.end_has_root;
    links_from_ = stretch_.end.seq;
    links_mac_ = stretch_.end.mac;
    links_root_ = stretch_.end.root;
    checked_seq_ = links_from_;
    return true;
}

bool ChainVerifier::add(const EntryView& entry, const Digest& mac, const Digest* previous) {
    if (stretch_.finding) return false;
    const bool first = !begun_;
    if (first && !begin(entry, previous)) return false;
    ChainState& end = stretch_.end;
    if (entry.seq != end.seq + 1)
        return reject(end.seq + 1, format("entry {} follows entry {}", entry.seq, end.seq));
    if (previous && *previous != end.mac)
        return reject(entry.seq, "it does not follow the entry before it");
    Link link{.mac = mac, .leaf = leaf_of(stretch_.slot, entry, scratch_), .root = {}};
    if (hmac_ && link_mac(*hmac_, end.mac, link.leaf) != mac)
        return reject(entry.seq, "its mac does not match its content, or the chain key is another");
    if (stretch_.end_has_root) end.root = link.root = next_root(end.root, mac, link.leaf);
    end.seq = entry.seq;
    end.mac = mac;
    if (links_.size() >= kLinksMax)
        return reject(links_from_ + 1, format("no checkpoint in {} entries", kLinksMax));
    links_.push_back(link);
    while (!anchored_.empty() && anchored_.back() <= end.seq) {
        if (anchored_.back() == end.seq) stretch_.reached.push_back(end);
        anchored_.pop_back();
    }
    if (entry.seq > count_after_) {
        ++stretch_.n_records;
        stretch_.n_outcomes += entry.event == "outcome";
        // Receipts of connections that were made; others have no address.
        stretch_.n_connections += entry.event == "egress" &&
                                  entry.json.find("\"address\":\"\"") == std::string_view::npos;
        if (entry.event == "egress" && !take_receipt(entry)) return false;
    }
    return !entry.event.starts_with("audit.") || take_own(entry, first);
}

// An entry without a signature was written by the door, for what never reached the broker.
bool ChainVerifier::take_receipt(const EntryView& entry) {
    auto receipt = parse_receipt(entry.json);
    if (!receipt || (receipt->signature.empty() && receipt->number == 0))
        return ++stretch_.n_receipts_unsigned > 0;
    const bool named = !trust_.public_keys.empty();
    if (const std::string* key = key_of(*receipt, named ? trust_.public_keys : stretch_.keys)) {
        if (!verify_receipt(*receipt, *key)) return reject(entry.seq, receipt_fault(*receipt));
        return ++stretch_.n_receipts_signed > 0;
    }
    if (named)
        return reject(entry.seq, format("its receipt is signed with the key {}, which is not among "
                                        "those trusted",
                                        json_text(receipt->key_id.substr(0, 64))));
    if (stretch_.pending.size() >= kPendingMax) return ++stretch_.n_receipts_other_key > 0;
    stretch_.pending.push_back({.seq = entry.seq, .receipt = std::move(*receipt)});
    return true;
}

// After a key has become known.
void ChainVerifier::settle_receipts() {
    std::erase_if(stretch_.pending, [&](const PendingReceipt& pending) {
        const std::string* const key = key_of(pending.receipt, stretch_.keys);
        if (!key) return false;
        if (verify_receipt(pending.receipt, *key))
            ++stretch_.n_receipts_signed;
        else
            reject(pending.seq, receipt_fault(pending.receipt));
        return true;
    });
}

void ChainVerifier::mark(const EntryView& entry, Mark::Kind kind, SignedCheckpoint checkpoint) {
    if (entry.seq <= count_after_) return;
    stretch_.marks.push_back({.kind = kind,
                              .seq = entry.seq,
                              .n_outcomes = stretch_.n_outcomes,
                              .n_connections = stretch_.n_connections,
                              .checkpoint = std::move(checkpoint)});
}

bool ChainVerifier::take_own(const EntryView& entry, bool first) {
    if (entry.event == "audit.checkpoint") {
        auto checkpoint = parse_checkpoint(entry.json);
        if (!checkpoint) return reject(entry.seq, checkpoint.error().message);
        if (!take_checkpoint(entry, *checkpoint)) return false;
        mark(entry, Mark::Kind::checkpoint, std::move(*checkpoint));
        return true;
    }
    if (entry.event == "audit.close") mark(entry, Mark::Kind::close);
    if (entry.event != "audit.open" && entry.event != "audit.deleted") return true;
    const Result<Json> json = parse_json(entry.json);
    if (!json || !json->is_object()) return reject(entry.seq, "the entry is no JSON object");
    if (entry.event == "audit.open") return take_open(entry, *json, first);
    if (const auto state = state_at(*json, "end")) stretch_.deleted.push_back(*state);
    return true;
}

bool ChainVerifier::take_open(const EntryView& entry, const Json& json, bool first) {
    // A file that goes on where another was full belongs to the same run of the writer.
    if (!json.contains("continues")) mark(entry, Mark::Kind::open);
    const std::string chain = text_at(json, "chain");
    if (stretch_.end.chain.empty()) stretch_.end.chain = stretch_.begin.chain = chain;
    if (chain != stretch_.end.chain)
        return reject(entry.seq, format("it opens chain {}, among entries of chain {}", chain,
                                        stretch_.end.chain));
    if (first) return true;
    const auto state = state_at(json, "previous");
    const Link* const before = links_.size() >= 2 ? &links_[links_.size() - 2] : nullptr;
    const Digest& mac = before ? before->mac : links_mac_;
    const Digest& root = before ? before->root : links_root_;
    if (!state || state->seq != entry.seq - 1 || state->mac != mac ||
        (stretch_.end_has_root && state->root != root))
        return reject(entry.seq, "it does not follow what it says that it follows");
    return true;
}

bool ChainVerifier::take_checkpoint(const EntryView& entry, const SignedCheckpoint& checkpoint) {
    const CheckpointRequest& request = checkpoint.request;
    ChainState& end = stretch_.end;
    if (end.chain.empty()) end.chain = stretch_.begin.chain = request.chain;
    if (request.chain != end.chain || request.slot != stretch_.slot)
        return reject(entry.seq, format("it is a checkpoint of chain {} in {}, among entries of "
                                        "chain {} in {}",
                                        request.chain, request.slot, end.chain, stretch_.slot));
    if (request.n_entries != request.seq || request.seq >= entry.seq)
        return reject(entry.seq, "its counts cannot be");
    if (entry.seq > count_after_)
        is_signed(checkpoint) ? ++stretch_.n_signed : ++stretch_.n_unsigned;
    if (request.seq < links_from_) return true;  // of what came before this stretch
    if (!stretch_.end_has_root) adopt_root(request);
    const auto n = std::size_t(request.seq - links_from_);
    const Digest& mac = n == 0 ? links_mac_ : links_[n - 1].mac;
    const Digest& root = n == 0 ? links_root_ : links_[n - 1].root;
    if (request.head != mac || request.root != root)
        return reject(hmac_ ? entry.seq : links_from_ + 1,
                      format("entries {} to {} are not those of the checkpoint at {}",
                             links_from_ + 1, request.seq, entry.seq));
    if (is_signed(checkpoint)) {
        unchecked_ = Unchecked{checkpoint, entry.seq};
        if (request.seq - checked_seq_ >= kSignatureStride &&
            !check_signature(checkpoint, entry.seq))
            return false;
    }
    links_mac_ = mac;
    links_root_ = root;
    links_.erase(links_.begin(), links_.begin() + std::ptrdiff_t(n));
    links_from_ = request.seq;
    return true;
}

// A stretch that began in the middle takes the first root that it meets; signatures later in the
// stretch, and the caller who joins stretches, say whether it was right.
void ChainVerifier::adopt_root(const CheckpointRequest& request) {
    Digest root = request.root;
    const auto n = std::size_t(request.seq - links_from_);
    if (n == 0)
        links_root_ = root;
    else
        links_[n - 1].root = root;
    for (std::size_t i = n; i < links_.size(); ++i) {
        root = next_root(root, links_[i].mac, links_[i].leaf);
        links_[i].root = root;
    }
    stretch_.end.root = root;
    stretch_.end_has_root = true;
}

bool ChainVerifier::check_signature(const SignedCheckpoint& checkpoint, std::int64_t seq) {
    unchecked_.reset();
    if (!trusted(checkpoint.key))
        return reject(seq, format("it is signed with the key {}, which is not among those trusted",
                                  key_id(checkpoint.key)));
    if (!verify_signature(checkpoint))
        return reject(hmac_ ? seq : checked_seq_ + 1,
                      format("the signature of the checkpoint at {} is wrong", seq));
    checked_seq_ = stretch_.signed_seq = checkpoint.request.seq;
    if (!contains(stretch_.keys, checkpoint.key)) {
        stretch_.keys.push_back(checkpoint.key);
        settle_receipts();
    }
    return !stretch_.finding;
}

Stretch ChainVerifier::finish() {
    if (!stretch_.finding && unchecked_) {
        const Unchecked last = *unchecked_;
        (void)check_signature(last.checkpoint, last.seq);
    }
    return std::move(stretch_);
}

const std::string* key_of(const egress::Receipt& receipt, const std::vector<std::string>& keys) {
    const auto it = std::ranges::find_if(
        keys, [&](const std::string& key) { return key_id(key) == receipt.key_id; });
    return it == keys.end() ? nullptr : &*it;
}

std::string receipt_fault(const egress::Receipt& receipt) {
    return format("the signature of receipt {} is wrong", receipt.number);
}

std::optional<ChainState> previous_of(std::string_view open_json) {
    const Result<Json> json = parse_json(open_json);
    return json ? state_at(*json, "previous") : std::nullopt;
}

Result<std::vector<SignedCheckpoint>> parse_anchors(std::string_view text) {
    std::vector<SignedCheckpoint> anchors;
    for (std::size_t line = 1; !text.empty(); ++line) {
        const std::size_t end = text.find('\n');
        const std::string_view one = text.substr(0, end);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
        if (one.empty()) continue;
        auto anchor = parse_checkpoint(one);
        if (!anchor)
            return fail(ErrorKind::invalid_request,
                        format("line {} of the anchors: {}", line, anchor.error().message));
        anchors.push_back(std::move(*anchor));
    }
    return anchors;
}

}  // namespace hearth::audit
