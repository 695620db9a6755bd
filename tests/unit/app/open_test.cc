// The end of a house: whatever is under way hears its end, and nothing is used after it is gone.
#include "app/open.h"

#include <gtest/gtest.h>

#include "support/data.h"

namespace hearth::app {
namespace {

struct Caller final : serve::ExchangeClient {
    Caller(serve::Metrics& metrics, std::atomic<int>& n) : open(metrics), n_terminal(n) {}
    void on_placed(const serve::Placement&) override {}
    void on_event(chat::Event event) override { n_terminal += chat::is_terminal(event); }
    const serve::OpenRequest open;
    std::atomic<int>& n_terminal;
};

TEST(OwnedHouse, requests_that_wait_for_a_prep_thread_hear_their_end) {
    const std::string folder = test::temp_folder();
    constexpr int kRequests = 200;
    std::atomic<int> n_terminal = 0;
    {
        OwnedHouse owned;
        owned.prep = std::make_unique<serve::PrepPool>();
        owned.journal = std::move(*journal::Journal::open({folder, journal::Sync::none}));
        serve::LocalPlace place;
        place.source.name = "none";
        owned.places = std::make_unique<serve::Places>(
            std::vector{place}, std::vector<backend::UpstreamConfig>(), nullptr,
            [](const serve::LocalPlace&) -> Result<std::unique_ptr<backend::LocalBackend>> {
                return fail(ErrorKind::does_not_fit, "too large");
            });
        owned.house.reset(new serve::House{.places = *owned.places,
                                           .journal = *owned.journal,
                                           .metrics = owned.metrics,
                                           .prep = *owned.prep,
                                           .policy = {}});
        for (int i = 0; i < kRequests; ++i) {
            auto caller = std::make_shared<Caller>(owned.metrics, n_terminal);
            ASSERT_TRUE(owned.prep->post([&house = *owned.house, caller] {
                auto request = std::make_shared<chat::ChatRequest>();
                request->model = "none";
                serve::Exchange::begin(house, request, {"req-1", "test", "test", 0}, caller);
            }));
        }
    }
    EXPECT_EQ(n_terminal, kRequests);
    // Each was written down, its decision and its outcome.
    const auto entries = journal::read_tail(folder, 10 * kRequests);
    ASSERT_TRUE(entries);
    EXPECT_EQ(entries->size(), 2u * kRequests);
}

}  // namespace
}  // namespace hearth::app
