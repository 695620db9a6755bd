// Detectors: what a text holds that must not travel freely, and the class that follows from it.
//
// One scan over the bytes finds spans; each has an entity ("credit_card", "secret_github", …), a
// class and a confidence. The class of a text is the highest of its spans, `internal` where there
// is none: no detector ever says `public`, which is a person's word.
//
//   restricted    secrets, payment cards, bank accounts, national ids, a medical or legal marker
//                 beside a person
//   confidential  street addresses, phone numbers, personal e-mail, public network addresses
//   internal      what is found but public by nature: domain names, role addresses, postcodes
//
// Any bytes may be scanned: invalid UTF-8 and NULs are ordinary. What a bound leaves unread is
// itself a finding, entity kUnscanned and restricted, so that a bound never lowers a class.
//
// Thread: any; a Detectors is immutable once made. One file of route/detectors each, as
// route/detector.h says; docs/DETECTORS.md states every rule with its figures.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/chat.h"

namespace hearth::route {

// The part of a text that was not read because a bound of route/limits.h was met.
inline constexpr const char* kUnscanned = "unscanned";

struct Finding {
    std::size_t start = 0, end = 0;  // bytes, [start, end)
    std::string entity;              // as INTERFACE §5 names them
    chat::Sensitivity sensitivity = chat::Sensitivity::internal;
    float confidence = 0;  // (0, 1]; context raises it
};

// A [[detector]] block of config.toml: words or a pattern.
struct UserDetector {
    std::string name;  // becomes the entity: [a-z][a-z0-9_]*
    chat::Sensitivity sensitivity = chat::Sensitivity::confidential;
    std::vector<std::string> words;  // found as whole words, ASCII letters in either case
    std::string pattern;             // the subset of route/user_pattern.h
};

class Detectors {
  public:
    // Errors: invalid_request naming the block and what is wrong with it.
    static Result<Detectors> make(std::vector<UserDetector> user = {});
    Detectors(Detectors&&) noexcept;
    Detectors& operator=(Detectors&&) noexcept;
    ~Detectors();

    // Spans in order of their start, none overlapping: of two that would, the one of the higher
    // class stays, then the more confident, then the longer.
    std::vector<Finding> scan(std::string_view text) const;

    // The class of a text with these findings: the highest of them, never below `internal`, and
    // `restricted` where the text is longer than a scan reads.
    static chat::Sensitivity class_of(std::string_view text, const std::vector<Finding>& findings);

    // Every entity that can be found, sorted; for listings and configuration checks.
    std::vector<std::string> entities() const;

  private:
    struct Tables;
    explicit Detectors(std::unique_ptr<const Tables> tables);
    std::unique_ptr<const Tables> tables_;
};

}  // namespace hearth::route
