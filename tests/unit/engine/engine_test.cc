// The whole engine on the demo model: text comes out, and it is the same text whatever happens
// beside it.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>

#include "unit/engine/collector.h"

namespace hearth::engine {
namespace {

constexpr const char* kDemo = HEARTH_SOURCE_DIR "/models/demo-q8_0.gguf";

struct Setup {
    std::string isa = "";
    int n_threads = 1;
    EngineOptions options = {};
};

std::unique_ptr<Engine> start(const Setup& setup = {}) {
    auto device = model::make_cpu_device(setup.isa, setup.n_threads);
    EXPECT_TRUE(device) << device.error().message;
    if (!device) return nullptr;
    auto engine = Engine::start({.name = "demo", .path = kDemo, .bytes = {}}, std::move(*device),
                                setup.options);
    EXPECT_TRUE(engine) << engine.error().message;
    return engine ? std::move(*engine) : nullptr;
}

std::vector<TokenId> encode(const Engine& engine, std::string_view text) {
    return engine.model().tokenizer().encode(text, {});
}

std::string chat(std::string_view question) {
    return "<|im_start|>user\n" + std::string(question) + "<|im_end|>\n<|im_start|>assistant\n";
}

std::shared_ptr<Collector> submit(Engine& engine, Request request) {
    auto sink = std::make_shared<Collector>();
    request.sink = sink;
    const Status status = engine.submit(std::move(request));
    EXPECT_TRUE(status) << status.error().message;
    return sink;
}

TEST(Engine, answers_with_the_demo_model) {
    auto engine = start();
    ASSERT_TRUE(engine);
    auto sink = submit(*engine, {.prompt = encode(*engine, chat("Hello!")),
                                 .sampling = {.temperature = 0},
                                 .max_tokens = 40});
    const Finish finish = sink->wait();
    printf("%s [%d]\n", sink->text().c_str(), int(finish.reason));
    EXPECT_EQ(std::int64_t(sink->n_outputs()), finish.n_generated);
    EXPECT_GT(finish.n_generated, 0);
}

}  // namespace
}  // namespace hearth::engine
