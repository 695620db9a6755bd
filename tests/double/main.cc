// hearth_double [--port N] [--tls --ca-out FILE]: the upstream double as a program. It says where
// it listens and runs until its stdin closes (where that is a pipe) or a signal ends it.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/file.h"
#include "double/double.h"

int main(int argc, char** argv) {
    hearth::test::DoubleOptions options;
    std::string ca_out;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--port" && i + 1 < argc)
            options.port = std::atoi(argv[++i]);
        else if (argument == "--tls")
            options.tls = true;
        else if (argument == "--ca-out" && i + 1 < argc)
            ca_out = argv[++i];
        else {
            std::fprintf(stderr, "usage: hearth_double [--port N] [--tls --ca-out FILE]\n");
            return 2;
        }
    }
    const auto server = hearth::test::Double::start(options);
    if (!server) {
        std::fprintf(stderr, "%s\n", server.error().message.c_str());
        return 1;
    }
    if (!ca_out.empty() && !hearth::write_file(ca_out, (*server)->ca_pem())) {
        std::fprintf(stderr, "cannot write %s\n", ca_out.c_str());
        return 1;
    }
    std::printf("listening on %s\n", (*server)->url().c_str());
    std::fflush(stdout);
    // A test that dies takes its double with it: the pipe to stdin closes.
    struct stat input{};
    const bool is_pipe =
        ::fstat(0, &input) == 0 && (S_ISFIFO(input.st_mode) || S_ISSOCK(input.st_mode));
    char piece[256];
    while (is_pipe ? ::read(0, piece, sizeof(piece)) > 0 : (::pause(), true)) {
    }
    return 0;
}
