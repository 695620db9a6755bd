// The gate behind which a message head is believed: what the parsing library lets through and
// request smuggling feeds on.
//
// HeadScanner takes bytes in any pieces and yields one head whose lines all end in CR LF, hold no
// control characters, and (in requests) are not folded. The functions below then check the fields
// against each other. All of it is pure: no sockets, no clock.
//
// Source: RFC 9112 sections 2.2, 3, 5.1, 5.2, 6.1, 6.3; RFC 3986 sections 2.1, 3.2.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace hearth::net {

// A refusal with its HTTP status. Responses have no status to answer with; there it is 502.
struct GateError {
    int status = 400;
    std::string message;
};

enum class HeadKind : std::uint8_t { request, response };

class HeadScanner {
  public:
    HeadScanner(HeadKind kind, std::size_t bytes_max) : kind_(kind), max_(bytes_max) {}
    // Takes bytes up to the end of the start line, then of the head; returns how many. Stops at an
    // error.
    std::size_t feed(std::string_view bytes);

    bool complete() const { return complete_; }
    const std::optional<GateError>& error() const { return error_; }
    bool started() const { return started_; }  // a byte of this message has come
    // The start line with its CR LF; empty until it is complete.
    std::string_view start_line() const { return std::string_view(head_).substr(0, n_start_line_); }
    // The fields, each with its CR LF, and the empty line. Requires: complete().
    std::string_view fields() const { return std::string_view(head_).substr(n_start_line_); }

  private:
    bool take(char c);
    bool end_line();
    bool refuse(int status, std::string message);

    const HeadKind kind_;
    const std::size_t max_;
    std::string head_;
    std::size_t n_start_line_ = 0;
    std::size_t line_at_ = 0;  // where the current line begins in head_
    bool after_cr_ = false, complete_ = false, started_ = false, skipped_blank_ = false;
    std::optional<GateError> error_;
};

// Fields that decide framing and origin, checked against each other. version: 10 or 11.
std::optional<GateError> check_request_fields(const Headers& headers, int version);
// The same for a response: a body whose end we could misjudge is refused.
std::optional<GateError> check_response_fields(const Headers& headers);

// Splits request.target into path and query. An absolute target must agree with Host.
std::optional<GateError> read_target(HttpRequest& request);

// Decodes %XX once. Nothing where an escape is malformed or stands for NUL.
std::optional<std::string> percent_decode(std::string_view text);

bool is_token(std::string_view text);
// host [":" port] as Host carries it: letters, digits, "-._~%" or a bracketed address.
bool is_authority(std::string_view text);
// No line breaks and no control characters: what may follow "Name: ".
bool is_field_value(std::string_view text);

}  // namespace hearth::net
