// Taint: what was sensitive stays so, however a client sends it again.
//
// A text that is sensitive, and each text that came after it in its conversation (turns, tool
// results, answers), leaves marks: keyed hashes of the whole text and of its long lines. A request
// in which one of them is found again is of the class that was marked, whatever its caller states.
// So a conversation cannot shed its class by dropping the sensitive message and keeping the answer.
//
// Normalised before hashing: white space and invisible characters are dropped, letters of Latin,
// Greek and Cyrillic are folded to lower case. Covered: resending, reordering, dropping of turns,
// other line breaks, case and indentation, several turns put into one text with a line for each.
// Not covered: a text in other words, in another language or encoding, cut inside a line, or with
// words put into it; and what is found in its own conversation only: texts under kMarkedBytesMin,
// which are said in many, once the conversation's first message is another.
//
// The store keeps marks, classes and times, never text; a mark says nothing without the key. Its
// file is appended to by every process of a state folder, and each sees what the others wrote.
//
// Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/secret.h"
#include "chat/chat.h"

namespace hearth::route {

// The first half of an HMAC-SHA256: no two texts meet by chance.
using Mark = std::array<char, 16>;

// The marks that one text leaves.
struct TextMarks {
    Mark whole{};                // of all of it; zeros of a text without content
    std::vector<Mark> anywhere;  // whole, where it is long enough, and its long lines
    bool empty = true;
};
// The mark of a text that counts in one conversation only.
Mark bound_mark(const Secret& key, const Mark& conversation, const Mark& whole);

// Makes them from a text that comes in pieces of whole code points.
class Marker {
  public:
    explicit Marker(const Secret& key);  // lent
    void add(std::string_view text);
    TextMarks finish();  // once, last

  private:
    void end_line();

    const Secret& key_;
    Hmac whole_;
    std::string line_;
    std::size_t n_bytes_ = 0;
    TextMarks marks_;
};
TextMarks marks_of(const Secret& key, std::string_view text);

struct Taint {
    std::string id;  // "taint-" and 16 hex digits: one conversation's marks
    chat::Sensitivity sensitivity = chat::Sensitivity::restricted;
};
std::string new_taint_id();

class TaintStore {
  public:
    // Errors: of the folder and file; invalid_request for a file that is not ours.
    static Result<std::unique_ptr<TaintStore>> open(const std::string& folder, Secret key,
                                                    const Clock& clock = system_clock());
    virtual ~TaintStore() = default;

    virtual const Secret& key() const = 0;
    virtual bool empty() = 0;
    // The strongest of those that are marked.
    virtual std::optional<Taint> find(std::span<const Mark> marks) = 0;
    // Known from now on, also where the error says that it could not be written down.
    virtual Status add(std::span<const Mark> marks, const Taint& taint) = 0;

    struct Summary {
        std::string id;
        chat::Sensitivity sensitivity;
        std::int64_t n_marks, first_wall_ns;
    };
    virtual std::vector<Summary> list() = 0;  // oldest first
    // Forgets the marks of one conversation; how many there were. What detectors find by
    // themselves, they find again. Errors: not_found, and where it cannot be written down.
    virtual Result<std::int64_t> release(const std::string& id) = 0;
};

}  // namespace hearth::route
