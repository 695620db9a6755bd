// suggest: names in error messages: lists of them, and those closest to one that was not found.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hearth {

// At most n_max of the names, closest first by edit distance (insert, delete, replace, each 1,
// letters without case); ties keep their order. Only names within half the length of the longer
// word count. Words are compared up to 64 bytes, so that a hostile name costs no more than a long
// one.
std::vector<std::string> closest_names(std::string_view wanted, std::span<const std::string> names,
                                       std::size_t n_max = 3);

// "is not found" text: `no model is called "demp". Close: demo. Available: big-1, demo.` Lists are
// cut at 12 names; the wanted name is shown as by shown_name.
std::string not_found_text(std::string_view what, std::string_view wanted,
                           std::span<const std::string> names);
// Adds a name to a list as messages show it: "demo, big-1".
void append_name(std::string& list, std::string_view name);
// A name from outside as messages show it: visible (base/utf8), at most 80 bytes.
std::string shown_name(std::string_view name);

}  // namespace hearth
