// National ids and registration numbers: one table row per way of writing, one matcher.
//
// A row's shape is compared with the text byte by byte: 'd' a digit, 'L' a letter, 'A' either, ' '
// a space or a no-break space, anything else itself. What stands at the 'd', 'L' and 'A', letters
// in upper case, is handed to the row's rule, which knows check digits, dates and ranges.
//
// A number that proves little (nine digits of which one is a check digit) is reported only near a
// word that names it; one that is written in its country's own way, or that holds a date and two
// check digits, stands alone. A reported number is restricted.
#pragma once

#include <string_view>

#include "route/detector.h"

namespace hearth::route {

struct NationalId {
    const char* entity;
    std::uint8_t group;  // of the detector's keywords that name it
    bool alone;          // may stand without them
    const char* shape;
    bool (*holds)(std::string_view compact);
};

// Reports what the rows find at the chain's groups, at the token's start.
void find_ids(Scan& scan, const Chain& chain, std::span<const NationalId> rows);
void find_ids(Scan& scan, std::size_t token, std::span<const NationalId> rows);

// Two digits each, or four of the year; a day of the calendar.
bool is_date(std::string_view year, std::string_view month, std::string_view day);

}  // namespace hearth::route
