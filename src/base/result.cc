#include "base/result.h"

namespace hearth {

const char* name_of(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::invalid_request:
            return "invalid_request";
        case ErrorKind::unauthorized:
            return "unauthorized";
        case ErrorKind::forbidden_by_policy:
            return "forbidden_by_policy";
        case ErrorKind::not_found:
            return "not_found";
        case ErrorKind::context_overflow:
            return "context_overflow";
        case ErrorKind::does_not_fit:
            return "does_not_fit";
        case ErrorKind::overloaded:
            return "overloaded";
        case ErrorKind::over_quota:
            return "over_quota";
        case ErrorKind::cancelled:
            return "cancelled";
        case ErrorKind::timeout:
            return "timeout";
        case ErrorKind::upstream_failed:
            return "upstream_failed";
        case ErrorKind::internal:
            return "internal";
    }
    return "internal";
}

}  // namespace hearth
