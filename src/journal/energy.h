// EnergyMeter: joules and busy time of the answers that this machine computes, by the processor's
// own counters where they can be read.
//
// RAPL counts the energy of each package in microjoules:
// /sys/class/powercap/intel-rapl:<k>/energy_uj, of the domains called package-<k>; a platform
// domain (psys) holds them once more and parts of a package (core, uncore, dram) lie below it, so
// neither is added. A counter goes back to 0 past max_energy_range_uj. Memory, board, disks and
// power supply are not in it.
//
// Whenever an answer begins or ends, what the counters rose by since the last time is divided by
// the answers that were being computed in between, and so is the time. Each answer's share is then
// a difference of two sums:
//
//   busy(t) = sum of dt / n    energy(t) = sum of dE / n    share = value at end - value at begin
//
// The rest of each division goes into the next one, so that shares add up to the whole.
//
// Where the counters cannot be read (most kernels let only root), or an interval is so long that
// one may have gone round twice, its joules are watts times seconds, and every answer that it
// touched says `estimate`.
//
// Thread: any; a mutex guards the sums. Files are opened by the constructor and never again, so
//         that it works inside the sandbox if it is made before.
// Source: Linux, Documentation/power/powercap/powercap.rst, ABI/testing/sysfs-class-powercap.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "route/ledger.h"

namespace hearth::journal {

class EnergyMeter {
  public:
    // powercap: "/sys/class/powercap"; a parameter, so that tests own the counters.
    EnergyMeter(const std::string& powercap, const route::CostSettings& settings,
                const Clock& clock = system_clock());

    // One answer being computed. Plain: whoever begins one must end it.
    struct Ticket {
        std::int64_t busy_ns = 0, energy_uj = 0, n_estimated = 0;
        bool open = false;
    };
    Ticket begin();
    // Takes a reading where the last is some seconds old; for long answers, at their deltas.
    void touch();
    // The share since begin(); nothing for a ticket that is not open. Closes it.
    route::EnergyReading end(Ticket& ticket);

    // Packages whose counters were readable at construction.
    std::size_t n_packages() const { return packages_.size(); }
    // Why there are none: "cannot read /sys/…: permission denied"; empty where there are some.
    const std::string& why_not() const { return why_not_; }

  private:
    struct Package {
        Fd file;
        std::int64_t range_uj = 0;
        std::int64_t last_uj = -1;  // -1: the last reading failed
    };
    void open_packages(const std::string& powercap);
    void advance();
    std::int64_t risen_uj(std::int64_t elapsed_ns);

    const route::CostSettings settings_;
    const Clock& clock_;
    std::string why_not_;

    std::mutex mutex_;  // guards all below
    std::vector<Package> packages_;
    std::int64_t n_open_ = 0;
    std::int64_t last_ns_ = 0;
    std::int64_t busy_ns_ = 0, busy_rest_ns_ = 0;      // of one answer since the start
    std::int64_t energy_uj_ = 0, energy_rest_uj_ = 0;  // likewise
    std::int64_t n_estimated_ = 0;                     // intervals
};

}  // namespace hearth::journal
