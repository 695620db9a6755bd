#include "support/data.h"

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/ids.h"

namespace hearth::test {

std::string data_path(const std::string& relative) {
    const auto path = std::filesystem::path(HEARTH_SOURCE_DIR) / "../shared/data" / relative;
    return std::filesystem::exists(path) ? path.lexically_normal().string() : "";
}

std::string temp_folder() {
    struct Cleaner {
        std::vector<std::string> folders;
        ~Cleaner() {
            std::error_code ignored;
            for (const auto& f : folders) std::filesystem::remove_all(f, ignored);
        }
    };
    static Cleaner cleaner;
    const auto place = std::filesystem::temp_directory_path() / random_id("hearth-test-");
    const auto path = place / "f";
    std::filesystem::create_directories(path);
    cleaner.folders.push_back(place.string());
    return path.string();
}

}  // namespace hearth::test
