// What looks into content, with the key and the marks of this installation's state folder.
//
//   <state>/content.key        32 random bytes, mode 0600: of marks, digests and pseudonyms.
//   Whoever
//                              has it can test guesses of texts against them; without it they say
//                              nothing. Lost, replay and marks of before are lost with it.
//   <state>/taint/taint.marks  route/taint.h
#pragma once

#include <memory>

#include "app/commands.h"
#include "serve/inspector.h"

namespace hearth::app {

// Made where there is none. Errors: the file cannot be read or made, or is no key.
Result<Secret> content_key(const Context& context);
Result<std::unique_ptr<route::TaintStore>> open_taint(const Context& context);
// may_forget: where the state folder cannot be written, nothing is remembered, and a key of the
// moment is used; for commands whose content stays here.
Result<std::unique_ptr<serve::Inspector>> open_inspector(const Context& context, bool may_forget);

}  // namespace hearth::app
