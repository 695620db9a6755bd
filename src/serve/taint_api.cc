#include "serve/taint_api.h"

#include <algorithm>
#include <future>

#include "base/format.h"
#include "base/json.h"
#include "serve/admission.h"

namespace hearth::serve {
namespace {

constexpr std::string_view kTaint = "/v1/hearth/taint";
constexpr std::string_view kRelease = "/release";

// "/v1/hearth/taint/taint-…/release" → the id; empty where it is no such path.
std::string_view id_of(std::string_view path) {
    if (!path.starts_with(kTaint) || !path.ends_with(kRelease)) return {};
    if (path.size() < kTaint.size() + kRelease.size() + 2 || path[kTaint.size()] != '/') return {};
    path.remove_prefix(kTaint.size() + 1);
    path.remove_suffix(kRelease.size());
    return path.find('/') == std::string_view::npos ? path : std::string_view();
}

std::string list_json(route::TaintStore* store) {
    JsonWriter out;
    out.begin_object().key("taints").begin_array();
    for (const auto& s : store ? store->list() : std::vector<route::TaintStore::Summary>()) {
        out.begin_object().field("id", s.id).field("sensitivity", chat::name_of(s.sensitivity));
        out.field("n_marks", s.n_marks).field("since", rfc3339(s.first_wall_ns)).end_object();
    }
    return out.end_array().end_object().take();
}

// A release that nobody can see did not happen.
Status write_down(journal::Journal& journal, const Caller& caller, const std::string& id) {
    JsonWriter out;
    out.begin_object().field("taint", id).end_object();
    std::promise<Status> written;
    journal.append(journal::EventRecord{.event = "taint.release",
                                        .actor = caller.has_key() ? caller.key_id : caller.name,
                                        .json = out.take()},
                   [&](Status status) { written.set_value(std::move(status)); });
    return written.get_future().get();
}

Result<std::string> release(route::TaintStore* store, journal::Journal& journal,
                            const Caller& caller, const std::string& id) {
    if (!caller.has_key() && caller.role != Role::admin)
        return fail(ErrorKind::forbidden_by_policy,
                    "a release over the port needs a key of the role operator or admin; at the "
                    "terminal it is `hearth taint release`");
    // A name that is not marked leaves no record of a release.
    const auto all = store ? store->list() : std::vector<route::TaintStore::Summary>();
    if (std::ranges::find(all, id, &route::TaintStore::Summary::id) == all.end())
        return fail(ErrorKind::not_found,
                    format("no conversation is marked as {}; GET {} lists those that are",
                           json_text(std::string_view(id).substr(0, 100)), kTaint));
    HEARTH_CHECK_OK(write_down(journal, caller, id));
    HEARTH_TRY(const std::int64_t n_marks, store->release(id));
    JsonWriter out;
    out.begin_object().field("id", id).field("n_marks", n_marks).end_object();
    return out.take();
}

}  // namespace

const char* taint_api_methods(std::string_view path) {
    if (path == kTaint) return "GET, HEAD";
    return id_of(path).empty() ? nullptr : "POST";
}

net::HttpResponse taint_api(route::TaintStore* store, journal::Journal& journal,
                            const Caller& caller, const net::HttpRequest& request) {
    if (request.method != "POST") return json_response(200, list_json(store));
    auto body = release(store, journal, caller, std::string(id_of(request.path)));
    if (!body) return error_response(request.path, body.error());
    return json_response(200, std::move(*body));
}

}  // namespace hearth::serve
