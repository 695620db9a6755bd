// Digests: keyed names of prompts and answers, so that a record can say "the same" without holding
// either. Who has not the key of this installation learns nothing from them, not even by guessing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/secret.h"
#include "chat/chat.h"

namespace hearth::serve {

// "ids:" and 32 hex digits where a local model has made tokens of the prompt, else "text:", over
// all of the request's texts.
std::string prompt_digest(const Secret& key, const chat::ChatRequest& request,
                          const backend::Prompt* prompt);
// Of one answer's tokens; of all answers of a request, by their index.
std::string tokens_digest(const Secret& key, const std::vector<std::int32_t>& tokens);
std::string answer_digest(const Secret& key, const std::map<std::int64_t, std::string>& answers);
std::string stop_digest(const Secret& key, const std::vector<std::string>& stop);

}  // namespace hearth::serve
