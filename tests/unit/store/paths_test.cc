#include "store/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace hearth::store {
namespace {

Environment with(std::map<std::string, std::string> values) {
    return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
        const auto it = values.find(name);
        if (it == values.end()) return std::nullopt;
        return it->second;
    };
}

TEST(Paths, follow_xdg_below_home) {
    const auto folders = resolve_folders(with({{"HOME", "/home/ada/"}}), "/tmp");
    ASSERT_TRUE(folders);
    EXPECT_EQ(folders->config_file(), "/home/ada/.config/hearth/config.toml");
    EXPECT_EQ(folders->models(), "/home/ada/.local/share/hearth/models");
    EXPECT_EQ(folders->journal(), "/home/ada/.local/state/hearth/journal");
    EXPECT_EQ(folders->packed(), "/home/ada/.cache/hearth/packed");
}

TEST(Paths, xdg_variables_win_where_they_are_absolute) {
    const auto folders = resolve_folders(with({{"HOME", "/home/ada"},
                                               {"XDG_CONFIG_HOME", "/c"},
                                               {"XDG_DATA_HOME", "relative"},
                                               {"XDG_STATE_HOME", ""}}),
                                         "/tmp");
    ASSERT_TRUE(folders);
    EXPECT_EQ(folders->config, "/c/hearth");
    EXPECT_EQ(folders->data, "/home/ada/.local/share/hearth");
    EXPECT_EQ(folders->state, "/home/ada/.local/state/hearth");
}

TEST(Paths, hearth_home_holds_everything) {
    const auto folders =
        resolve_folders(with({{"HEARTH_HOME", "/srv/hearth/"}, {"XDG_DATA_HOME", "/d"}}), "/tmp");
    ASSERT_TRUE(folders);
    EXPECT_EQ(folders->config_file(), "/srv/hearth/config.toml");
    EXPECT_EQ(folders->models(), "/srv/hearth/models");
    EXPECT_EQ(folders->journal(), "/srv/hearth/state/journal");
    EXPECT_EQ(folders->packed(), "/srv/hearth/cache/packed");
    EXPECT_EQ(resolve_folders(with({{"HEARTH_HOME", "h"}}), "/tmp/")->models(), "/tmp/h/models");
}

TEST(Paths, without_any_home_the_error_says_what_to_set) {
    for (const auto& environment : {with({}), with({{"HOME", "relative"}})}) {
        const auto folders = resolve_folders(environment, "/tmp");
        ASSERT_FALSE(folders);
        EXPECT_THAT(folders.error().message, testing::HasSubstr("HEARTH_HOME"));
    }
}

}  // namespace
}  // namespace hearth::store
