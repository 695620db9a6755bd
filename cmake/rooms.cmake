# hearth_room(NAME DIR [LINKS lib…]): the library of one room, from every .cc directly in DIR.
function(hearth_room name dir)
    cmake_parse_arguments(ROOM "" "" "LINKS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${dir}/*.cc)
    if(NOT sources)
        add_library(${name} INTERFACE)
        target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
        list(REMOVE_ITEM ROOM_LINKS PRIVATE)
        target_link_libraries(${name} INTERFACE ${ROOM_LINKS})
        return()
    endif()
    add_library(${name} STATIC ${sources})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(${name} PUBLIC ${ROOM_LINKS})
endfunction()

# hearth_sources(LIB DIR…): every .cc of further folders of a room, which are no registry.
function(hearth_sources lib)
    foreach(dir ${ARGN})
        file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${dir}/*.cc)
        target_sources(${lib} PRIVATE ${sources})
    endforeach()
endfunction()

# hearth_registry(LIB DIR PREFIX NAMESPACE TYPE HEADER): the folder is the registry. Adds each .cc of
# DIR to LIB and generates the table of their descriptors: file x.cc defines `const TYPE PREFIX_x`.
# The generated symbols are `PREFIX_table` (array of pointers, in name order) and `PREFIX_table_size`.
function(hearth_registry lib dir prefix namespace type header)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${dir}/*.cc)
    list(SORT sources)
    get_target_property(kind ${lib} TYPE)
    if(kind STREQUAL "INTERFACE_LIBRARY")
        return()
    endif()
    set(externs "")
    set(entries "")
    set(count 0)
    foreach(source ${sources})
        get_filename_component(stem ${source} NAME_WE)
        string(APPEND externs "extern const ${type} ${prefix}_${stem};\n")
        string(APPEND entries "    &${prefix}_${stem},\n")
        math(EXPR count "${count} + 1")
    endforeach()
    set(out ${CMAKE_BINARY_DIR}/generated/${prefix}_table.cc)
    file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
"// Generated from src/${dir}: one descriptor per file, in name order.
#include <cstddef>

#include \"${header}\"
namespace ${namespace} {
${externs}
extern const ${type}* const ${prefix}_table[];
extern const std::size_t ${prefix}_table_size;
const ${type}* const ${prefix}_table[] = {
${entries}    nullptr};
const std::size_t ${prefix}_table_size = ${count};
}  // namespace ${namespace}
")
    target_sources(${lib} PRIVATE ${sources} ${out})
endfunction()

# hearth_test_folder(NAME DIR LINKS lib…): one test program from every *_test.cc directly in DIR;
# each TEST becomes one ctest case.
function(hearth_test_folder name dir)
    cmake_parse_arguments(T "" "" "LINKS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${dir}/*_test.cc)
    if(NOT sources)
        return()
    endif()
    add_executable(${name} ${sources})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${name} PRIVATE ${T_LINKS} hearth_test_support GTest::gtest
                          GTest::gmock GTest::gtest_main)
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
                         PROPERTIES TIMEOUT 600)
endfunction()
