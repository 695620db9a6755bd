// Verify: is a run of entries whole, and does it say the truth about itself?
//
// ChainVerifier is fed the entries of one slot in their order, from a file's first row, from a
// checkpoint, or from any line of an export, and finds the first entry that is not what was
// written. With the chain key every mac is checked. Without it the entries are taken into the root,
// which a signed checkpoint confirms afterwards: then the fault is somewhere since the checkpoint
// before, and the first seq of that stretch is named.
//
// Integrity and completeness are two verdicts. The chain finds what was changed, moved, put in or
// taken out between two entries that are there. That entries are missing at the end can be found
// only against something kept elsewhere: anchors (signed checkpoints that were copied away, or that
// the broker kept) and the counts in checkpoints, which are made apart from the journal.
//
// Each receipt's signature is checked with the broker's keys: those that are trusted, or else those
// that signed checkpoints here. The writer has the chain's key and not the broker's, so that a
// receipt that it made up is found, wherever the chain says that it stands.
//
// Owner thread: each verifier one; judge() whoever calls it. Source: docs/formats/journal.md,
// sections 5 to 8.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "audit/chain.h"
#include "audit/checkpoint.h"
#include "audit/receipt.h"
#include "base/json.h"

namespace hearth::audit {

struct Trust {
    // The chain key; without it only roots and signatures are checked.
    std::optional<std::string> chain_key;
    // Raw Ed25519 keys whose signatures count; none: those that the journal names itself.
    std::vector<std::string> public_keys;
    // Of lines: they are a part of an export, which may begin at any entry up to this one. Else a
    // first entry that is no beginning is a fault: what was before it was taken away.
    std::int64_t from_seq = 0;
    // Checkpoints kept elsewhere: where the chains once stood.
    std::vector<SignedCheckpoint> anchors;
};

struct Finding {
    std::string slot;
    // The place of the first entry that is not the one that belongs there; without the chain key
    // the first of the stretch that holds it.
    std::int64_t seq = 0;
    std::string what;
};

// What judge() needs of a place where a checkpoint, an open or a close stands.
struct Mark {
    enum class Kind : std::uint8_t { open, close, checkpoint };
    Kind kind = Kind::open;
    std::int64_t seq = 0;
    std::int64_t n_outcomes = 0,
                 n_connections = 0;  // entries of the run of the verifier up to here
    SignedCheckpoint checkpoint;     // of a checkpoint
};

// A signed receipt in an `egress` entry, whose key was not yet seen to sign a checkpoint.
struct PendingReceipt {
    std::int64_t seq = 0;
    egress::Receipt receipt;
};

// What one verifier saw of one slot.
struct Stretch {
    std::string slot;
    std::optional<Finding> finding;
    ChainState begin, end;  // begin: before the first entry
    bool begin_has_root = false, end_has_root = false;
    // Begins at what the checkpoint at this seq claims; whoever took that entry compared the claim.
    std::int64_t claimed_at = 0;
    bool partial = false;  // began in the middle on purpose: a part of an export
    std::int64_t n_records = 0, n_outcomes = 0, n_connections = 0;
    std::int64_t n_signed = 0, n_unsigned = 0;  // checkpoints
    std::int64_t signed_seq = 0;                // the last entry under a signature that was checked
    std::vector<std::string> keys;              // public keys that signed, raw
    std::vector<Mark> marks;
    std::vector<ChainState>
        deleted;  // files that retention took: where the chain stood at their ends
    std::vector<ChainState> reached;  // at the seqs of the slot's anchors
    // Receipts: with a signature that is right, without one, and of keys that signed nothing here.
    std::int64_t n_receipts_signed = 0, n_receipts_unsigned = 0, n_receipts_other_key = 0;
    std::vector<PendingReceipt> pending;
};

class ChainVerifier {
  public:
    // From the first entry given, which says itself where it stands: `audit.open`, or an exported
    // line with its `prev`.
    ChainVerifier(const Trust& trust, std::string slot);
    // From a place that is known, or claimed and compared by the caller afterwards.
    ChainVerifier(const Trust& trust, std::string slot, ChainState from);

    // False: a fault was found, and nothing more is taken. `previous` is what an exported line
    // says.
    bool add(const EntryView& entry, const Digest& mac, const Digest* previous = nullptr);
    // For entries that cannot be read at all.
    bool reject(std::int64_t seq, std::string what);
    // Entries up to this seq are taken without being counted: another verifier counts them.
    void count_after(std::int64_t seq) { count_after_ = seq; }
    std::int64_t next_seq() const { return stretch_.end.seq + 1; }
    const std::optional<Finding>& finding() const { return stretch_.finding; }
    // Checks the signature that is still to be checked.
    Stretch finish();

  private:
    struct Link {
        Digest mac, leaf, root;  // root where it is known
    };
    bool begin(const EntryView& entry, const Digest* previous);
    bool take_open(const EntryView& entry, const Json& json, bool first);
    void mark(const EntryView& entry, Mark::Kind kind, SignedCheckpoint checkpoint = {});
    bool take_checkpoint(const EntryView& entry, const SignedCheckpoint& checkpoint);
    bool take_own(const EntryView& entry, bool first);
    void adopt_root(const CheckpointRequest& request);
    bool check_signature(const SignedCheckpoint& checkpoint, std::int64_t seq);
    bool trusted(const std::string& key) const;
    bool take_receipt(const EntryView& entry);
    void settle_receipts();

    const Trust& trust_;
    std::optional<HmacSha256> hmac_;
    Stretch stretch_;
    bool begun_ = false;
    std::int64_t count_after_ = 0;
    // The links after links_from_, for checkpoints that cover an entry some way back.
    std::deque<Link> links_;
    std::int64_t links_from_ = 0;
    Digest links_mac_{}, links_root_{};  // the state at links_from_
    struct Unchecked {
        SignedCheckpoint checkpoint;
        std::int64_t seq = 0;
    };
    std::optional<Unchecked> unchecked_;
    std::vector<std::int64_t>
        anchored_;                  // seqs of the slot's anchors that lie ahead, last one first
    std::int64_t checked_seq_ = 0;  // the last entry with a checkpoint whose signature was checked
    std::string scratch_;
};

enum class Completeness : std::uint8_t { unknown, complete, incomplete };

struct Verdict {
    bool ok = true;
    std::int64_t n_records = 0;
    std::optional<Finding> first_bad;
    Completeness completeness = Completeness::unknown;
    // Requests and connections by the counts in checkpoints, and by the entries of the same runs.
    std::int64_t n_served = 0, n_recorded = 0;
    std::int64_t n_connections = 0, n_receipts = 0;
    std::int64_t n_receipts_signed = 0, n_receipts_unsigned = 0, n_receipts_other_key = 0;
    std::int64_t n_signed = 0, n_unsigned = 0;
    std::int64_t n_unsigned_records = 0;  // entries behind the last checked signature
    bool macs_checked = false;
    std::vector<std::string> keys;   // ids of the keys that signed
    std::vector<std::string> notes;  // sentences: what is missing, what was not looked at
};

// Stretches of one slot in their order; slots in any.
Verdict judge(const std::vector<Stretch>& stretches, const Trust& trust);

// INTERFACE §5: {"ok","records","first_bad_seq","complete","served","recorded", …}
std::string to_json(const Verdict& verdict);
// The same in sentences, for people.
std::string to_text(const Verdict& verdict);

// The key among `keys` that a receipt names; nullptr where it is none of them.
const std::string* key_of(const egress::Receipt& receipt, const std::vector<std::string>& keys);
std::string receipt_fault(const egress::Receipt& receipt);

// Where the chain stands before an `audit.open`, as that says; nothing where it does not.
std::optional<ChainState> previous_of(std::string_view open_json);

// One checkpoint a line. Errors: invalid_request with the line.
Result<std::vector<SignedCheckpoint>> parse_anchors(std::string_view text);

}  // namespace hearth::audit
