// The API of marks: which conversations are held to be sensitive, and their release, over HTTP; the
// same as `hearth taint`.
//
//   GET  /v1/hearth/taint                 {"taints":[{"id","sensitivity","n_marks","since"}]}
//   POST /v1/hearth/taint/{id}/release    {"id","n_marks"}
//
// Ids, classes, counts and times; never text, which the store does not have. Roles are the gate's
// table. A release lowers what leaves: it needs a key, or the socket in the state folder, and not
// merely a port that everybody on this machine reaches. It is in the journal before it happens.
//
// Thread: prep, because a release waits for the journal and the disk.
#pragma once

#include <string_view>

#include "journal/journal.h"
#include "net/http.h"
#include "route/taint.h"
#include "serve/caller.h"

namespace hearth::serve {

// Which method a path of this API takes; nullptr for other paths.
const char* taint_api_methods(std::string_view path);
// store: nullptr where nothing is remembered.
net::HttpResponse taint_api(route::TaintStore* store, journal::Journal& journal,
                            const Caller& caller, const net::HttpRequest& request);

}  // namespace hearth::serve
