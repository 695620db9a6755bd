// Result: what a function returns when it can fail.
//
// Rooms hand each other Result<T>; exceptions stay inside one room. The kinds are few, because each
// is mapped exactly once to an HTTP status (serve), to an exit code (app) and to each dialect's
// error body (chat/dialects). What went wrong in detail is the message: what, where, and what to do
// next.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

namespace hearth {

enum class ErrorKind : std::uint8_t {
    invalid_request,      // the caller's input is wrong
    unauthorized,         // no key, or a wrong one
    forbidden_by_policy,  // privacy, budget or permission refuses it
    not_found,            // a model, a file, a record
    context_overflow,     // prompt and answer do not fit the context; see Error::n_prompt_tokens
    does_not_fit,         // this machine lacks the memory
    overloaded,           // a full queue or machine; try again later
    over_quota,           // a limit of the caller's key; see Error::retry_after_s
    cancelled,            // the caller went away
    timeout,              // a deadline passed
    upstream_failed,      // a remote backend answered badly or not at all
    internal,             // our own fault
};

struct Error {
    ErrorKind kind = ErrorKind::internal;
    std::string message;
    std::string param = {};            // the request field at fault, where one is
    std::int64_t n_prompt_tokens = 0;  // context_overflow only: exact counts
    std::int64_t n_ctx = 0;
    std::int64_t retry_after_s = 0;  // overloaded and over_quota only; 0: not stated
    // Bytes at the message's end that another party wrote: shown to the caller, kept nowhere.
    std::size_t n_foreign = 0;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

inline std::unexpected<Error> fail(ErrorKind kind, std::string message) {
    return std::unexpected<Error>(Error{.kind = kind, .message = std::move(message)});
}
inline std::unexpected<Error> fail(Error error) {
    return std::unexpected<Error>(std::move(error));
}

// The kind's name as logs, metrics and JSON show it.
const char* name_of(ErrorKind kind);

}  // namespace hearth

// HEARTH_TRY(auto x, f());  binds x to the value of f(), or returns its error from this function.
#define HEARTH_CONCAT_(a, b) a##b
#define HEARTH_CONCAT(a, b) HEARTH_CONCAT_(a, b)
#define HEARTH_TRY_(tmp, decl, expr)                          \
    auto tmp = (expr);                                        \
    if (!tmp) return std::unexpected(std::move(tmp.error())); \
    decl = std::move(*tmp)
#define HEARTH_TRY(decl, expr) HEARTH_TRY_(HEARTH_CONCAT(try_, __LINE__), decl, expr)
// HEARTH_CHECK_OK(f());  returns the error of a Status, if it is one.
#define HEARTH_CHECK_OK(expr)                                                        \
    do {                                                                             \
        if (auto ok_ = (expr); !ok_) return std::unexpected(std::move(ok_.error())); \
    } while (0)
