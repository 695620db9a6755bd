#include "double/behaviours.h"

#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/format.h"
#include "base/json.h"

namespace hearth::test {
namespace {

constexpr std::string_view kText = "The double answers in plain words.";

std::string chunk(std::string_view bytes) {
    return format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

std::string stream_head() {
    return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
           "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
}

std::string event(std::string_view data) {
    return chunk(format("data: {}\n\n", data));
}

// One chunk object of a stream; choice is the inside of its only choice.
std::string piece(std::string_view choice) {
    return format(R"({{"id":"chatcmpl-double","object":"chat.completion.chunk","created":1,)"
                  R"("model":"double-1","choices":[{{"index":0,{}}}]}})",
                  choice);
}
std::string text_event(std::string_view text) {
    return event(
        piece(format(R"("delta":{{"content":{}}},"finish_reason":null)", json_text(text))));
}
std::string role_event() {
    return event(piece(R"("delta":{"role":"assistant","content":""},"finish_reason":null)"));
}
std::string end_event(std::string_view reason) {
    return event(piece(format(R"("delta":{{}},"finish_reason":"{}")", reason)));
}
std::string usage_event(std::size_t n) {
    return event(format(R"({{"id":"chatcmpl-double","object":"chat.completion.chunk","created":1,)"
                        R"("model":"double-1","choices":[],"usage":{{"prompt_tokens":7,)"
                        R"("completion_tokens":{},"total_tokens":{}}}}})",
                        n, 7 + n));
}
const std::string kDone = event("[DONE]");
const std::string kEnd = "0\r\n\r\n";

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < text.size();) {
        auto end = text.find(' ', at + 1);
        if (end == std::string_view::npos) end = text.size();
        words.emplace_back(text.substr(at, end - at));  // with the space before it
        at = end;
    }
    return words;
}

bool answer(Peer& peer, std::string_view text, int pause_ms = 0, bool done = true) {
    if (!peer.write(stream_head() + role_event())) return false;
    const auto words = words_of(text);
    for (const std::string& word : words)
        if (!peer.write(text_event(word)) || (pause_ms > 0 && !peer.wait(pause_ms))) return false;
    return peer.write(end_event("stop") + usage_event(words.size()) + (done ? kDone : "") + kEnd);
}

bool two_words(Peer& peer, std::string_view then) {
    return peer.write(stream_head() + role_event() + text_event("Two") + text_event(" words")) &&
           peer.write(then);
}

bool flood(Peer& peer) {
    const std::string one = text_event(std::string(8000, 'x'));
    if (!peer.write(stream_head() + role_event())) return false;
    for (std::size_t sent = 0; sent < (64u << 20); sent += one.size())
        if (!peer.write(one)) return false;
    return peer.write(end_event("stop") + kDone + kEnd);
}

std::string last_text(const std::string& body) {
    const auto json = parse_json(body);
    if (!json || !json->is_object() || !json->contains("messages")) return "";
    const Json& messages = (*json)["messages"];
    if (!messages.is_array() || messages.empty()) return "";
    const Json& content = messages.back().value("content", Json());
    return content.is_string() ? content.get<std::string>() : to_text(content);
}

bool tool(Peer& peer) {
    return peer.write(
        stream_head() + role_event() +
        event(piece(R"("delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function",)"
                    R"("function":{"name":"lookup","arguments":""}}]},"finish_reason":null)")) +
        event(piece(R"("delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]},)"
                    R"("finish_reason":null)")) +
        event(piece(R"("delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Paris\"}"}}]},)"
                    R"("finish_reason":null)")) +
        end_event("tool_calls") + usage_event(9) + kDone + kEnd);
}

constexpr std::string_view kErrorEvent =
    R"({"error":{"message":"the model fell over","type":"server_error","code":500}})";

bool status(Peer& peer, int code) {
    const char* type = code == 429   ? "rate_limit_exceeded"
                       : code == 401 ? "invalid_api_key"
                       : code < 500  ? "invalid_request_error"
                                     : "server_error";
    const std::string body = format(
        R"({{"error":{{"message":"the double says {0}","type":"{1}","param":null,"code":"{1}"}}}})",
        code, type);
    return peer.write(
        plain_response(code, "application/json", body, code == 429 ? "Retry-After: 7\r\n" : ""));
}

struct Named {
    std::string_view name;
    bool (*act)(Peer& peer, const std::string& body);
};
using Body = const std::string&;

const Named kBehaviours[] = {
    {"ok", [](Peer& p, Body) { return answer(p, kText); }},
    {"echo", [](Peer& p, Body body) { return answer(p, last_text(body)); }},
    {"slow",
     [](Peer& p, Body) {
         std::string text = "word";
         for (int i = 1; i < 100; ++i) text += format(" word{}", i);
         return answer(p, text, 50);
     }},
    {"flood", [](Peer& p, Body) { return flood(p); }},
    {"tool", [](Peer& p, Body) { return tool(p); }},
    {"stall", [](Peer& p, Body) { return two_words(p, "") && p.wait(-1); }},
    {"never", [](Peer& p, Body) { return p.wait(-1); }},
    {"cut", [](Peer& p, Body) { return two_words(p, "1000\r\ndata: {\"id\""); }},
    {"cut-clean", [](Peer& p, Body) { return two_words(p, kEnd); }},
    {"no-done", [](Peer& p, Body) { return answer(p, kText, 0, false); }},
    {"no-usage",
     [](Peer& p, Body) {
         return p.write(stream_head() + text_event(kText) + end_event("stop") + kDone + kEnd);
     }},
    {"cut-usage", [](Peer& p, Body) { return two_words(p, usage_event(2) + "1000\r\n"); }},
    {"error-event", [](Peer& p, Body) { return two_words(p, event(kErrorEvent) + kEnd); }},
    {"error-first",
     [](Peer& p, Body) { return p.write(stream_head() + event(kErrorEvent) + kEnd); }},
    {"garbage",
     [](Peer& p, Body) {
         return p.write(std::string("\x16\x03\x01\x00\xff\x00 no HTTP\r\n", 17));
     }},
    {"garbage-sse",
     [](Peer& p, Body) { return p.write(stream_head() + event("{\"choices\":[[[") + kEnd); }},
    {"huge-header",
     [](Peer& p, Body) {
         return p.write("HTTP/1.1 200 OK\r\nX-Long: " + std::string(1u << 20, 'x') + "\r\n\r\n");
     }},
    {"huge-event",
     [](Peer& p, Body) { return p.write(stream_head() + event(std::string(16u << 20, 'x'))); }},
    {"html",
     [](Peer& p, Body) {
         return p.write(plain_response(200, "text/html", "<h1>Please sign in</h1>"));
     }},
    {"close", [](Peer&, Body) { return true; }},
    {"redirect",
     [](Peer& p, Body) {
         return p.write(plain_response(302, "text/plain", "", "Location: http://127.0.0.1:9/\r\n"));
     }},
    {"400", [](Peer& p, Body) { return status(p, 400); }},
    {"401", [](Peer& p, Body) { return status(p, 401); }},
    {"404", [](Peer& p, Body) { return status(p, 404); }},
    {"429", [](Peer& p, Body) { return status(p, 429); }},
    {"500", [](Peer& p, Body) { return status(p, 500); }},
    {"503", [](Peer& p, Body) { return status(p, 503); }},
};

}  // namespace

std::string plain_response(int status, std::string_view type, std::string_view body,
                           std::string_view more_headers) {
    return format(
        "HTTP/1.1 {} Status\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}"
        "Connection: close\r\n\r\n{}",
        status, type, body.size(), more_headers, body);
}

bool is_behaviour(std::string_view name) {
    for (const Named& named : kBehaviours)
        if (named.name == name) return true;
    return false;
}

bool behave(const std::string& behaviour, const std::string& body, Peer& peer) {
    for (const Named& named : kBehaviours)
        if (named.name == behaviour) return named.act(peer, body);
    return answer(peer, kText);
}

}  // namespace hearth::test
