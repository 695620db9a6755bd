// The words of the audit chain that users of the journal need; the room `audit` defines them.
#pragma once

#include "audit/checkpoint.h"

namespace hearth::journal {

using audit::CheckpointRequest;
using audit::CheckpointSigner;
using audit::SignedCheckpoint;
using audit::verify_signature;

}  // namespace hearth::journal
