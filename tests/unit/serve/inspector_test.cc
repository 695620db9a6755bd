// What is found in a request, what is remembered of it, and what leaves when policy lets it leave
// redacted.
#include "serve/inspector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/json.h"
#include "serve/redaction.h"
#include "support/data.h"
#include "support/seeds.h"

namespace hearth::serve {
namespace {

using chat::Role;
using chat::Sensitivity;
using testing::HasSubstr;
using testing::Not;

const Secret kKey(std::string(32, 'k'));
const std::string kCard = "My card is 4111 1111 1111 1111, please remember it.";
// What a model could have made of it, in words that no detector knows.
const std::string kAnswer =
    "Noted: the number begins with four and then has nothing but ones, sixteen digits in all.";

struct Rig {
    explicit Rig(const std::string& folder = test::temp_folder())
        : inspector(*route::Detectors::make(), std::move(*route::TaintStore::open(folder, kKey)),
                    kKey) {}
    Inspection look(const chat::ChatRequest& r) { return inspector.inspect(r, policy); }
    // As an exchange does: looks, marks what was sent, and what is answered.
    void live_through(const chat::ChatRequest& r, const std::string& answer,
                      std::optional<Sensitivity> stated = {}) {
        const Inspection i = look(r);
        Sensitivity held = std::max(*i.detected, stated.value_or(Sensitivity::public_));
        if (i.taint) held = std::max(held, i.taint->sensitivity);
        const std::string id = inspector.mark(r, i, stated, held);
        if (id.empty()) return;
        AnswerMarks marks(kKey, i.conversation);
        for (std::size_t at = 0; at < answer.size(); at += 7)
            marks.add(chat::TextDelta{0, answer.substr(at, 7), {}});
        inspector.mark_answer(marks.finish(), {id, held});
    }
    route::PolicySettings policy;
    Inspector inspector;
};

chat::Message say(Role role, const std::string& text) {
    chat::Message message;
    message.role = role;
    message.parts.push_back(chat::TextPart{text});
    return message;
}
chat::ChatRequest talk(std::initializer_list<std::pair<Role, std::string>> turns) {
    chat::ChatRequest request;
    for (const auto& [role, text] : turns) request.messages.push_back(say(role, text));
    return request;
}

TEST(Inspector, every_place_that_could_leave_is_looked_at) {
    const std::string number = "4111 1111 1111 1111";
    std::vector<chat::ChatRequest> all(12);
    for (auto& r : all) r = talk({{Role::user, "Hello"}});
    all[0].messages.insert(all[0].messages.begin(), say(Role::system, kCard));
    all[1].messages.push_back(say(Role::tool, "result: " + number));
    all[2].messages.push_back(say(Role::assistant, number));
    all[2].messages.push_back(say(Role::user, "And now?"));
    all[3].messages[0].thinking = number;
    all[4].messages[0].tool_calls.push_back(
        {"c", "pay", "{\"card\":\"4111\\u00201111\\u00201111\\u00201111\"}"});
    all[5].messages[0].tool_calls.push_back({"c", "pay", R"({"card":4111111111111111})"});
    all[6].tools.push_back({"pay", "for example " + number, Json::object(), false});
    all[7].tools.push_back({"pay", "", Json{{"default", number}}, false});
    all[8].response_format.schema = Json{{"const", number}};
    all[9].stop.push_back(number);
    all[10].template_kwargs["context"] = number;
    all[11].messages[0].parts = {chat::TextPart{"card 4111 1111"}, chat::TextPart{" 1111 1111"}};
    Rig rig;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const Inspection found = rig.look(all[i]);
        EXPECT_EQ(found.detected, Sensitivity::restricted) << i;
        ASSERT_FALSE(found.entities.empty()) << i;
        EXPECT_EQ(found.entities[0].entity, "credit_card") << i;
        EXPECT_EQ(found.entities[0].n, 1) << i;
    }
    EXPECT_EQ(rig.look(talk({{Role::user, "Hello"}})).detected, Sensitivity::internal);
}

TEST(Inspector, the_derived_answer_alone_carries_the_class) {
    Rig rig;
    rig.live_through(talk({{Role::system, "Be brief."}, {Role::user, kCard}}), kAnswer);
    // The card is dropped; the answer stays, here and in another conversation.
    for (const auto& r : {talk({{Role::assistant, kAnswer}, {Role::user, "Go on."}}),
                          talk({{Role::user, "Translate:\n" + kAnswer}}),
                          talk({{Role::user, "HI"}, {Role::tool, kAnswer + "  \n"}})}) {
        const Inspection found = rig.look(r);
        EXPECT_EQ(found.detected, Sensitivity::internal);
        ASSERT_TRUE(found.taint);
        EXPECT_EQ(found.taint->sensitivity, Sensitivity::restricted);
    }
    EXPECT_FALSE(rig.look(talk({{Role::system, "Be brief."}, {Role::user, "Hello"}})).taint);
}

TEST(Inspector, what_was_stated_stays_with_the_conversation) {
    Rig rig;
    const auto first = talk({{Role::user, "Plan B is to buy the competitor in March."}});
    rig.live_through(first, "Yes.", Sensitivity::restricted);
    const auto resent = talk({{Role::user, "Plan B is to buy the competitor in March."},
                              {Role::assistant, "Yes."},
                              {Role::user, "When?"}});
    ASSERT_TRUE(rig.look(resent).taint);
    EXPECT_EQ(rig.look(resent).taint->sensitivity, Sensitivity::restricted);
    // A short answer is said in many conversations.
    EXPECT_FALSE(rig.look(talk({{Role::user, "Is it?"}, {Role::assistant, "Yes."}})).taint);
}

TEST(Inspector, no_resending_reordering_or_dropping_of_turns_sheds_it) {
    std::mt19937 random(test::test_seed());
    for (int round = 0; round < 20; ++round) {
        Rig rig;
        auto history = talk({{Role::system, "Be brief."}, {Role::user, "Good morning to you"}});
        const auto answer = [&](int i) {
            return "answer " + std::to_string(i) + ": " + std::string(60 + random() % 50, 'a') +
                   std::to_string(random());
        };
        const int sensitive_at = int(random() % 3);
        for (int turn = 0; turn < 5; ++turn) {
            const std::string said = answer(turn);
            rig.live_through(history, said);
            history.messages.push_back(say(Role::assistant, said));
            history.messages.push_back(
                say(Role::user, turn == sensitive_at ? kCard : "next " + std::to_string(turn)));
        }
        rig.live_through(history, answer(9));
        // Everything from the first answer after the card on carries it, in any order.
        const std::size_t first = 2 + 2 * std::size_t(sensitive_at) + 2;
        for (std::size_t i = first; i < history.messages.size(); i += 2) {
            auto kept = talk({{Role::user, "Something else"}});
            kept.messages.push_back(history.messages[i]);
            std::ranges::shuffle(kept.messages, random);
            EXPECT_TRUE(rig.look(kept).taint) << i;
        }
        // What came before it does not.
        auto before = talk({{Role::system, "Be brief."}, {Role::user, "Good morning to you"}});
        EXPECT_FALSE(rig.look(before).taint);
    }
}

TEST(Inspector, a_release_lets_the_answer_go_and_the_card_is_found_again) {
    Rig rig;
    const auto first = talk({{Role::user, kCard}});
    rig.live_through(first, kAnswer);
    const auto derived = talk({{Role::assistant, kAnswer}, {Role::user, "Go on."}});
    const std::string id = rig.look(derived).taint->id;
    ASSERT_TRUE(rig.inspector.taint()->release(id));
    EXPECT_FALSE(rig.look(derived).taint);
    EXPECT_EQ(rig.look(first).detected, Sensitivity::restricted);
}

TEST(Inspector, marks_are_there_after_a_restart_and_in_another_process) {
    const std::string folder = test::temp_folder();
    const auto derived = talk({{Role::user, kAnswer}});
    Rig other(folder);
    EXPECT_FALSE(other.look(derived).taint);
    {
        Rig rig(folder);
        rig.live_through(talk({{Role::user, kCard}}), kAnswer);
    }
    EXPECT_TRUE(other.look(derived).taint);
    EXPECT_TRUE(Rig(folder).look(derived).taint);
}

TEST(Redaction, what_leaves_holds_no_value_and_the_answer_gets_them_back) {
    Rig rig;
    rig.policy.redact_to = Sensitivity::restricted;
    auto request = talk({{Role::user, kCard}});
    request.messages.push_back(say(Role::assistant, ""));
    request.messages[1].tool_calls.push_back({"c", "pay", R"({"card":4111111111111111,"n":2})"});
    const Inspection found = rig.look(request);
    EXPECT_EQ(found.detected, Sensitivity::restricted);
    ASSERT_TRUE(found.redaction);
    EXPECT_EQ(found.redacted_sensitivity, Sensitivity::internal);
    const chat::ChatRequest& out = *found.redaction->request;
    const std::string text = chat::text_of(out.messages[0]);
    EXPECT_THAT(text, Not(HasSubstr("4111")));
    EXPECT_THAT(text, HasSubstr("My card is [CREDIT_CARD_"));
    EXPECT_THAT(out.messages[1].tool_calls[0].arguments, Not(HasSubstr("4111")));
    EXPECT_EQ((*parse_json(out.messages[1].tool_calls[0].arguments))["n"], 2);

    AnswerRestorer restorer(found.redaction);
    const std::string name = text.substr(11, text.find(']') - 10);
    std::string back, arguments;
    const auto take = [&](chat::Event event) {
        for (chat::Event& e : restorer.pass(std::move(event))) {
            if (auto* t = std::get_if<chat::TextDelta>(&e)) back += t->text;
            if (auto* c = std::get_if<chat::ToolCallDelta>(&e)) arguments += c->arguments;
        }
    };
    for (const char c : "You said " + name + "." + name.substr(0, 5))
        take(chat::TextDelta{0, std::string(1, c), {}});
    for (const char c : R"({"to":")" + name + R"("})")
        take(chat::ToolCallDelta{0, 0, std::string(1, c)});
    take(chat::AnswerDone{0});
    EXPECT_EQ(back, "You said 4111 1111 1111 1111." + name.substr(0, 5));
    EXPECT_EQ((*parse_json(arguments))["to"], "4111 1111 1111 1111");
    EXPECT_EQ(restorer.n_restored(), 2);
    EXPECT_EQ((*parse_json(restorer.json()))["values"]["credit_card"], 2);
}

TEST(Redaction, what_cannot_be_replaced_keeps_the_request_here) {
    Rig rig;
    rig.policy.redact_to = Sensitivity::restricted;
    auto stop = talk({{Role::user, "Hello"}});
    stop.stop.push_back("4111 1111 1111 1111");
    EXPECT_EQ(rig.look(stop).redacted_sensitivity, Sensitivity::restricted);
    // Derived from what a local model saw as it is: nobody finds what may be in it.
    rig.live_through(talk({{Role::user, kCard}}), kAnswer);
    const auto derived = talk({{Role::user, kCard}, {Role::assistant, kAnswer}, {Role::user, "?"}});
    EXPECT_EQ(rig.look(derived).redacted_sensitivity, Sensitivity::restricted);
}

}  // namespace
}  // namespace hearth::serve
