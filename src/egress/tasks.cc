#include "egress/tasks.h"

#include <cstdlib>
#include <string_view>

#include "egress/door.h"
#include "egress/opener.h"

namespace hearth::egress {

std::optional<int> run_child_task(int argc, char** argv) {
    if (argc < 3) return std::nullopt;
    const std::string_view task = argv[1];
    const int channel = std::atoi(argv[2]);
    if (task == kBrokerTask) return broker_main(channel);
    if (task == kOpenerTask) return opener_main(channel, {argv + 3, argv + argc});
    return std::nullopt;
}

}  // namespace hearth::egress
