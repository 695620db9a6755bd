#include "journal/sealer.h"

#include <pthread.h>

#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace hearth::journal {
namespace {

// An answer that is not to the question, or not signed as it says, is none: an entry that no
// verifier accepts would stand in the journal for good.
SignedCheckpoint signed_or_not(const CheckpointSigner& signer, const CheckpointRequest& request) {
    SignedCheckpoint unsigned_one{.request = request, .key = {}, .signature = {}};
    if (!signer) return unsigned_one;
    Result<SignedCheckpoint> answer = signer(request);
    if (!answer) {
        log_warn("journal_checkpoint_unsigned", {{"error", answer.error().message}});
        return unsigned_one;
    }
    if (answer->request != request || !verify_signature(*answer)) {
        log_error("journal_checkpoint_unsigned", {{"error", "the signature is wrong"}});
        return unsigned_one;
    }
    return std::move(*answer);
}

}  // namespace

void Sealer::ask(CheckpointRequest request, std::function<void()> done) {
    CHECK(!busy());
    busy_ = true;
    if (!signer_) {
        answer_ = signed_or_not(signer_, request);
        ready_ = true;
        done();
        return;
    }
    // A thread for each question: there is one in some hundred entries, and none while all is
    // quiet.
    thread_ = std::jthread([this, request = std::move(request), done = std::move(done)] {
        ::pthread_setname_np(::pthread_self(), "sealer");
        answer_ = signed_or_not(signer_, request);
        ready_ = true;
        done();
    });
}

std::optional<SignedCheckpoint> Sealer::take() {
    if (!ready_) return std::nullopt;
    ready_ = false;
    busy_ = false;
    return std::exchange(answer_, std::nullopt);
}

SignedCheckpoint Sealer::sign_now(const CheckpointRequest& request) {
    CHECK(!busy());
    return signed_or_not(signer_, request);
}

}  // namespace hearth::journal
