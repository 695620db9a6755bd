// Server: the endpoints, and the exchanges behind them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/http_server.h"
#include "serve/admission.h"
#include "serve/exchange.h"

namespace hearth::serve {

class Server {
  public:
    // Requires: the house and the gate outlive the server. gate: nullptr where everybody is the
    // local operator.
    static std::unique_ptr<Server> start(House& house, std::vector<net::Listener> listeners,
                                         const AdmissionRules& rules, Gate* gate = nullptr);
    virtual ~Server() = default;
    // Stops accepting and lets answers finish until the deadline. True if none was cut.
    virtual bool drain(std::int64_t deadline_ms) = 0;
};

// Bodies of the plain endpoints.
// scopes: of the caller; models that it may not ask for are not listed.
std::string models_json(const Places& places, std::int64_t created_s, const Scopes& scopes = {});
// Errors: not_found.
Result<std::string> model_json(const Places& places, std::string_view id, std::int64_t created_s,
                               const Scopes& scopes = {});
std::string metrics_text(const House& house, const Gate* gate = nullptr);

}  // namespace hearth::serve
