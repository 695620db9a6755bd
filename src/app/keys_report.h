// What the commands `keys` and `users` share: the store with the journal beside it, and a document
// as lines for people.
#pragma once

#include <memory>
#include <string>

#include "app/commands.h"
#include "journal/journal.h"
#include "serve/keys.h"

namespace hearth::app {

// A store whose changes are recorded. In the order of their lives: the broker signs the journal's
// last checkpoint.
struct KeysDesk {
    static Result<std::unique_ptr<KeysDesk>> open(Context& context);
    // Errors: the record could not be written; the change stands.
    Status tell(journal::EventRecord event);
    std::unique_ptr<egress::Door> door;
    std::unique_ptr<journal::Journal> journal;
    std::unique_ptr<serve::KeyStore> store;
};

// One object's members as "name  value" lines.
void print_members(const std::string& json);

}  // namespace hearth::app
