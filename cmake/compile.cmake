# Flags shared by every target, ccache, and the system's libraries as static archives.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(HEARTH_CCACHE ccache)
if(HEARTH_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${HEARTH_CCACHE})
endif()

# One flag set for everyone; an ISA's flags are added by src/engine/kernels to its own object only.
set(shadow -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(shadow -Wshadow=local)  # a local that hides a local; clang has no name for this alone
endif()
add_compile_options(-Wall -Wextra -Wpedantic ${shadow} -Werror -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 reports maybe-uninitialized and dangling inside std::expected and std::variant.
    add_compile_options(-Wno-maybe-uninitialized -Wno-restrict -Wno-stringop-overflow)
else()
    # libstdc++ 12 uses its own deprecated buffer in stable_sort, which clang reports where g++ does not;
    # a designated initialiser that leaves the rest to its defaults is what we mean by it.
    add_compile_options(-Wno-shadow -Wno-gnu-zero-variadic-macro-arguments -Wno-deprecated-declarations
                        -Wno-missing-designated-field-initializers)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
add_compile_definitions(HEARTH_VERSION="${PROJECT_VERSION}" _FILE_OFFSET_BITS=64)

if(HEARTH_SANITIZE)
    add_compile_options(-fsanitize=${HEARTH_SANITIZE} -fno-omit-frame-pointer
                        -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${HEARTH_SANITIZE})
elseif(HEARTH_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
                        -fno-sanitize-recover=all)
    add_link_options(-fsanitize=address,undefined)
else()
    add_link_options(-static-libstdc++ -static-libgcc)
endif()

# A link with sanitizers reaches a gigabyte: one at a time. Compiling is bounded by scripts/build.
set_property(GLOBAL APPEND PROPERTY JOB_POOLS link=1)
set(CMAKE_JOB_POOL_LINK link)

set(OPENSSL_USE_STATIC_LIBS ON)
set(ZLIB_USE_STATIC_LIBS ON)
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(Boost 1.81 CONFIG REQUIRED COMPONENTS headers)
find_package(nlohmann_json 3.11 CONFIG REQUIRED)
find_path(HEARTH_FMT_INCLUDE fmt/format.h REQUIRED)
find_path(HEARTH_SQLITE_INCLUDE sqlite3.h REQUIRED)
find_library(HEARTH_SQLITE_LIB libsqlite3.a REQUIRED)
find_library(HEARTH_SECCOMP_LIB libseccomp.a REQUIRED)
find_library(HEARTH_UTF8PROC_LIB libutf8proc.a REQUIRED)
find_path(HEARTH_CLI11_INCLUDE CLI/CLI.hpp REQUIRED)
find_path(HEARTH_TOMLPP_INCLUDE toml++/toml.h REQUIRED)
