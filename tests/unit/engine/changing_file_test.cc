// A model file that changes while its engine computes: nothing of the changed weights is handed
// out, and everything else goes on.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base/file.h"
#include "base/log.h"
#include "engine/engine.h"
#include "support/data.h"
#include "support/model_check.h"
#include "support/tiny_model.h"
#include "unit/engine/collector.h"

namespace hearth::engine {
namespace {

std::unique_ptr<Engine> start(const std::string& path) {
    set_log(LogLevel::off);
    auto device = model::make_cpu_device("", 2);
    EXPECT_TRUE(device);
    auto engine = Engine::start({.name = "tiny", .path = path, .bytes = {}}, std::move(*device),
                                {.n_ctx = 64, .n_parallel = 4});
    EXPECT_TRUE(engine) << engine.error().message;
    return engine ? std::move(*engine) : nullptr;
}

std::vector<TokenId> prompt() {
    return {TokenId(10), TokenId(11), TokenId(12)};
}

std::shared_ptr<Collector> submit(Engine& engine, std::function<void(Collector&)> after = {}) {
    auto sink = std::make_shared<Collector>();
    sink->after_output = std::move(after);
    const Status status = engine.submit({.prompt = prompt(),
                                         .sampling = {.temperature = 0},
                                         .max_tokens = 12,
                                         .ignore_end = true,
                                         .sink = sink});
    EXPECT_TRUE(status) << status.error().message;
    return sink;
}

// A model file of an hour ago: times of files are only as fine as the clock's ticks.
std::string old_file(const std::string& name, const std::string& bytes) {
    const std::string path = test::temp_folder() + "/" + name;
    EXPECT_TRUE(write_file(path, bytes));
    struct timespec times[2] = {};
    ::clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= 3600;
    times[1] = times[0];
    EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    return path;
}

void expect_named(const Error& error, const std::string& path) {
    EXPECT_EQ(error.kind, ErrorKind::internal);
    EXPECT_NE(error.message.find(path), std::string::npos) << error.message;
    EXPECT_NE(error.message.find("load it again"), std::string::npos) << error.message;
}

struct Change {
    const char* what;
    std::function<bool(const std::string& path, const std::string& bytes)> make;
};
const Change kChanges[] = {
    {"shortened", [](const std::string& path,
                     const std::string&) { return ::truncate(path.c_str(), 4096) == 0; }},
    {"emptied",
     [](const std::string& path, const std::string&) { return ::truncate(path.c_str(), 0) == 0; }},
    {"overwritten",
     [](const std::string& path, const std::string& bytes) {
         const Fd fd(::open(path.c_str(), O_WRONLY));
         const std::string noise(bytes.size() / 2, '\x3f');
         return ::pwrite(fd.get(), noise.data(), noise.size(), off_t(bytes.size() / 2)) ==
                ssize_t(noise.size());
     }},
    {"grown",
     [](const std::string& path, const std::string& bytes) {
         return ::truncate(path.c_str(), off_t(bytes.size()) + 1) == 0;
     }},
};

TEST(ChangingFile, ends_its_answers_with_a_reason_and_no_other_models) {
    for (const char* family : test::kFamilies)
        for (const Change& change : kChanges) {
            SCOPED_TRACE(std::string(family) + ", " + change.what);
            const std::string bytes = test::tiny_model(test::tiny_of(family, test::kF32)).bytes();
            const std::string path = old_file("model.gguf", bytes);
            auto engine = start(path), other = start(old_file("other.gguf", bytes));
            ASSERT_TRUE(engine && other);
            auto before = submit(*other);
            ASSERT_EQ(before->wait().reason, StopReason::length);
            auto sink = submit(*engine, [&](Collector& so_far) {
                if (so_far.n_outputs() != 3) return;
                EXPECT_TRUE(change.make(path, bytes));
            });
            const Finish finish = sink->wait();
            EXPECT_EQ(finish.reason, StopReason::failed);
            expect_named(finish.error, path);
            EXPECT_EQ(sink->n_outputs(), 3u);

            const Finish later = submit(*engine)->wait();
            EXPECT_EQ(later.reason, StopReason::failed);
            EXPECT_EQ(later.n_generated, 0);
            const auto scores = engine->score(prompt(), 0);
            ASSERT_FALSE(scores);
            expect_named(scores.error(), path);
            EXPECT_EQ(engine->stats().n_blocks_used, 0);

            auto again = submit(*other);
            EXPECT_EQ(again->wait().reason, StopReason::length);
            EXPECT_EQ(again->ids(), before->ids());
        }
}

TEST(ChangingFile, replaced_by_renaming_the_old_one_is_still_used) {
    const std::string bytes = test::tiny_model(test::tiny_of("llama", test::kF32)).bytes();
    const std::string path = old_file("model.gguf", bytes);
    auto engine = start(path);
    ASSERT_TRUE(engine);
    auto before = submit(*engine);
    ASSERT_EQ(before->wait().reason, StopReason::length);
    const std::string fresh = old_file("fresh.gguf", "another model");
    ASSERT_EQ(std::rename(fresh.c_str(), path.c_str()), 0);
    auto after = submit(*engine);
    EXPECT_EQ(after->wait().reason, StopReason::length);
    EXPECT_EQ(after->ids(), before->ids());
}

}  // namespace
}  // namespace hearth::engine
