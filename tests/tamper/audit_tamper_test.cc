// What anybody could do to a journal, and that verification finds it: from the log alone, taken up
// at the enclosing checkpoint.
//
// A journal is written by the program's own writer, with a signer, and read back as rows of its
// database and as lines of its export. Then, one at a time: a bit of every byte is flipped, every
// entry is deleted, doubled, swapped with the next and with others, the end is cut, and another log
// of the same key is spliced in. Verification begins at the checkpoint before the place; its state
// just before the place is kept, because it is the same for every change there.
//
// `--full`: 10,000 records and every byte. Without it a sample: fewer records, every n-th byte.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <future>
#include <random>
#include <thread>

#include "audit/export.h"
#include "audit/folder.h"
#include "audit/line.h"
#include "audit/run.h"
#include "base/file.h"
#include "base/format.h"
#include "base/ids.h"
#include "journal/journal.h"
#include "support/data.h"
#include "support/seeds.h"

namespace hearth::audit {
namespace {

bool g_full = false;
std::size_t n_records() {
    return g_full ? 10'000 : 600;
}
std::size_t byte_stride() {
    return g_full ? 1 : 29;
}

// A row with its own bytes.
struct Owned {
    std::int64_t seq = 0, wall_ns = 0;
    std::string event, request_id, json;
    struct Cell {
        std::string name;
        bool is_text = false;
        std::int64_t number = 0;
        std::string text;
    };
    std::vector<Cell> cells;
    Digest mac{};
};

struct Log {
    std::vector<std::string> lines;        // of the export, without line ends
    std::vector<Owned> rows;               // rows[i] is lines[i]
    std::vector<std::size_t> checkpoints;  // places of them
    Trust trust;                           // chain key and public key
    std::string slot = "journal-0";
};

Owned owned(const EntryView& entry, const Digest& mac) {
    Owned row{.seq = entry.seq,
              .wall_ns = entry.wall_ns,
              .event = std::string(entry.event),
              .request_id = std::string(entry.request_id),
              .json = std::string(entry.json),
              .cells = {},
              .mac = mac};
    for (const Column& column : entry.columns)
        row.cells.push_back(
            {std::string(column.name), column.is_text, column.number, std::string(column.text)});
    return row;
}

const Log& the_log();

bool add_row(ChainVerifier& verifier, const Owned& row) {
    std::vector<Column> columns;
    for (const auto& cell : row.cells)
        columns.push_back({cell.name, cell.is_text, cell.number, cell.text});
    return verifier.add({.seq = row.seq,
                         .wall_ns = row.wall_ns,
                         .event = row.event,
                         .request_id = row.request_id,
                         .json = row.json,
                         .columns = columns},
                        row.mac);
}

bool add_line(ChainVerifier& verifier, const std::string& text) {
    const auto line = parse_line(text);
    if (!line) return verifier.reject(verifier.next_seq(), "no line");
    if (line->slot != "journal-0") {  // it would begin another slot, which it cannot
        ChainVerifier other(the_log().trust, line->slot);
        return other.add(line->entry(), line->mac, &line->previous) ||
               verifier.reject(line->seq, "of another slot");
    }
    return verifier.add(line->entry(), line->mac, &line->previous);
}

// Writes `n` records, about as many of each kind as a day has.
void write_journal(const std::string& folder, std::size_t n, const SigningKey& key) {
    std::atomic<std::int64_t> counter{0};
    journal::JournalOptions options{.folder = folder, .sync = journal::Sync::none};
    options.signer = [&](const CheckpointRequest& request) -> Result<SignedCheckpoint> {
        return sign(key, request, 0, ++counter);
    };
    auto opened = journal::Journal::open(options);
    ASSERT_TRUE(opened) << opened.error().message;
    journal::Journal& journal = **opened;
    for (std::size_t i = 0; i < n; ++i) {
        const std::string id = format("req-{}", i / 2);
        if (i % 2 == 0) {
            journal::DecisionRecord record;
            record.request_id = id;
            record.endpoint = "/v1/chat/completions";
            record.peer = "127.0.0.1:51234";
            record.model = "demo";
            record.route = "local";
            record.decision_json = R"({"route":"local","target":"demo","steps":[{"rule":"name"}]})";
            journal.append(std::move(record), nullptr);
        } else {
            journal::OutcomeRecord record;
            record.request_id = id;
            record.outcome = "finished";
            record.model = "demo \xe2\x82\xac \"quoted\"\n";
            record.route = "local";
            record.usage = {.input_tokens = std::int64_t(i), .output_tokens = 7};
            journal.append(std::move(record));
        }
        if (i % 130 != 129) continue;
        // A checkpoint after each 130 records, whatever the machine does besides.
        ASSERT_TRUE(journal.flush());
        while (counter < std::int64_t(i + 1) / 130) std::this_thread::yield();
    }
    ASSERT_TRUE(journal.flush());
}

Log make_log() {
    const std::string folder = test::temp_folder() + "/journal";
    const SigningKey key(random_bytes(kSeedBytes));
    write_journal(folder, n_records(), key);
    Log log;
    auto chain_key = read_key_file(folder + "-keys/chain.key");
    EXPECT_TRUE(chain_key);
    log.trust = {
        .chain_key = *chain_key, .public_keys = {key.public_key()}, .from_seq = 0, .anchors = {}};
    ExportCursor cursor;
    EXPECT_TRUE(export_folder(
        folder, Format::jsonl, cursor,
        [&](std::string_view line) {
            log.lines.emplace_back(line);
            return true;
        },
        [](const std::string& part) { ADD_FAILURE() << part; }));
    EXPECT_TRUE(
        read_part(folder + "/journal-0.db", 0, [&](const EntryView& entry, const Digest& mac) {
            if (entry.event == "audit.checkpoint") log.checkpoints.push_back(log.rows.size());
            log.rows.push_back(owned(entry, mac));
            return true;
        }));
    EXPECT_EQ(log.lines.size(), log.rows.size());
    EXPECT_GE(log.checkpoints.size(), n_records() / 150);
    return log;
}

const Log& the_log() {
    static const Log log = make_log();
    return log;
}

// Calls visit(i, verifier) for every place i, with a verifier that began at the checkpoint before i
// and has taken all up to i.
template <class Add, class Visit>
void at_every_place(const Log& log, Add&& add, Visit&& visit) {
    ChainVerifier verifier(log.trust, log.slot);
    std::size_t next = 0;  // of log.checkpoints
    for (std::size_t i = 0; i < log.rows.size(); ++i) {
        visit(i, verifier);
        if (testing::Test::HasFailure()) return;
        ASSERT_TRUE(add(verifier, i)) << i;
        if (next == log.checkpoints.size() || log.checkpoints[next] != i) continue;
        ++next;
        // Taken up afresh, from what the checkpoint claims.
        const auto checkpoint = parse_checkpoint(log.rows[i].json);
        ASSERT_TRUE(checkpoint);
        const CheckpointRequest& r = checkpoint->request;
        ChainVerifier resumed(log.trust, log.slot,
                              {.chain = r.chain, .seq = r.seq, .mac = r.head, .root = r.root});
        for (auto k = std::size_t(r.seq); k <= i; ++k) ASSERT_TRUE(add(resumed, k)) << k;
        std::destroy_at(&verifier);
        std::construct_at(&verifier, std::move(resumed));
    }
}

// Goes on to the next checkpoint but one where `change` itself was not noticed; the finding.
template <class Change>
std::optional<Finding> found(const Log& log, const ChainVerifier& before, std::size_t next,
                             Change&& change) {
    ChainVerifier verifier = before;
    if (change(verifier)) {
        const std::size_t end = std::min(log.lines.size(), next + 400);
        for (std::size_t k = next; k < end && add_line(verifier, log.lines[k]); ++k) {
        }
    }
    return verifier.finish().finding;
}

TEST(AuditTamper, the_log_is_whole_as_it_was_written) {
    const Log& log = the_log();
    LineVerifier verifier(log.trust);
    for (const std::string& line : log.lines) ASSERT_TRUE(verifier.add(line));
    const Verdict verdict = judge(verifier.finish(), log.trust);
    EXPECT_TRUE(verdict.ok);
    EXPECT_EQ(verdict.n_records, std::int64_t(log.lines.size()));
    EXPECT_EQ(verdict.completeness, Completeness::unknown);
    EXPECT_EQ(verdict.n_unsigned, 0);
    EXPECT_EQ(verdict.n_unsigned_records, 1);  // the last checkpoint itself
    EXPECT_FALSE(is_bad(verdict, false));
    EXPECT_TRUE(is_bad(verdict, true));
}

TEST(AuditTamper, a_flipped_bit_in_any_byte_of_the_export_is_found_at_its_entry) {
    const Log& log = the_log();
    std::mt19937_64 random(test::test_seed());
    std::size_t n_flips = 0;
    at_every_place(
        log, [&](ChainVerifier& v, std::size_t k) { return add_line(v, log.lines[k]); },
        [&](std::size_t i, const ChainVerifier& before) {
            // The line end is a byte too: flipped, it joins the line with the next.
            std::string text = log.lines[i] + "\n";
            for (std::size_t at = random() % byte_stride(); at < text.size(); at += byte_stride()) {
                const char mask = char(1 << random() % 8);
                text[at] = char(text[at] ^ mask);
                std::string changed = text;
                if (changed.back() == '\n')
                    changed.pop_back();
                else if (i + 1 < log.lines.size())
                    changed += log.lines[i + 1];
                const auto finding = found(log, before, i + 1, [&](ChainVerifier& verifier) {
                    return changed.find('\n') == changed.npos && add_line(verifier, changed);
                });
                // A line end put into the line makes two of it, neither of which is one.
                if (changed.find('\n') == changed.npos) {
                    ASSERT_TRUE(finding) << "byte " << at << " of line " << i << ": " << changed;
                    ASSERT_EQ(finding->seq, log.rows[i].seq) << finding->what;
                } else {
                    ASSERT_FALSE(parse_line(changed.substr(0, changed.find('\n'))));
                }
                text[at] = char(text[at] ^ mask);
                ++n_flips;
            }
        });
    std::printf("%zu bits flipped in %zu lines\n", n_flips, log.lines.size());
}

// Every byte of every column: numbers as their 8 bytes.
template <class Flip>
void each_byte(Owned& row, Flip&& flip) {
    const auto number = [&](std::int64_t& value) {
        for (int i = 0; i < 8; ++i)
            flip([&value, i](int bit) { value ^= std::int64_t(1) << (8 * i + bit); });
    };
    const auto text = [&](std::string& value) {
        for (char& c : value) flip([&c](int bit) { c = char(c ^ 1 << bit); });
    };
    number(row.seq);
    number(row.wall_ns);
    text(row.event);
    text(row.request_id);
    text(row.json);
    for (std::byte& b : row.mac) flip([&b](int bit) { b ^= std::byte(1 << bit); });
    for (auto& cell : row.cells) {
        text(cell.name);
        cell.is_text ? text(cell.text) : number(cell.number);
    }
}

TEST(AuditTamper, a_flipped_bit_in_any_byte_of_the_database_is_found_at_its_entry) {
    const Log& log = the_log();
    std::mt19937_64 random(test::test_seed());
    std::size_t n_flips = 0, n_bytes = 0;
    at_every_place(
        log, [&](ChainVerifier& v, std::size_t k) { return add_row(v, log.rows[k]); },
        [&](std::size_t i, const ChainVerifier& before) {
            Owned row = log.rows[i];
            each_byte(row, [&](auto&& flip) {
                if (n_bytes++ % byte_stride() != 0 || testing::Test::HasFailure()) return;
                const int bit = int(random() % 8);
                flip(bit);
                ChainVerifier verifier = before;
                ASSERT_FALSE(add_row(verifier, row)) << "entry " << i;
                ASSERT_EQ(verifier.finding()->seq, log.rows[i].seq);
                flip(bit);
                ++n_flips;
            });
        });
    std::printf("%zu bits flipped in %zu rows\n", n_flips, log.rows.size());
}

TEST(AuditTamper, every_deletion_doubling_and_swap_of_neighbours_is_found) {
    const Log& log = the_log();
    const std::size_t n = log.lines.size();
    at_every_place(
        log, [&](ChainVerifier& v, std::size_t k) { return add_line(v, log.lines[k]); },
        [&](std::size_t i, const ChainVerifier& before) {
            const std::int64_t seq = log.rows[i].seq;
            if (i + 1 < n) {  // without the last one the log is shorter, and whole: truncation
                const auto gone = found(log, before, i + 2, [&](ChainVerifier& verifier) {
                    return add_line(verifier, log.lines[i + 1]);
                });
                ASSERT_TRUE(gone) << i;
                ASSERT_EQ(gone->seq, seq);
                const auto swapped = found(log, before, i + 2, [&](ChainVerifier& verifier) {
                    return add_line(verifier, log.lines[i + 1]) && add_line(verifier, log.lines[i]);
                });
                ASSERT_TRUE(swapped) << i;
                ASSERT_EQ(swapped->seq, seq);
            }
            const auto doubled = found(log, before, i + 1, [&](ChainVerifier& verifier) {
                return add_line(verifier, log.lines[i]) && add_line(verifier, log.lines[i]);
            });
            ASSERT_TRUE(doubled) << i;
            ASSERT_EQ(doubled->seq, seq + 1);
        });
}

// A verifier that begins at the last checkpoint before place i, and has taken all up to i.
ChainVerifier verifier_at(const Log& log, std::size_t i) {
    auto next = std::ranges::lower_bound(log.checkpoints, i);
    if (next == log.checkpoints.begin()) {
        ChainVerifier verifier(log.trust, log.slot);
        for (std::size_t k = 0; k < i; ++k) EXPECT_TRUE(add_line(verifier, log.lines[k]));
        return verifier;
    }
    const CheckpointRequest r = parse_checkpoint(log.rows[*--next].json)->request;
    ChainVerifier verifier(log.trust, log.slot,
                           {.chain = r.chain, .seq = r.seq, .mac = r.head, .root = r.root});
    for (auto k = std::size_t(r.seq); k < i; ++k) EXPECT_TRUE(add_line(verifier, log.lines[k]));
    return verifier;
}

TEST(AuditTamper, random_swaps_are_found) {
    const Log& log = the_log();
    std::mt19937_64 random(test::test_seed());
    const int n_swaps = g_full ? 10'000 : 300;
    for (int k = 0; k < n_swaps; ++k) {
        std::size_t i = random() % log.lines.size(), j = random() % log.lines.size();
        if (i == j) j = (j + 1) % log.lines.size();
        if (i > j) std::swap(i, j);
        ChainVerifier verifier = verifier_at(log, i);
        ASSERT_FALSE(add_line(verifier, log.lines[j])) << i << " " << j;
        ASSERT_EQ(verifier.finding()->seq, log.rows[i].seq);
    }
}

TEST(AuditTamper, two_logs_of_one_key_cannot_be_spliced) {
    const Log& log = the_log();
    // Another journal in the same place with the same chain key: a copy of its keys.
    const std::string folder = test::temp_folder() + "/journal";
    {
        ASSERT_TRUE(make_folders(folder + "-keys"));
        ASSERT_TRUE(write_file(folder + "-keys/chain.key", *log.trust.chain_key, 0600));
        const SigningKey key(random_bytes(kSeedBytes));
        write_journal(folder, n_records(), key);
    }
    std::vector<Owned> others;
    ASSERT_TRUE(read_part(folder + "/journal-0.db", 0, [&](const EntryView& e, const Digest& mac) {
        others.push_back(owned(e, mac));
        return true;
    }));
    const std::size_t step = g_full ? 1 : 7;
    for (std::size_t i = 1; i < std::min(others.size(), log.rows.size()); i += step) {
        ChainVerifier verifier = verifier_at(log, i);
        ASSERT_FALSE(add_row(verifier, others[i])) << i;
        ASSERT_EQ(verifier.finding()->seq, log.rows[i].seq);
    }
}

Verdict verdict_of(const Log& log, std::size_t n_lines, const Trust& trust) {
    LineVerifier verifier(trust);
    for (std::size_t i = 0; i < n_lines; ++i) verifier.add(log.lines[i]);
    return judge(verifier.finish(), trust);
}

TEST(AuditTamper, a_cut_end_is_found_against_an_anchor_only) {
    const Log& log = the_log();
    std::mt19937_64 random(test::test_seed());
    Trust anchored = log.trust;
    const auto anchor = parse_checkpoint(log.rows[log.checkpoints.back()].json);
    ASSERT_TRUE(anchor);
    anchored.anchors = {*anchor};
    EXPECT_EQ(verdict_of(log, log.lines.size(), anchored).completeness, Completeness::complete);
    const int n_cuts = g_full ? 200 : 10;
    for (int k = 0; k < n_cuts; ++k) {
        const std::size_t n = 1 + random() % std::size_t(anchor->request.seq - 1);
        const Verdict alone = verdict_of(log, n, log.trust);
        EXPECT_TRUE(alone.ok);
        EXPECT_EQ(alone.completeness, Completeness::unknown);
        const Verdict against = verdict_of(log, n, anchored);
        EXPECT_TRUE(against.ok);
        EXPECT_EQ(against.completeness, Completeness::incomplete);
        EXPECT_TRUE(is_bad(against, false));
    }
}

// Whoever has no secret: the public key finds any change before the last signature.
TEST(AuditTamper, the_public_key_alone_finds_what_was_changed_before_the_last_signature) {
    const Log& log = the_log();
    std::mt19937_64 random(test::test_seed());
    Trust no_secret = log.trust;
    no_secret.chain_key.reset();
    const std::size_t n_signed =
        std::size_t(parse_checkpoint(log.rows[log.checkpoints.back()].json)->request.seq);
    const int n_changes = g_full ? 500 : 30;
    for (int k = 0; k < n_changes; ++k) {
        const std::size_t i = random() % n_signed;
        Owned row = log.rows[i];
        // What the holder of the chain key would do: change an entry and mend the chain after it.
        const HmacSha256 hmac(*log.trust.chain_key);
        std::vector<Owned> rows = log.rows;
        rows[i].wall_ns += 1;
        std::string scratch;
        for (std::size_t m = i; m < rows.size(); ++m) {
            std::vector<Column> columns;
            for (const auto& cell : rows[m].cells)
                columns.push_back({cell.name, cell.is_text, cell.number, cell.text});
            const EntryView entry{.seq = rows[m].seq,
                                  .wall_ns = rows[m].wall_ns,
                                  .event = rows[m].event,
                                  .request_id = rows[m].request_id,
                                  .json = rows[m].json,
                                  .columns = columns};
            rows[m].mac = link_mac(hmac, m == 0 ? Digest{} : rows[m - 1].mac,
                                   leaf_of(log.slot, entry, scratch));
        }
        ChainVerifier verifier(no_secret, log.slot);
        for (const Owned& each : rows)
            if (!add_row(verifier, each)) break;
        const Stretch stretch = verifier.finish();
        ASSERT_TRUE(stretch.finding) << i;
        EXPECT_LE(stretch.finding->seq, std::int64_t(i) + 1);
    }
}

}  // namespace
}  // namespace hearth::audit

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    hearth::audit::g_full = argc == 2 && std::strcmp(argv[1], "--full") == 0;
    return RUN_ALL_TESTS();
}
