// UpstreamBackend: a remote server behind the Backend interface. It has no socket of its own: each
// job brings a permit, the door returns a connected descriptor, and one HTTP exchange runs over it.
//
// Thread: start() from any thread; connecting waits on a small pool of its own, events come from
// the client loop's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/secret.h"
#include "egress/door.h"
#include "route/decide.h"

namespace hearth::backend {

// One [[upstream]] block of the configuration.
struct UpstreamConfig {
    std::string name;
    std::string dialect = "openai";
    std::string base_url;  // "https://api.example.com/v1"
    route::Tier tier = route::Tier::cloud;
    std::string key_env;                // environment variable that holds the key; empty: no key
    Secret key;                         // read from key_env by app, before the sandbox closes
    std::string ca_file;                // PEM; empty: the system's bundle
    std::vector<route::Target> models;  // destination is filled in by check()
    std::int64_t connect_timeout_ms = 10'000;
    std::int64_t head_timeout_ms = 120'000;  // until the response's head
    std::int64_t idle_timeout_ms = 120'000;  // between pieces of the stream
};

// Where a base URL points, and the path before the dialect's own.
struct BaseUrl {
    egress::Destination destination;
    std::string path;  // "/v1"; no slash at the end
};
// Errors: invalid_request for anything but http(s)://host[:port][/path].
Result<BaseUrl> parse_base_url(std::string_view url);
// "api.example.com", "[::1]:8080": the port only where it is not the scheme's own.
std::string host_header(const egress::Destination& destination);

// Validates one block and fills in its models' destination.
// Errors: invalid_request (URL, unknown dialect, a name that is no [a-z0-9-]+, plain http to a
// cloud).
Status check(UpstreamConfig& config);
// The rule under which the door lets this upstream's connections pass.
egress::AllowRule allow_rule(const UpstreamConfig& config);

class UpstreamBackend : public Backend {
  public:
    // Requires: config passed check(); door and clock outlive the backend.
    static std::unique_ptr<UpstreamBackend> open(const UpstreamConfig& config, egress::Door& door,
                                                 const Clock& clock = system_clock());
    // Several failures in a row open the circuit for a while; the router then looks elsewhere.
    virtual route::Signals::Health health() const = 0;
};

}  // namespace hearth::backend
