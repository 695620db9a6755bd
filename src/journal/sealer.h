// Sealer: has checkpoints signed while the journal goes on writing. One question at a time: a
// signer that takes long makes checkpoints rarer, and nothing else.
//
// Thread: the functions are the journal thread's; the signer runs on a thread that ends with the
// answer. A signer must come to an end by itself: the journal's own waits for it.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <thread>

#include "journal/audit.h"

namespace hearth::journal {

class Sealer {
  public:
    explicit Sealer(CheckpointSigner signer) : signer_(std::move(signer)) {}

    // From ask() until take() gave the answer.
    bool busy() const { return busy_.load(); }
    // Calls `done` on another thread, or at once where nobody signs; then take() has the answer.
    // Requires: !busy().
    void ask(CheckpointRequest request, std::function<void()> done);
    std::optional<SignedCheckpoint> take();
    // Waits for the signer. Requires: !busy().
    SignedCheckpoint sign_now(const CheckpointRequest& request);
    void drop_signer() { signer_ = nullptr; }

  private:
    CheckpointSigner signer_;
    std::atomic<bool> busy_{false};   // read by whoever waits; changed by the journal thread
    std::atomic<bool> ready_{false};  // answer_ is complete
    std::optional<SignedCheckpoint> answer_;
    std::jthread thread_;
};

}  // namespace hearth::journal
