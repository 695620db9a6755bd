#include "store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"
#include "support/data.h"

namespace hearth::store {
namespace {

using testing::HasSubstr;

const std::byte kBytes[3] = {};

Store store_with(const std::string& folder, const std::vector<std::string>& files) {
    EXPECT_TRUE(make_folders(folder));
    for (const auto& file : files) EXPECT_TRUE(write_file(folder + "/" + file, "GGUF"));
    return {folder, {{.name = "demo", .bytes = kBytes}}};
}

TEST(Store, demo_is_the_built_in_model_on_a_bare_machine) {
    const Store store("/nonexistent/models", {{.name = "demo", .bytes = kBytes}});
    const auto source = store.resolve("demo");
    ASSERT_TRUE(source) << source.error().message;
    EXPECT_EQ(source->name, "demo");
    EXPECT_TRUE(source->path.empty());
    EXPECT_EQ(source->bytes.data(), kBytes);
    ASSERT_TRUE(store.list());
    EXPECT_EQ(store.list()->size(), 1u);
}

TEST(Store, a_name_is_a_file_of_the_folder) {
    const std::string folder = test::temp_folder();
    const Store store = store_with(folder, {"tiny.gguf", "llama-3.2:1b.gguf"});
    for (const char* name : {"tiny", "tiny.gguf", "llama-3.2:1b"}) {
        const auto source = store.resolve(name);
        ASSERT_TRUE(source) << source.error().message;
        EXPECT_EQ(source->path.substr(0, folder.size()), folder);
    }
    EXPECT_EQ(store.resolve("tiny")->name, "tiny");
    EXPECT_EQ(store.resolve("tiny")->path, folder + "/tiny.gguf");
}

TEST(Store, a_path_is_a_file_anywhere) {
    const std::string folder = test::temp_folder();
    const Store store = store_with(folder + "/models", {});
    ASSERT_TRUE(write_file(folder + "/my model.gguf", "GGUF"));
    const auto source = store.resolve(folder + "/my model.gguf");
    ASSERT_TRUE(source) << source.error().message;
    EXPECT_EQ(source->name, "my_model");
    EXPECT_EQ(source->path, folder + "/my model.gguf");
    const auto absent = store.resolve(folder + "/my-model.gguf");
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().kind, ErrorKind::not_found);
    EXPECT_THAT(absent.error().message, HasSubstr("close: my model.gguf"));
}

TEST(Store, names_that_leave_the_folder_are_refused) {
    const std::string folder = test::temp_folder();
    const Store store = store_with(folder + "/models", {});
    ASSERT_TRUE(write_file(folder + "/outside.gguf", "GGUF"));
    for (const char* name : {"..", ".hidden", "-f", "a b", "a\nb", "a\\b", "~", "*", "%2e%2e"}) {
        const auto source = store.resolve(name);
        ASSERT_FALSE(source) << name;
        EXPECT_EQ(source.error().kind, ErrorKind::invalid_request) << name;
    }
    EXPECT_FALSE(store.resolve("outside"));
    // With a '/' it is a path as the user's shell means it, never one of the store's folder.
    EXPECT_FALSE(store.resolve("../outside"));
    EXPECT_FALSE(store.resolve(""));
    EXPECT_FALSE(store.resolve(std::string(200, 'a')));
    EXPECT_FALSE(store.resolve(std::string(5000, 'a') + ".gguf"));
    EXPECT_FALSE(store.resolve(std::string("demo\0", 5)));
}

TEST(Store, what_is_no_regular_file_is_refused) {
    const std::string folder = test::temp_folder();
    const Store store = store_with(folder, {});
    ASSERT_EQ(::mkfifo((folder + "/pipe.gguf").c_str(), 0600), 0);
    ASSERT_TRUE(make_folders(folder + "/folder.gguf"));
    for (const char* name : {"pipe", "folder"}) {
        EXPECT_EQ(store.resolve(name).error().kind, ErrorKind::invalid_request) << name;
        EXPECT_FALSE(store.resolve(folder + "/" + name + ".gguf")) << name;
    }
    EXPECT_EQ(store.list()->size(), 1u);
}

TEST(Store, not_found_names_what_is_close_and_there) {
    const Store store = store_with(test::temp_folder(), {"tinystories.gguf", "other.gguf"});
    const auto source = store.resolve("tinystorie");
    ASSERT_FALSE(source);
    EXPECT_EQ(source.error().kind, ErrorKind::not_found);
    EXPECT_THAT(source.error().message, HasSubstr("Close: tinystories."));
    EXPECT_THAT(source.error().message, HasSubstr("Available: demo, other, tinystories."));
}

TEST(Store, lists_built_in_models_then_files_by_name) {
    const Store store =
        store_with(test::temp_folder(), {"b.gguf", "a.gguf", "notes.txt", "demo.gguf",
                                         "big-00001-of-00002.gguf", "big-00002-of-00002.gguf"});
    const auto entries = store.list();
    ASSERT_TRUE(entries);
    std::vector<std::string> names;
    for (const auto& entry : *entries) names.push_back(entry.name);
    EXPECT_THAT(names, testing::ElementsAre("demo", "a", "b", "big-00001-of-00002"));
    EXPECT_EQ((*entries)[0].size_bytes, 3);
    EXPECT_EQ((*entries)[1].size_bytes, 4);
}

TEST(Store, a_files_name_can_be_used_everywhere) {
    EXPECT_EQ(name_of_file("/x/stories260K-f32.gguf"), "stories260K-f32");
    EXPECT_EQ(name_of_file("a b\r\nc.gguf"), "a_b__c");
    EXPECT_EQ(name_of_file("/x/.gguf"), "m");
    EXPECT_EQ(name_of_file("auto.gguf"), "auto-model");
    for (const char* path : {"", "/", "..", "-.gguf", "\xff.gguf"})
        EXPECT_TRUE(is_model_name(name_of_file(path))) << path;
}

}  // namespace
}  // namespace hearth::store
