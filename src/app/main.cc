// hearth: the program's entry.
#include <cstdio>
#include <cstring>

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
        std::puts("hearth " HEARTH_VERSION);
        return 0;
    }
    std::fputs("usage: hearth --version\n", stderr);
    return 2;
}
