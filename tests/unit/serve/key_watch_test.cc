#include "serve/key_watch.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "support/data.h"

namespace hearth::serve {
namespace {

using Ids = std::vector<std::string>;

struct Rig {
    std::string folder = test::temp_folder();
    ManualClock clock;
    KeyStore store{folder, clock};
    KeyWatch watch{store};
    Rig() { clock.now_ns = 1'800'000'000LL * kNsPerS; }
    std::string make(const KeyWish& wish = {.name = "laptop"}) {
        return store.create(wish)->key.id;
    }
};

TEST(KeyWatch, names_each_key_that_ended_once) {
    Rig rig;
    EXPECT_EQ(rig.watch.ended(), Ids());
    const std::string a = rig.make({.name = "a"}), b = rig.make({.name = "b"});
    EXPECT_EQ(rig.watch.ended(), Ids());
    ASSERT_TRUE(rig.store.revoke(a));
    EXPECT_EQ(rig.watch.ended(), Ids{a});
    EXPECT_EQ(rig.watch.ended(), Ids());
    ASSERT_TRUE(rig.store.rotate(b, 0));  // another secret, the same key
    EXPECT_EQ(rig.watch.ended(), Ids());
    ASSERT_TRUE(rig.store.revoke(b));
    EXPECT_EQ(rig.watch.ended(), Ids{b});
}

TEST(KeyWatch, sees_what_another_process_changed_and_a_key_that_came_and_went_meanwhile) {
    Rig rig;
    EXPECT_EQ(rig.watch.ended(), Ids());
    KeyStore other(rig.folder, rig.clock);
    const std::string id = other.create({.name = "k"})->key.id;
    ASSERT_TRUE(other.revoke(id));
    EXPECT_EQ(rig.watch.ended(), Ids{id});
}

TEST(KeyWatch, a_key_ends_by_its_time) {
    Rig rig;
    const std::string id = rig.make({.name = "k", .expires = "30s"});
    EXPECT_EQ(rig.watch.ended(), Ids());
    rig.clock.now_ns += 30 * kNsPerS - 1;
    EXPECT_EQ(rig.watch.ended(), Ids());
    rig.clock.now_ns += 1;
    EXPECT_EQ(rig.watch.ended(), Ids{id});
    EXPECT_EQ(rig.watch.ended(), Ids());
}

TEST(KeyWatch, a_key_that_is_not_in_the_file_any_more_has_ended) {
    Rig rig;
    const std::string id = rig.make();
    EXPECT_EQ(rig.watch.ended(), Ids());
    ASSERT_TRUE(write_file(rig.folder + "/keys.json", "{", 0600));
    EXPECT_EQ(rig.watch.ended(), Ids());  // it cannot be read, and nobody is let in
    ASSERT_TRUE(write_file(rig.folder + "/keys.json", to_text(KeyFile{}), 0600));
    EXPECT_EQ(rig.watch.ended(), Ids{id});
}

}  // namespace
}  // namespace hearth::serve
