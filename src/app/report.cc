// How errors reach the person: one line on stderr, or with --json one document on stdout.
#include <cstdio>

#include "app/commands.h"

namespace hearth::app {

int exit_code_of(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::invalid_request:
        case ErrorKind::context_overflow:
        case ErrorKind::internal:
        case ErrorKind::overloaded:
        case ErrorKind::cancelled:
            return kFailed;
        case ErrorKind::unauthorized:
        case ErrorKind::over_quota:
        case ErrorKind::forbidden_by_policy:
            return kRefused;
        case ErrorKind::not_found:
            return kNotFound;
        case ErrorKind::does_not_fit:
            return kDoesNotFit;
        case ErrorKind::timeout:
        case ErrorKind::upstream_failed:
            return kUnreachable;
    }
    return kFailed;
}

int report(const Error& error, bool json) {
    if (json) {
        JsonWriter out;
        out.begin_object().key("error").begin_object();
        out.field("kind", name_of(error.kind)).field("message", error.message);
        if (!error.param.empty()) out.field("param", error.param);
        if (error.kind == ErrorKind::context_overflow)
            out.field("n_prompt_tokens", error.n_prompt_tokens).field("n_ctx", error.n_ctx);
        std::puts(out.end_object().end_object().text().c_str());
    } else {
        std::fprintf(stderr, "hearth: %s\n", error.message.c_str());
    }
    return exit_code_of(error.kind);
}

}  // namespace hearth::app
