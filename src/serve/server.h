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
    // Requires: the house outlives the server.
    static std::unique_ptr<Server> start(House& house, std::vector<net::Listener> listeners,
                                         const AdmissionRules& rules);
    virtual ~Server() = default;
    // Stops accepting and lets answers finish until the deadline. True if none was cut.
    virtual bool drain(std::int64_t deadline_ms) = 0;
};

// Bodies of the plain endpoints.
std::string models_json(const Places& places, std::int64_t created_s);
// Errors: not_found.
Result<std::string> model_json(const Places& places, std::string_view id, std::int64_t created_s);
std::string metrics_text(const House& house);

}  // namespace hearth::serve
