// Slot: what one process writes. The folder holds
//
// clang-format off
//   journal-<k>.db, -wal, -shm      SQLite's files, k = 0, 1, …, 63 in decimal: part 1 of slot k
//   journal-<k>.<n>.db, …           its part n; the one with the greatest number is written
//   journal-<k>.lock                empty; flock'ed by the process that writes slot k
//   journal-<k>.damaged-<t>.db, …   set aside, never read again by this program
// clang-format on
//
// The kernel drops the lock when the process ends in whatever way, so that a slot is never lost.
#pragma once

#include <string>
#include <vector>

#include "audit/files.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/result.h"

namespace hearth::journal {

struct Slot {
    Fd lock;
    std::string path;  // of the .db that is written
    std::string folder = {};
    int number = 0, part = 1;
    std::string name() const { return audit::slot_name(number); }
    // The path that the part after this one has.
    std::string next_path() const { return folder + "/" + audit::part_name(number, part + 1); }
};

// Makes the folder (0700), locks the first free slot and makes its file (0600) if it has none.
// Errors: overloaded when all slots are taken; else what the file system says.
Result<Slot> take_slot(const std::string& folder);

// Makes an empty .db file where there is none, mode 0600. SQLite gives the -wal and -shm its mode.
Status make_file(const std::string& path);

// The .db files of all slots, by slot number and part. A folder that is not there has none. The
// older parts may hold fewer columns than the newest, and those of schema 1 no chain.
Result<std::vector<std::string>> slot_files(const std::string& folder);

// Renames a damaged file with its -wal and -shm; returns its new path.
Result<std::string> set_aside(const std::string& path, const Clock& clock);

}  // namespace hearth::journal
