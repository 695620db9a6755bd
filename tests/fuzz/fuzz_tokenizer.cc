// Any text through any tokenizer, with a vocabulary that is part of the input too. The input's form
// and the properties are in tokenizer_properties.h; a unit test feeds it mutated seeds.
#include <cstdio>
#include <cstdlib>

#include "../unit/model/tokenizer_properties.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string wrong = hearth::test::check_tokenizer({data, size});
    if (wrong.empty()) return 0;
    std::fprintf(stderr, "%s\n", wrong.c_str());
    std::abort();
}
