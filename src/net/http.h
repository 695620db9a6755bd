// HTTP/1.1 as values: what the server hands to handlers and the client to backends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hearth::net {

// Header fields in order of arrival; names compare without case.
class Headers {
  public:
    void add(std::string name, std::string value) {
        fields_.emplace_back(std::move(name), std::move(value));
    }
    // The first value; nothing if absent.
    std::optional<std::string_view> find(std::string_view name) const;
    const std::vector<std::pair<std::string, std::string>>& fields() const { return fields_; }

  private:
    std::vector<std::pair<std::string, std::string>> fields_;
};

bool same_header(std::string_view a, std::string_view b);  // ASCII case-insensitive

struct HttpRequest {
    std::string method = {}, target = {};  // target as sent
    std::string path = {}, query = {};     // split at '?'; path percent-decoded once
    Headers headers = {};
    std::string body = {};
    std::string peer = {};  // "127.0.0.1:51234", or "unix"
    bool from_unix_socket = false;
    // What lives as long as the request: the share of its body in the bound on all bodies (the
    // server's), and what Handlers::on_head leaves with it.
    std::shared_ptr<void> body_share = {}, held = {};
};

struct HttpResponse {
    int status = 200;
    Headers headers = {};  // Content-Length, Connection and Date are the server's
    std::string body = {};
};

const char* reason_phrase(int status);

}  // namespace hearth::net
