// Any bytes as a GGUF file: parse, read everything, and build the tokenizer if there is one.
#include <cstdint>
#include <cstdlib>

#include "engine/model/gguf.h"
#include "engine/model/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth::model;
    const auto gguf = Gguf::parse({reinterpret_cast<const std::byte*>(data), size});
    if (!gguf) {
        if (gguf.error().message.empty()) std::abort();
        return 0;
    }
    std::size_t sum = 0;
    for (const auto& [key, value] : gguf->metadata()) {
        if (gguf->find(key) != &value) std::abort();
        if (const auto texts = gguf->texts(key))
            for (const auto text : *texts)
                for (const char c : text) sum += std::size_t(c);
        if (const auto integers = gguf->integers(key)) sum += integers->size();
        if (const auto numbers = gguf->numbers(key)) sum += numbers->size();
        if (const auto integer = gguf->integer(key, -5, 5);
            integer && (*integer < -5 || *integer > 5))
            std::abort();
    }
    for (const GgufTensor& tensor : gguf->tensors()) {
        if (gguf->find_tensor(tensor.name) != &tensor || tensor.n_values() < 1) std::abort();
        for (const std::byte b : tensor.bytes) sum += std::size_t(b);
    }
    if (const auto tokenizer = make_tokenizer(*gguf)) {
        for (const auto id : (*tokenizer)->encode("a <s>\xff \n1", {})) {
            if (!(*tokenizer)->is_valid(id)) std::abort();
            sum += (*tokenizer)->piece(id, true, true).size();
        }
    }
    return sum == 1 ? 0 : 0;  // keeps the reads
}
