// What is known of the places while a model loads, and while its queue is full.
#include "serve/places.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "base/log.h"
#include "serve/exchange.h"
#include "support/tiny_model.h"
#include "unit/serve/house.h"

namespace hearth::serve {
namespace {

LocalPlace tiny(const std::string& name, const std::string& file = "") {
    LocalPlace place;
    place.source = {.name = name, .path = "", .bytes = std::as_bytes(std::span(file))};
    place.options.engine = {.n_ctx = 64, .n_parallel = 1, .n_queue = 1};
    place.options.n_threads = 1;
    return place;
}

TEST(Places, a_model_that_is_loading_keeps_nobody_waiting_who_only_asks_about_it) {
    std::promise<void> begun, release;
    Places places({tiny("slow")}, {}, nullptr,
                  [&](const LocalPlace&) -> Result<std::unique_ptr<backend::LocalBackend>> {
                      begun.set_value();
                      release.get_future().wait();
                      return fail(ErrorKind::does_not_fit, "too large");
                  });
    auto load = std::async(std::launch::async, [&] { return places.local(0).has_value(); });
    begun.get_future().wait();
    auto asked = std::async(std::launch::async, [&] {
        return places.loaded(0) == nullptr && places.targets().size() == 1 &&
               !places.signals("slow").local_overloaded;
    });
    EXPECT_EQ(asked.wait_for(kPatience), std::future_status::ready);
    release.set_value();
    EXPECT_TRUE(asked.get());
    EXPECT_FALSE(load.get());
}

// Takes its first token and then reads no more, until it is let go.
struct StuckSink final : engine::OutputSink {
    void on_output(engine::Output) override {}
    void on_finish(engine::Finish) override {}
    bool ready() const override { return false; }
    bool cancelled() const override { return gone; }
    std::atomic<bool> gone = false;
};

struct FullPlaces : testing::Test {
    FullPlaces() { set_log(LogLevel::error); }

    // Takes every place of the model's queue and batch.
    void fill(std::size_t target) {
        auto local = places.local(target);
        ASSERT_TRUE(local) << local.error().message;
        engine::Engine& engine = (*local)->engine();
        ASSERT_TRUE(engine.submit({.prompt = {TokenId(1)}, .sink = sink}));
        // One runs and waits for its reader: that is one, and another has room.
        ASSERT_TRUE(eventually([&] { return engine.stats().n_paused == 1; }));
        EXPECT_FALSE(places.signals(target == 0 ? "one" : "two").local_overloaded);
        ASSERT_TRUE(engine.submit({.prompt = {TokenId(1)}, .sink = sink}));
    }
    chat::ChatRequest request(const char* model) {
        chat::ChatRequest r;
        r.model = model;
        r.raw = chat::RawPrompt{"hi", {}};
        return r;
    }

    const std::string file = test::tiny_model(test::tiny_of("llama", test::kF32)).bytes();
    TestDoor door;
    std::shared_ptr<StuckSink> sink = std::make_shared<StuckSink>();
    Places places{{tiny("one", file), tiny("two", file)}, {acme({"big"})}, &door};
};

TEST_F(FullPlaces, a_full_queue_is_a_signal_for_its_model) {
    ASSERT_TRUE(places.local(0));
    EXPECT_FALSE(places.signals("one").local_overloaded);
    fill(0);
    EXPECT_TRUE(places.signals("one").local_overloaded);
    EXPECT_FALSE(places.signals("two").local_overloaded);
    EXPECT_FALSE(places.signals("acme/big").local_overloaded);
    EXPECT_FALSE(places.signals("auto").local_overloaded) << "another model has room";
    fill(1);
    EXPECT_TRUE(places.signals("auto").local_overloaded);
    sink->gone = true;
    EXPECT_TRUE(eventually([&] { return !places.signals("one").local_overloaded; }));
}

TEST_F(FullPlaces, a_full_machine_bursts_only_where_policy_lets_the_request_leave) {
    fill(0);
    fill(1);
    const auto decide = [&](chat::ChatRequest r, const route::PolicySettings& policy = {}) {
        return explain(places, policy, r, false).decision;
    };
    const route::Decision burst = decide(request("auto"));
    EXPECT_FALSE(burst.refused);
    EXPECT_EQ(burst.reason, "burst");
    EXPECT_EQ(burst.target, 2u);

    chat::ChatRequest secret = request("auto");
    secret.stated_sensitivity = chat::Sensitivity::restricted;
    for (const auto& kept : {secret, request("local"), request("one")}) {
        const route::Decision refused = decide(kept);
        EXPECT_TRUE(refused.refused) << kept.model;
        EXPECT_EQ(refused.reason, "overloaded") << kept.model;
        EXPECT_EQ(refused.error.kind, ErrorKind::overloaded);
    }
    const route::Decision stays = decide(request("auto"), {.fallback = false});
    EXPECT_FALSE(stays.refused);
    EXPECT_EQ(stays.target, 0u);
}

}  // namespace
}  // namespace hearth::serve
