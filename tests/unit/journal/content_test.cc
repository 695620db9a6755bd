// Prompts and answers at rest: kept encrypted, attested by the chain, erased for good.
#include "journal/content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "audit/hash.h"
#include "audit/run.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "journal/limits.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kCanary = "xylophone-canary-7741";

struct Folder {
    std::string path = test::temp_folder() + "/journal", keys = path + "-keys";
    Folder() { EXPECT_TRUE(make_folders(path)); }

    std::unique_ptr<ContentStore> store(ContentStore::Mode mode = ContentStore::Mode::make) const {
        auto opened = ContentStore::open(path, keys, mode);
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }
    std::string file(const std::string& name) const { return *read_file(name, 64u << 20); }
    std::string keys_file() const { return file(keys + "/content.keys"); }
    std::string bodies_file() const { return file(path + "/content.bodies"); }
    void overwrite(const std::string& name, std::size_t at, char bits) const {
        std::string bytes = file(name);
        bytes.at(at) = char(bytes[at] ^ bits);
        EXPECT_TRUE(write_file(name, bytes, 0600));
    }
    std::unique_ptr<Journal> journal() const {
        auto opened = Journal::open({.folder = path, .sync = Sync::none});
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }
    std::vector<Json> records(const std::string& event) const {
        std::vector<Json> found;
        const auto entries = read_tail(path, 1000);
        EXPECT_TRUE(entries) << entries.error().message;
        if (!entries) return found;
        for (const JournalEntry& entry : *entries)
            if (entry.event == event) found.push_back(*parse_json(entry.json));
        return found;
    }
    // By the verifier, which knows nothing of bodies.
    bool verified() const {
        audit::VerifyRequest request;
        request.path = path;
        request.chain_key = keys + "/chain.key";
        const auto verdict = audit::run_verify(request);
        EXPECT_TRUE(verdict) << verdict.error().message;
        return verdict && !audit::is_bad(*verdict, false);
    }
    // A decision and an outcome, with their texts.
    void ask(const std::string& id, const std::string& prompt, const std::string& answer) const {
        const auto open = journal();
        DecisionRecord decision;
        decision.request_id = id;
        decision.body.text = prompt;
        OutcomeRecord outcome;
        outcome.request_id = id;
        outcome.outcome = "finished";
        outcome.body.text = answer;
        open->append(std::move(decision), nullptr);
        open->append(std::move(outcome));
        EXPECT_TRUE(open->flush());
    }
};

Status no_record(const ErasureRange&, std::int64_t) {
    return {};
}

TEST(Seal, comes_back_with_the_same_key_and_words_only) {
    const std::string key = random_bytes(kSealKeyBytes);
    for (const std::string& plain : {std::string(), std::string(100'000, 'x')}) {
        const std::string sealed = seal(key, "about", plain);
        EXPECT_EQ(sealed.size(), plain.size() + kSealExtraBytes);
        EXPECT_EQ(unseal(key, "about", sealed), plain);
        EXPECT_EQ(unseal(key, "abouu", sealed), std::nullopt);
        EXPECT_EQ(unseal(random_bytes(kSealKeyBytes), "about", sealed), std::nullopt);
        EXPECT_EQ(unseal(key.substr(1), "about", sealed), std::nullopt);
        EXPECT_EQ(unseal(key, "about", sealed.substr(0, kSealExtraBytes - 1)), std::nullopt);
        EXPECT_NE(seal(key, "about", plain), sealed);  // another nonce
    }
}

// NIST's CAVP, gcmDecrypt256: Keylen 256, IVlen 96, PTlen 128, AADlen 128, Taglen 128, Count 0.
TEST(Seal, reads_what_others_sealed) {
    const std::string key =
        *from_hex("92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b");
    const std::string whole = *from_hex(
        "ac93a1a6145299bde902f21a"
        "8995ae2e6df3dbf96fac7b7137bae67f"
        "eca5aa77d51d4a0a14d9c51e1da474ab");
    EXPECT_EQ(unseal(key, *from_hex("1e0889016f67601c8ebea4943bc23ad6"), whole),
              *from_hex("2d71bcfa914e4ac045b2aa60955fad24"));
}

TEST(Content, a_text_comes_back_and_is_in_no_file) {
    const Folder folder;
    const auto store = folder.store();
    const auto kept = store->keep(BodyKind::prompt, "req-1", 7, kCanary);
    ASSERT_TRUE(kept) << kept.error().message;
    ASSERT_TRUE(store->keep(BodyKind::answer, "req-1", 8, "the answer"));
    ASSERT_TRUE(store->keep(BodyKind::prompt, "req-2", 9, "another"));
    const auto bodies = folder.store(ContentStore::Mode::existing)->read("req-1");
    ASSERT_TRUE(bodies) << bodies.error().message;
    ASSERT_EQ(bodies->size(), 2u);
    EXPECT_EQ((*bodies)[0].text, kCanary);
    EXPECT_EQ((*bodies)[0].sha256, kept->sha256);
    EXPECT_EQ((*bodies)[1].kind, BodyKind::answer);
    EXPECT_EQ((*bodies)[1].text, "the answer");
    EXPECT_THAT(folder.bodies_file(), Not(HasSubstr(std::string(kCanary))));
    EXPECT_THAT(folder.keys_file(), Not(HasSubstr(std::string(kCanary))));
    EXPECT_EQ(
        audit::hex_of(audit::sha256(folder.bodies_file().substr(0, std::size_t(kept->n_bytes)))),
        kept->sha256);
    for (const char* name : {"-keys/content.keys", "/content.bodies"}) {
        struct stat info{};
        ASSERT_EQ(::stat((folder.path + name).c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
    }
}

TEST(Content, a_flipped_bit_of_the_text_its_key_or_its_name_is_refused) {
    // Of the ciphertext: nonce, text, tag. Of the record: its key, its kind.
    for (const auto& [name, at] :
         std::vector<std::pair<std::string, std::size_t>>{{"/content.bodies", 0},
                                                          {"/content.bodies", 12},
                                                          {"/content.bodies", 30},
                                                          {"-keys/content.keys", 128 + 32}}) {
        const Folder folder;
        ASSERT_TRUE(folder.store()->keep(BodyKind::prompt, "req-1", 7, "secret"));
        folder.overwrite(folder.path + name, at, 1);
        const auto bodies = folder.store()->read("req-1");
        ASSERT_TRUE(bodies) << bodies.error().message;
        ASSERT_EQ(bodies->size(), 1u);
        EXPECT_EQ((*bodies)[0].text, "") << name << at;
        EXPECT_NE((*bodies)[0].error, "") << name << at;
    }
    // A record that claims another's body.
    const Folder folder;
    ASSERT_TRUE(folder.store()->keep(BodyKind::prompt, "req-1", 7, "secret"));
    folder.overwrite(folder.keys + "/content.keys", 128 + 64 + 4, 3);  // req-2
    EXPECT_NE(folder.store()->read("req-2")->at(0).error, "");
}

TEST(Content, what_is_too_long_or_has_no_name_is_not_kept) {
    const Folder folder;
    const auto store = folder.store();
    EXPECT_FALSE(store->keep(BodyKind::prompt, "req-1", 7, std::string(kBodyBytes + 1, 'x')));
    EXPECT_TRUE(store->keep(BodyKind::prompt, "req-1", 7, std::string(kBodyBytes, 'x')));
    EXPECT_FALSE(store->keep(BodyKind::prompt, "", 7, "x"));
    EXPECT_FALSE(store->keep(BodyKind::prompt, std::string(kBodyIdBytes + 1, 'r'), 7, "x"));
    EXPECT_TRUE(store->keep(BodyKind::prompt, std::string(kBodyIdBytes, 'r'), 7, "x"));
    EXPECT_EQ(store->read(std::string(kBodyIdBytes, 'r'))->size(), 1u);
}

TEST(Content, a_file_of_another_kind_is_left_alone) {
    const Folder folder;
    ASSERT_TRUE(make_folders(folder.keys));
    ASSERT_TRUE(write_file(folder.keys + "/content.keys", std::string(500, 'a'), 0600));
    const auto opened = ContentStore::open(folder.path, folder.keys, ContentStore::Mode::make);
    ASSERT_FALSE(opened);
    EXPECT_EQ(folder.keys_file(), std::string(500, 'a'));
}

TEST(Content, erased_keys_are_in_no_file_any_more) {
    const Folder folder;
    const auto store = folder.store();
    ASSERT_TRUE(store->keep(BodyKind::prompt, "req-1", 7, "one"));
    ASSERT_TRUE(store->keep(BodyKind::prompt, "req-2", 8, "two"));
    ASSERT_TRUE(store->keep(BodyKind::prompt, "req-3", 9, "three"));
    const std::string before = folder.keys_file();
    const std::string key_1 = before.substr(128 + 32, 32), key_3 = before.substr(3 * 128 + 32, 32);
    const auto erased = store->erase({.request_id = "req-1"}, no_record);
    ASSERT_TRUE(erased) << erased.error().message;
    EXPECT_EQ(*erased, 1);
    EXPECT_EQ(*store->erase({.request_id = {}, .before_wall_ns = 9}, no_record), 1);
    EXPECT_TRUE(store->read("req-1")->empty());
    EXPECT_TRUE(store->read("req-2")->empty());
    EXPECT_EQ(store->read("req-3")->at(0).text, "three");
    EXPECT_EQ(*store->erase({.request_id = "req-3"}, no_record), 1);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             std::filesystem::path(folder.path).parent_path())) {
        if (!entry.is_regular_file()) continue;
        EXPECT_THAT(folder.file(entry.path().string()), Not(HasSubstr(key_1)));
        EXPECT_THAT(folder.file(entry.path().string()), Not(HasSubstr(key_3)));
    }
    EXPECT_EQ(folder.keys_file().size(), 128u);  // nothing left but the header
    ASSERT_TRUE(store->keep(BodyKind::prompt, "req-4", 9, "four"));
    EXPECT_EQ(store->read("req-4")->at(0).text, "four");
}

TEST(Content, nothing_is_erased_that_cannot_be_recorded) {
    const Folder folder;
    const auto store = folder.store();
    ASSERT_TRUE(store->keep(BodyKind::prompt, "req-1", 7, "one"));
    const auto refused = store->erase({.request_id = "req-1"}, [&](const auto&, std::int64_t n) {
        EXPECT_EQ(n, 1);
        EXPECT_EQ(store->read("req-1")->size(), 1u);  // still there while it is recorded
        return Status(fail(ErrorKind::internal, "no space left"));
    });
    ASSERT_FALSE(refused);
    EXPECT_EQ(store->read("req-1")->at(0).text, "one");
    EXPECT_EQ(*store->finish_erasure(no_record), std::nullopt);
}

TEST(Content, the_entry_names_the_ciphertext_and_the_chain_outlives_the_key) {
    const Folder folder;
    folder.ask("req-1", std::string(kCanary), "an answer");
    const Json decision = folder.records("decision").at(0),
               outcome = folder.records("outcome").at(0);
    const auto bodies = folder.store()->read("req-1");
    ASSERT_EQ(bodies->size(), 2u);
    EXPECT_EQ(decision["body"]["sha256"], (*bodies)[0].sha256);
    EXPECT_EQ(outcome["body"]["sha256"], (*bodies)[1].sha256);
    EXPECT_THAT(to_text(decision), Not(HasSubstr(std::string(kCanary))));
    EXPECT_TRUE(folder.verified());
    {
        const auto journal = folder.journal();
        const auto erased =
            folder.store()->erase({.request_id = "req-1"}, [&](const auto& range, std::int64_t n) {
                journal->append(erasure_record("terminal", range, n));
                return journal->flush();
            });
        EXPECT_EQ(*erased, 2);
    }
    EXPECT_TRUE(folder.verified());
    EXPECT_TRUE(folder.store()->read("req-1")->empty());
    const Json event = folder.records("content.erased").at(0);
    EXPECT_EQ(event["actor"], "terminal");
    EXPECT_EQ(event["detail"]["request_id"], "req-1");
    EXPECT_EQ(event["detail"]["n_bodies"], 2);
    EXPECT_EQ(folder.records("decision").at(0), decision);
}

// The lock is held while the event is written; a journal that opens at that moment must not wait.
TEST(Content, a_journal_can_be_opened_while_an_erasure_is_recorded) {
    const Folder folder;
    folder.ask("req-1", "one", "two");
    const auto erased =
        folder.store()->erase({.request_id = "req-1"}, [&](const auto& range, std::int64_t n) {
            const auto journal = folder.journal();  // its thread looks for unfinished erasures
            journal->append(erasure_record("terminal", range, n));
            return journal->flush();
        });
    EXPECT_EQ(*erased, 2);
    const auto events = folder.records("content.erased");
    ASSERT_EQ(events.size(), 1u);
    EXPECT_FALSE(events[0]["detail"].contains("taken_up"));
}

// The header as an erasure leaves it that was cut off before or after its record.
TEST(Content, an_erasure_that_was_cut_off_is_recorded_and_finished_at_the_next_start) {
    const Folder folder;
    folder.ask("req-1", "one", "two");
    folder.ask("req-2", "three", "four");
    std::string bytes = folder.keys_file();
    bytes[24] = 1;
    bytes.replace(64, 5, "req-1");
    ASSERT_TRUE(write_file(folder.keys + "/content.keys", bytes, 0600));
    ASSERT_TRUE(folder.journal()->flush());
    const auto events = folder.records("content.erased");
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0]["detail"]["request_id"], "req-1");
    EXPECT_EQ(events[0]["detail"]["n_bodies"], 2);
    EXPECT_EQ(events[0]["detail"]["taken_up"], true);
    EXPECT_TRUE(folder.store()->read("req-1")->empty());
    EXPECT_EQ(folder.store()->read("req-2")->size(), 2u);
    ASSERT_TRUE(folder.journal()->flush());
    EXPECT_EQ(folder.records("content.erased").size(), 1u);  // once
    EXPECT_TRUE(folder.verified());
}

// Whoever has a request erased while it runs means its answer, too.
TEST(Content, an_answer_is_not_kept_once_its_prompt_was_erased) {
    const Folder folder;
    const auto journal = folder.journal();
    const auto decide = [&](const char* id) {
        DecisionRecord decision;
        decision.request_id = id;
        decision.body.text = "prompt";
        journal->append(std::move(decision), nullptr);
        EXPECT_TRUE(journal->flush());
    };
    const auto end = [&](const char* id) {
        OutcomeRecord outcome;
        outcome.request_id = id;
        outcome.body.text = std::string(kCanary);
        journal->append(std::move(outcome));
        EXPECT_TRUE(journal->flush());
    };
    decide("req-1");
    const auto erased = folder.store()->erase({.request_id = "req-1"}, no_record);
    EXPECT_EQ(*erased, 1);
    decide("req-2");  // its prompt lies where that of req-1 lay
    end("req-1");
    end("req-2");
    EXPECT_TRUE(folder.store()->read("req-1")->empty());
    EXPECT_EQ(folder.store()->read("req-2")->size(), 2u);
    const auto outcomes = folder.records("outcome");
    ASSERT_EQ(outcomes.size(), 2u);
    EXPECT_EQ(outcomes[0]["body"]["not_kept"], "erased");
    EXPECT_TRUE(outcomes[1]["body"].contains("sha256"));
}

TEST(Content, texts_are_kept_no_longer_than_entries_and_their_end_is_on_record) {
    const Folder folder;
    ManualClock clock;
    const auto journal_at = [&](std::int64_t wall_ns) {
        clock.now_ns = wall_ns;
        auto opened = Journal::open(
            {.folder = folder.path, .sync = Sync::none, .keep_ns = 50 * kNsPerS}, clock);
        EXPECT_TRUE(opened) << opened.error().message;
        return std::move(*opened);
    };
    const auto ask = [&](std::int64_t wall_ns, const char* id) {
        const auto journal = journal_at(wall_ns);
        DecisionRecord decision;
        decision.request_id = id;
        decision.body.text = "prompt";
        journal->append(std::move(decision), nullptr);
        EXPECT_TRUE(journal->flush());
    };
    ask(1000 * kNsPerS, "old");
    ask(1040 * kNsPerS, "young");
    EXPECT_EQ(folder.store()->read("old")->size(), 1u);
    ask(1060 * kNsPerS, "new");
    EXPECT_TRUE(folder.store()->read("old")->empty());
    EXPECT_EQ(folder.store()->read("young")->size(), 1u);
    const auto events = folder.records("content.erased");
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0]["actor"], "journal");
    EXPECT_EQ(events[0]["detail"]["n_bodies"], 1);
    EXPECT_TRUE(folder.verified());
}

// Another erasure holds the lock while this journal looks for what is too old.
TEST(Content, retention_waits_for_nobody) {
    const Folder folder;
    folder.ask("req-1", "one", "two");
    const auto erased =
        folder.store()->erase({.request_id = "req-1"}, [&](const auto& range, std::int64_t n) {
            const auto journal = Journal::open(
                {.folder = folder.path, .sync = Sync::none, .keep_ns = 1});
            (*journal)->append(erasure_record("terminal", range, n));
            return (*journal)->flush();
        });
    EXPECT_EQ(*erased, 2);
    EXPECT_EQ(folder.records("content.erased").size(), 1u);
}

TEST(Content, a_request_without_a_text_leaves_no_file) {
    const Folder folder;
    {
        const auto journal = folder.journal();
        DecisionRecord decision;
        decision.request_id = "req-1";
        decision.body.not_kept = "class";
        journal->append(std::move(decision), nullptr);
        OutcomeRecord outcome;
        outcome.request_id = "req-1";
        journal->append(std::move(outcome));
        ASSERT_TRUE(journal->flush());
    }
    EXPECT_EQ(folder.records("decision").at(0)["body"]["not_kept"], "class");
    EXPECT_FALSE(folder.records("outcome").at(0).contains("body"));
    EXPECT_FALSE(std::filesystem::exists(folder.path + "/content.bodies"));
    EXPECT_FALSE(std::filesystem::exists(folder.keys + "/content.keys"));
    const auto none = ContentStore::open(folder.path, folder.keys, ContentStore::Mode::existing);
    EXPECT_EQ(none.error().kind, ErrorKind::not_found);
}

TEST(Content, a_text_past_the_bound_is_named_in_the_entry_and_holds_up_nothing) {
    const Folder folder;
    folder.ask("req-1", std::string(kBodyBytes + 1, 'x'), "fine");
    EXPECT_THAT(folder.records("decision").at(0)["body"]["not_kept"].get<std::string>(),
                HasSubstr("the limit is"));
    EXPECT_TRUE(folder.records("outcome").at(0)["body"].contains("sha256"));
}

}  // namespace
}  // namespace hearth::journal
