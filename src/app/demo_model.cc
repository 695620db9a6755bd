#include "app/demo_model.h"

// The assembler reads the file, so that eight megabytes need no source text and no copy at start:
// the pages come from the executable like any others. 64 is GGUF's alignment and a cache line.
asm(R"(
    .section .rodata
    .global hearth_demo_begin, hearth_demo_end
    .hidden hearth_demo_begin, hearth_demo_end
    .balign 64
hearth_demo_begin:
    .incbin ")" HEARTH_DEMO_FILE R"("
hearth_demo_end:
    .byte 0
    .section .text
)");

extern "C" {
extern const std::byte hearth_demo_begin[], hearth_demo_end[];
}

namespace hearth::app {

std::span<const std::byte> demo_model() {
    return {hearth_demo_begin, hearth_demo_end};
}

}  // namespace hearth::app
