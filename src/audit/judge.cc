// judge(): from stretches to a verdict, and the verdict as JSON and in words.
#include <algorithm>

#include "audit/verify.h"
#include "base/format.h"

namespace hearth::audit {
namespace {

// Where a chain stands is compared by root only where both know it.
bool joins(const Stretch& before, const Stretch& after) {
    if (after.claimed_at > 0) return before.end.seq == after.claimed_at;
    return before.end.seq == after.begin.seq && before.end.mac == after.begin.mac &&
           (!before.end_has_root || !after.begin_has_root || before.end.root == after.begin.root);
}

class Judge {
  public:
    Judge(const std::vector<Stretch>& stretches, const Trust& trust)
        : stretches_(stretches), trust_(trust) {}

    Verdict decide() {
        verdict_.macs_checked = trust_.chain_key.has_value();
        std::vector<std::string> slots;
        for (const Stretch& stretch : stretches_) {
            verdict_.n_records += stretch.n_records;
            verdict_.n_signed += stretch.n_signed;
            verdict_.n_unsigned += stretch.n_unsigned;
            for (const std::string& key : stretch.keys) {
                const std::string id = key_id(key);
                if (std::ranges::find(verdict_.keys, id) == verdict_.keys.end())
                    verdict_.keys.push_back(id);
            }
            if (stretch.finding) bad(*stretch.finding);
            if (slots.empty() || slots.back() != stretch.slot) slots.push_back(stretch.slot);
        }
        count_receipts();
        for (const std::string& slot : slots) {
            const std::vector<const Stretch*> own = of(slot);
            follow(own);
            count(own);
        }
        hold_against_anchors();
        verdict_.completeness = incomplete_                   ? Completeness::incomplete
                                : anchored_all() && !unknown_ ? Completeness::complete
                                                              : Completeness::unknown;
        return std::move(verdict_);
    }

  private:
    void bad(const Finding& finding) {
        verdict_.ok = false;
        if (!verdict_.first_bad) verdict_.first_bad = finding;
    }
    void missing(std::string note) {
        incomplete_ = true;
        verdict_.notes.push_back(std::move(note));
    }
    std::vector<const Stretch*> of(const std::string& slot) const {
        std::vector<const Stretch*> own;
        for (const Stretch& stretch : stretches_)
            if (stretch.slot == slot) own.push_back(&stretch);
        return own;
    }

    // A key that is seen in one stretch may have signed receipts in another.
    void count_receipts() {
        std::vector<std::string> keys;
        for (const Stretch& stretch : stretches_)
            keys.insert(keys.end(), stretch.keys.begin(), stretch.keys.end());
        for (const Stretch& stretch : stretches_) {
            verdict_.n_receipts_signed += stretch.n_receipts_signed;
            verdict_.n_receipts_unsigned += stretch.n_receipts_unsigned;
            verdict_.n_receipts_other_key += stretch.n_receipts_other_key;
            for (const PendingReceipt& pending : stretch.pending) {
                const std::string* const key = key_of(pending.receipt, keys);
                if (!key)
                    ++verdict_.n_receipts_other_key;
                else if (verify_receipt(pending.receipt, *key))
                    ++verdict_.n_receipts_signed;
                else
                    bad({stretch.slot, pending.seq, receipt_fault(pending.receipt)});
            }
        }
    }

    // Each stretch of a slot goes on where the one before it ended.
    void follow(const std::vector<const Stretch*>& own) {
        const Stretch& first = *own.front();
        if (first.begin.seq > 0 && !first.finding) {
            if (was_deleted(own, first.begin))
                verdict_.notes.push_back(
                    format("{}: entries 1 to {} were deleted by their retention, as is recorded",
                           first.slot, first.begin.seq));
            else if (first.partial)
                unknown(format("{}: begins at entry {}", first.slot, first.begin.seq + 1));
            else
                missing(format("{}: entries 1 to {} are missing, and no deletion is recorded",
                               first.slot, first.begin.seq));
        }
        for (std::size_t i = 1; i < own.size(); ++i) {
            const Stretch& before = *own[i - 1];
            const Stretch& after = *own[i];
            if (before.finding || after.finding) continue;
            if (after.begin.seq == 0 && after.begin.chain != before.end.chain)
                unknown(format("{}: chain {} ends at entry {}; chain {} was begun", after.slot,
                               before.end.chain, before.end.seq, after.begin.chain));
            else if (!joins(before, after) && !was_deleted(own, after.begin))
                bad({after.slot, before.end.seq + 1,
                     format("entries {} and {} do not follow each other", before.end.seq,
                            after.begin.seq + 1)});
        }
        std::int64_t signed_seq = own.front()->begin.seq;
        for (const Stretch* stretch : own)
            if (stretch->signed_seq > 0) signed_seq = stretch->signed_seq;
        verdict_.n_unsigned_records += std::max<std::int64_t>(0, own.back()->end.seq - signed_seq);
    }
    void unknown(std::string note) {
        unknown_ = true;
        verdict_.notes.push_back(std::move(note));
    }
    static bool was_deleted(const std::vector<const Stretch*>& own, const ChainState& state) {
        return std::ranges::any_of(own, [&](const Stretch* stretch) {
            return std::ranges::any_of(stretch->deleted, [&](const ChainState& end) {
                return end.seq == state.seq && end.mac == state.mac && end.root == state.root;
            });
        });
    }

    // The counts of each run of the writer, against its entries up to the checkpoint that says
    // them.
    void count(const std::vector<const Stretch*>& own) {
        std::int64_t n_outcomes = 0, n_connections = 0;  // before this stretch
        std::int64_t outcomes_at_open = 0, connections_at_open = 0;
        std::int64_t n_served = 0, n_made = 0;  // of the run
        bool run_known = false;                 // its beginning was seen
        const auto end_run = [&] {
            verdict_.n_served += n_served;
            verdict_.n_connections += n_made;
            n_served = n_made = 0;
        };
        for (const Stretch* stretch : own) {
            for (const Mark& mark : stretch->marks) {
                const std::int64_t outcomes = n_outcomes + mark.n_outcomes;
                const std::int64_t connections = n_connections + mark.n_connections;
                if (mark.kind == Mark::Kind::open) {
                    end_run();
                    run_known = true;
                    outcomes_at_open = outcomes;
                    connections_at_open = connections;
                }
                if (mark.kind != Mark::Kind::checkpoint || !run_known) continue;
                n_served = std::max(n_served, mark.checkpoint.request.n_served);
                n_made = std::max(n_made, mark.checkpoint.n_connections);
                const auto lacks = [&](std::int64_t counted, std::int64_t recorded,
                                       const char* what) {
                    if (counted > recorded)
                        missing(format("{}: {} {} were counted by entry {}, {} are recorded",
                                       stretch->slot, counted, what, mark.seq, recorded));
                };
                if (incomplete_) continue;
                lacks(n_served, outcomes - outcomes_at_open, "requests");
                lacks(n_made, connections - connections_at_open, "connections");
            }
            n_outcomes += stretch->n_outcomes;
            n_connections += stretch->n_connections;
        }
        end_run();
        verdict_.n_recorded += n_outcomes;
        verdict_.n_receipts += n_connections;
    }

    void hold_against_anchors() {
        for (const SignedCheckpoint& anchor : trust_.anchors) {
            const CheckpointRequest& r = anchor.request;
            if (is_signed(anchor) && !believed(anchor)) {
                unknown(format("{}: the anchor at entry {} has no good signature of a trusted key",
                               r.slot, r.seq));
                continue;
            }
            const Stretch* last = nullptr;
            const ChainState* reached = nullptr;
            bool faulty = false, from_later = false;
            for (const Stretch& stretch : stretches_) {
                if (stretch.slot != r.slot) continue;
                faulty = faulty || stretch.finding.has_value();
                if (stretch.end.chain != r.chain) continue;
                if (!last) from_later = stretch.begin.seq >= r.seq;
                last = &stretch;
                for (const ChainState& state : stretch.reached)
                    if (state.seq == r.seq) reached = &state;
            }
            if (faulty) continue;  // it is bad as it is
            if (!last) {
                missing(format("{}: chain {} is missing; its anchor is at entry {}", r.slot,
                               r.chain, r.seq));
            } else if (reached) {
                if (reached->mac != r.head ||
                    (reached->root != Digest{} && reached->root != r.root))
                    bad({r.slot, r.seq,
                         format("entry {} is not the one that was anchored", r.seq)});
                else
                    matched_.push_back(r.chain);
            } else if (!from_later) {
                missing(format("{}: entries {} to {} are missing; the last anchor is at {}", r.slot,
                               last->end.seq + 1, r.seq, r.seq));
            }
        }
    }
    bool believed(const SignedCheckpoint& anchor) const {
        const auto& keys = trust_.public_keys;
        return verify_signature(anchor) &&
               (keys.empty() || std::ranges::find(keys, anchor.key) != keys.end());
    }
    bool anchored_all() const {
        return !stretches_.empty() && std::ranges::all_of(stretches_, [&](const Stretch& stretch) {
            return std::ranges::find(matched_, stretch.end.chain) != matched_.end();
        });
    }

    const std::vector<Stretch>& stretches_;
    const Trust& trust_;
    Verdict verdict_;
    std::vector<std::string> matched_;  // chains with an anchor that holds
    bool incomplete_ = false, unknown_ = false;
};

const char* word_of(Completeness completeness) {
    switch (completeness) {
        case Completeness::complete:
            return "complete";
        case Completeness::incomplete:
            return "incomplete";
        case Completeness::unknown:
            break;
    }
    return "completeness unknown";
}

}  // namespace

Verdict judge(const std::vector<Stretch>& stretches, const Trust& trust) {
    return Judge(stretches, trust).decide();
}

std::string to_json(const Verdict& v) {
    JsonWriter w;
    w.begin_object().field("ok", v.ok).field("records", v.n_records).key("first_bad_seq");
    v.first_bad ? w.value(v.first_bad->seq) : w.null();
    w.key("complete");
    v.completeness == Completeness::unknown ? w.null()
                                            : w.value(v.completeness == Completeness::complete);
    w.field("served", v.n_served).field("recorded", v.n_recorded);
    w.field("connections", v.n_connections).field("receipts", v.n_receipts);
    w.field("receipts_signed", v.n_receipts_signed);
    w.field("receipts_unsigned", v.n_receipts_unsigned);
    w.field("receipts_other_key", v.n_receipts_other_key);
    w.field("macs_checked", v.macs_checked);
    w.field("checkpoints_signed", v.n_signed).field("checkpoints_unsigned", v.n_unsigned);
    w.field("records_unsigned", v.n_unsigned_records).key("keys").begin_array();
    for (const std::string& key : v.keys) w.value(key);
    w.end_array();
    if (v.first_bad)
        w.key("bad")
            .begin_object()
            .field("slot", v.first_bad->slot)
            .field("seq", v.first_bad->seq)
            .field("what", v.first_bad->what)
            .end_object();
    w.key("notes").begin_array();
    for (const std::string& note : v.notes) w.value(note);
    w.end_array().end_object();
    return w.take();
}

std::string to_text(const Verdict& v) {
    std::string out;
    if (v.first_bad)
        out += format("bad: {} entry {}: {}\n", v.first_bad->slot, v.first_bad->seq,
                      v.first_bad->what);
    for (const std::string& note : v.notes) out += note + "\n";
    if (!v.macs_checked) out += "no chain key was given: macs were not checked\n";
    std::string keys;
    for (const std::string& key : v.keys) keys += (keys.empty() ? "" : ", ") + key;
    out += format("{} checkpoints signed ({}), {} unsigned; {} entries behind the last signature\n",
                  v.n_signed, keys.empty() ? "no key" : keys, v.n_unsigned, v.n_unsigned_records);
    out += format("{} requests counted, {} recorded; {} connections counted, {} recorded\n",
                  v.n_served, v.n_recorded, v.n_connections, v.n_receipts);
    out += format("{} receipts with a good signature, {} without one, {} of keys not known here\n",
                  v.n_receipts_signed, v.n_receipts_unsigned, v.n_receipts_other_key);
    out += format("{} entries: integrity {}, {}\n", v.n_records, v.ok ? "ok" : "broken",
                  word_of(v.completeness));
    return out;
}

}  // namespace hearth::audit
