// EgressPermit: the right to open one connection. Only hearth::route can make one for inference,
// and only egress/purpose.h one for downloads, identity keys and telemetry; whoever holds none
// cannot reach the door, because every function of the door asks for it.
//
// All of it is in this header, because route and journal may include it without linking the door.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace hearth::route {
class PermitMint;
}

namespace hearth::egress {

class PurposeMint;

enum class Purpose : std::uint8_t { inference, download, identity, telemetry };
inline const char* name_of(Purpose purpose) {
    switch (purpose) {
        case Purpose::inference:
            return "inference";
        case Purpose::download:
            return "download";
        case Purpose::identity:
            return "identity";
        case Purpose::telemetry:
            return "telemetry";
    }
    return "unknown";
}

struct Destination {
    std::string host;  // name or numeric address, lower case
    int port = 0;
    bool tls = true;
    friend bool operator==(const Destination&, const Destination&) = default;
};
// "https://api.example.com:443", "http://[::1]:8080"
inline std::string to_text(const Destination& destination) {
    const bool v6 = destination.host.find(':') != std::string::npos;
    std::string out = destination.tls ? "https://" : "http://";
    out += v6 ? "[" + destination.host + "]" : destination.host;
    return out + ":" + std::to_string(destination.port);
}

// Move-only: one permit, one connection.
class EgressPermit {
  public:
    EgressPermit(EgressPermit&&) = default;
    EgressPermit& operator=(EgressPermit&&) = default;
    EgressPermit(const EgressPermit&) = delete;

    const Destination& destination() const { return destination_; }
    Purpose purpose() const { return purpose_; }
    const std::string& request_id() const { return request_id_; }
    const std::string& rule() const { return rule_; }  // why it was allowed, e.g. "upstream acme"
    const std::string& who() const { return who_; }    // the caller's key id; empty: the operator

  private:
    friend class hearth::route::PermitMint;
    friend class hearth::egress::PurposeMint;
    EgressPermit(Destination destination, Purpose purpose, std::string request_id, std::string rule,
                 std::string who = {})
        : destination_(std::move(destination)),
          purpose_(purpose),
          request_id_(std::move(request_id)),
          rule_(std::move(rule)),
          who_(std::move(who)) {}

    Destination destination_;
    Purpose purpose_ = Purpose::inference;
    std::string request_id_, rule_, who_;
};

// What the broker says of one connection after it closed. It signs all of it (egress/sign.h); a
// receipt without a signature was written by the door, for what never reached the broker or whose
// broker was killed.
struct Receipt {
    std::string request_id, rule;  // rule: of the allow-list, the one that was found
    Purpose purpose = Purpose::inference;
    Destination destination;
    std::string who;              // the caller's key id; empty: the operator
    std::string address;          // numeric, what was connected to; empty if nothing was
    std::string tls_spki_sha256;  // hex, of the server's key; empty without TLS
    std::string outcome;          // "closed", "refused: …", "connect failed: …", "tls failed: …"
    std::string digest_out;       // hex, keyed: equal for equal plain bytes out; empty for none
    std::int64_t bytes_out = 0, bytes_in = 0;            // plain bytes, as the program saw them
    std::int64_t wire_bytes_out = 0, wire_bytes_in = 0;  // TCP payload, from TCP_INFO at close
    std::int64_t opened_wall_ns = 0, closed_wall_ns = 0;
    std::int64_t number = 0;  // 1, 2, 3, … of this broker key; 0: not the broker's
    std::string key_id;       // first 16 hex digits of the SHA-256 of the broker's public key
    std::string signature;    // hex
};

}  // namespace hearth::egress
