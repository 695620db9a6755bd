// The door: how the main process gets a connection although it may not connect.
//
// A broker process (this executable started again, `hearth egress-broker`) is the only one that may
// call connect(2). The main process sends it an allow-list once, then requests with a permit; for
// each the broker checks destination and purpose, resolves the name, connects, does TLS (verified),
// and relays plain bytes over a socketpair. When the connection closes it sends a receipt.
//
// Invariants: (1) the allow-list cannot change after the first message.
//             (2) no byte reaches a destination that is not on it for that purpose.
//             (3) every request yields exactly one receipt, also when refused.
//             (4) the key that signs is in the broker only; this process holds its public half.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "audit/checkpoint.h"
#include "base/file.h"
#include "base/result.h"
#include "egress/permit.h"

namespace hearth::egress {

struct AllowRule {
    Destination destination;
    Purpose purpose = Purpose::inference;
    std::string name = {};     // "upstream acme"
    std::string ca_file = {};  // PEM; empty: the system's bundle
};

class Door {
  public:
    // Starts the broker with this allow-list, which may be empty: then it only signs checkpoints.
    // folder: of the broker's key and counters (egress/broker_state.h); empty: kept in its memory.
    // Requires: called before enter_sandbox(). on_receipt runs on the door's own thread.
    static Result<std::unique_ptr<Door>> open(std::vector<AllowRule> rules,
                                              std::function<void(Receipt)> on_receipt,
                                              const std::string& folder = {});
    virtual ~Door() = default;  // ends the broker

    struct Connection {
        Fd fd;  // plain bytes both ways; closing it closes the remote side
    };
    // Any thread; waits for the broker's answer at most timeout_ms.
    // Errors: forbidden_by_policy (not on the list), upstream_failed (resolve, connect, TLS),
    // timeout, cancelled (shut).
    virtual Result<Connection> connect(EgressPermit permit, std::int64_t timeout_ms) = 0;
    // The program is ending: whoever waits in connect() is told so at once, and who calls it later.
    // Connections that are open stay; receipts still come. Any thread.
    virtual void shut() = 0;
    // Ends every connection; all receipts have come when it returns, or the broker is gone. What
    // signs goes on signing. Any thread but the door's own.
    virtual void finish() = 0;
    // The broker's signature under a checkpoint of the journal. Any thread; waits for the answer.
    // Errors: forbidden_by_policy (it would go back), upstream_failed (the broker is gone),
    // timeout, internal (its folder cannot be written).
    virtual Result<audit::SignedCheckpoint> sign(const audit::CheckpointRequest& request) = 0;
    // False: the broker ended. It cannot be started again from within the sandbox, so nothing can
    // leave and nothing is signed until the program is restarted.
    virtual bool alive() const = 0;
    virtual const std::string& public_key() const = 0;  // the broker's, 32 raw bytes
    virtual int broker_pid() const = 0;
};

inline constexpr const char* kBrokerTask = "egress-broker";
// The broker's whole life; control is the channel (child.h). Returns the exit code.
int broker_main(int control_fd);

}  // namespace hearth::egress
