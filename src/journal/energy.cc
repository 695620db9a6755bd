#include "journal/energy.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/format.h"
#include "journal/limits.h"

namespace hearth::journal {
namespace {

// A counter's value, from the start of its file; sysfs makes the text anew at each read. -1 where
// it is no number.
std::int64_t read_counter(int fd) {
    char text[32];
    const ssize_t n = ::pread(fd, text, sizeof text, 0);
    if (n <= 0) return -1;
    std::int64_t value = -1;
    const auto [end, error] = std::from_chars(text, text + n, value);
    const bool whole = end == text + n || *end == '\n';
    return error == std::errc() && whole && value >= 0 ? value : -1;
}

// "intel-rapl:0", but not "intel-rapl:0:1" (a part) nor "intel-rapl-mmio:0" (the same once more).
bool is_domain(std::string_view name) {
    constexpr std::string_view kPrefix = "intel-rapl:";
    if (!name.starts_with(kPrefix) || name.size() == kPrefix.size()) return false;
    return name.find_first_not_of("0123456789", kPrefix.size()) == name.npos;
}

}  // namespace

EnergyMeter::EnergyMeter(const std::string& powercap, const route::CostSettings& settings,
                         const Clock& clock)
    : settings_(settings), clock_(clock) {
    open_packages(powercap);
}

void EnergyMeter::open_packages(const std::string& powercap) {
    DIR* const dir = ::opendir(powercap.c_str());
    if (!dir) {
        why_not_ = format("cannot read {}: {}", powercap, std::strerror(errno));
        return;
    }
    std::vector<std::string> domains;
    while (const dirent* entry = ::readdir(dir))
        if (is_domain(entry->d_name)) domains.push_back(format("{}/{}", powercap, entry->d_name));
    ::closedir(dir);
    std::ranges::sort(domains);
    if (domains.empty()) why_not_ = format("{} has no intel-rapl domain", powercap);
    for (const std::string& domain : domains) {
        const auto name = read_file(domain + "/name", kPowercapBytes);
        if (!name || !name->starts_with("package")) continue;
        const std::string counter = domain + "/energy_uj";
        Package package;
        package.file = Fd(::open(counter.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (!package.file) {
            why_not_ = format("cannot read {}: {}", counter, std::strerror(errno));
            break;
        }
        const Fd range(
            ::open((domain + "/max_energy_range_uj").c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        package.range_uj = range ? read_counter(range.get()) : -1;
        if (read_counter(package.file.get()) < 0 || package.range_uj <= 0) {
            why_not_ = format("{} or its max_energy_range_uj is no number", counter);
            break;
        }
        packages_.push_back(std::move(package));
    }
    // A machine of which a part is not counted would look better than it is.
    if (!why_not_.empty()) packages_.clear();
    if (packages_.empty() && why_not_.empty())
        why_not_ = format("no domain of {} is a package", powercap);
}

// What all packages used since the last reading; -1 where that is not known. Takes the reading that
// the next difference starts from.
std::int64_t EnergyMeter::risen_uj(std::int64_t elapsed_ns) {
    if (packages_.empty()) return -1;
    std::int64_t sum = 0;
    for (Package& package : packages_) {
        std::int64_t now = read_counter(package.file.get());
        if (now > package.range_uj) now = -1;
        const std::int64_t before = std::exchange(package.last_uj, now);
        const bool known =
            now >= 0 && before >= 0 && elapsed_ns / kNsPerMicrojoule <= package.range_uj;
        if (!known)
            sum = -1;
        else if (sum >= 0)
            sum += now >= before ? now - before : now + (package.range_uj - before);
    }
    return sum;
}

void EnergyMeter::advance() {
    const std::int64_t now = clock_.mono_ns();
    const std::int64_t elapsed = std::max<std::int64_t>(now - last_ns_, 0);
    last_ns_ = now;
    std::int64_t risen = risen_uj(elapsed);
    if (n_open_ == 0) return;  // idle: what is computed next starts from this reading
    if (risen < 0) {
        risen = route::estimated_energy(elapsed, settings_).energy_uj;
        ++n_estimated_;
    }
    busy_rest_ns_ += elapsed;
    busy_ns_ += busy_rest_ns_ / n_open_;
    busy_rest_ns_ %= n_open_;
    energy_rest_uj_ += risen;
    energy_uj_ += energy_rest_uj_ / n_open_;
    energy_rest_uj_ %= n_open_;
}

EnergyMeter::Ticket EnergyMeter::begin() {
    const std::scoped_lock lock(mutex_);
    advance();
    ++n_open_;
    return {
        .busy_ns = busy_ns_, .energy_uj = energy_uj_, .n_estimated = n_estimated_, .open = true};
}

void EnergyMeter::touch() {
    const std::scoped_lock lock(mutex_);
    if (clock_.mono_ns() - last_ns_ >= kReadingAgeNs) advance();
}

route::EnergyReading EnergyMeter::end(Ticket& ticket) {
    if (!ticket.open) return {};
    const std::scoped_lock lock(mutex_);
    advance();
    --n_open_;
    ticket.open = false;
    const bool counted = !packages_.empty() && n_estimated_ == ticket.n_estimated;
    return {.busy_ns = busy_ns_ - ticket.busy_ns,
            .energy_uj = energy_uj_ - ticket.energy_uj,
            .source = counted ? route::EnergySource::rapl : route::EnergySource::estimate};
}

}  // namespace hearth::journal
