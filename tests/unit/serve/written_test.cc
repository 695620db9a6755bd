// Before anything leaves its decision is written: what an exchange asks of the journal, and what it
// answers when the journal cannot.
#include <gtest/gtest.h>

#include <mutex>

#include "serve/exchange.h"

namespace hearth::serve {
namespace {

// Answers every decision with the same status and keeps the records.
class TestJournal final : public journal::Journal {
  public:
    explicit TestJournal(Status answer) : answer_(std::move(answer)) {}
    void append(journal::DecisionRecord record, Done on_written) override {
        decisions.push_back(std::move(record));
        on_written(answer_);
    }
    void append(journal::OutcomeRecord record, Done) override {
        outcomes.push_back(std::move(record));
    }
    void append(egress::Receipt, Done) override {}
    void append(journal::EventRecord record, Done) override {
        events.push_back(std::move(record));
    }
    Status flush() override { return {}; }

    std::vector<journal::EventRecord> events;
    std::vector<journal::DecisionRecord> decisions;
    std::vector<journal::OutcomeRecord> outcomes;

  private:
    const Status answer_;
};

class TestClient final : public ExchangeClient {
  public:
    void on_placed(const Placement&) override {}
    void on_event(chat::Event event) override { end = std::move(event); }
    chat::Event end;
};

backend::UpstreamConfig acme() {
    backend::UpstreamConfig config;
    config.name = "acme";
    config.base_url = "https://api.example.com/v1";
    config.models.resize(1);
    config.models[0].model = "big-1";
    EXPECT_TRUE(backend::check(config));
    return config;
}

// A cloud model that has no door: whatever is sent there fails as internal.
struct Rig {
    explicit Rig(Status written) : journal(std::move(written)) {}

    void ask(std::optional<chat::Sensitivity> stated = {}) {
        auto request = std::make_shared<chat::ChatRequest>();
        request->model = "acme/big-1";
        request->stated_sensitivity = stated;
        client = std::make_shared<TestClient>();
        PrepPool prep;
        House house{.places = places,
                    .journal = journal,
                    .metrics = metrics,
                    .prep = prep,
                    .policy = policy};
        Exchange::begin(house, request, {"req-1", "test", "terminal", 0}, client);
        prep.close();  // what was posted runs to its end, while the house is there
    }
    Error error() const {
        const auto* failed = std::get_if<chat::Failed>(&client->end);
        return failed ? failed->error : Error{.kind = ErrorKind::not_found, .message = "no end"};
    }

    Places places{{}, {acme()}, nullptr};
    Metrics metrics;
    TestJournal journal;
    route::PolicySettings policy;
    std::shared_ptr<TestClient> client;
};

TEST(Written, a_full_journal_is_overload_and_says_when_to_come_again) {
    Rig rig(fail(Error{
        .kind = ErrorKind::overloaded, .message = "3072 records behind", .retry_after_s = 7}));
    rig.ask();
    EXPECT_EQ(rig.error().kind, ErrorKind::overloaded);
    EXPECT_EQ(rig.error().retry_after_s, 7);
    EXPECT_NE(rig.error().message.find("nothing was sent"), std::string::npos);
}

TEST(Written, a_journal_that_cannot_write_is_an_error_of_ours) {
    for (const ErrorKind kind : {ErrorKind::internal, ErrorKind::invalid_request}) {
        Rig rig(fail(kind, "no space left"));
        rig.ask();
        EXPECT_EQ(rig.error().kind, ErrorKind::internal);
        EXPECT_NE(rig.error().message.find("nothing was sent"), std::string::npos);
    }
}

TEST(Written, what_is_confidential_and_leaves_is_synced_first) {
    const auto synced = [](chat::Sensitivity stated, chat::Sensitivity keep_from) {
        Rig rig{Status()};
        rig.policy.keep_from = keep_from;
        rig.ask(stated);
        EXPECT_EQ(rig.journal.decisions.size(), 1u);
        return rig.journal.decisions[0].sync_first;
    };
    using chat::Sensitivity;
    EXPECT_TRUE(synced(Sensitivity::confidential, Sensitivity::restricted));
    EXPECT_FALSE(synced(Sensitivity::internal, Sensitivity::restricted));
    EXPECT_FALSE(synced(Sensitivity::confidential, Sensitivity::confidential));  // refused
}

TEST(Written, a_refusal_that_is_not_written_is_logged) {
    Rig rig(fail(ErrorKind::internal, "no space left"));
    testing::internal::CaptureStderr();
    rig.ask(chat::Sensitivity::restricted);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("journal_failed"), std::string::npos) << said;
    EXPECT_EQ(rig.error().kind, ErrorKind::forbidden_by_policy);
}

}  // namespace
}  // namespace hearth::serve
