# Compiles one source with the project's own flags and expects it to fail, or (EXPECT=compiles) to
# pass. cmake -DCXX=… -DFLAGS=… -DINCLUDES=… -DSOURCE=… -DEXPECT=fails|compiles [-DWORD=…] -P check.cmake
separate_arguments(FLAGS)
set(arguments ${FLAGS})
foreach(folder ${INCLUDES})
    list(APPEND arguments -I${folder})
endforeach()
execute_process(COMMAND ${CXX} -std=c++23 -fsyntax-only ${arguments} ${SOURCE}
                RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
if(EXPECT STREQUAL "compiles" AND NOT code EQUAL 0)
    message(FATAL_ERROR "the control must compile:\n${out}")
endif()
if(EXPECT STREQUAL "fails" AND code EQUAL 0)
    message(FATAL_ERROR "${SOURCE} compiled, so a permit can be had without route")
endif()
# It must fail for the reason that it is about, not because of a slip in the test.
if(EXPECT STREQUAL "fails" AND NOT out MATCHES "${WORD}")
    message(FATAL_ERROR "failed, but without the word '${WORD}':\n${out}")
endif()
