#include "engine/model/model.h"

#include <map>
#include <utility>

#include "base/format.h"
#include "base/utf8.h"
#include "engine/kernels/kernels.h"

namespace hearth::model {
namespace {

std::string known_archs() {
    std::string out;
    for (std::size_t i = 0; i < arch_table_size; ++i)
        out += format("{}{}", i ? ", " : "", arch_table[i]->name);
    return out;
}

// Puts the model's name in front of an error that names only keys and tensors.
std::unexpected<Error> of_model(const ModelSource& source, Error error) {
    error.message = format("model {}: {}", source.name, error.message);
    return std::unexpected(std::move(error));
}

// Name, in lower case, of the type that most matrix values are in; "" for a file without matrices.
std::string commonest_format(const Gguf& gguf) {
    std::map<std::uint32_t, std::int64_t> n_values;
    for (const GgufTensor& tensor : gguf.tensors())
        if (tensor.shape.size() >= 2) n_values[tensor.type] += tensor.n_values();
    std::pair<std::int64_t, std::uint32_t> most{};
    for (const auto& [type, n] : n_values) most = std::max(most, {n, type});
    if (most.first == 0) return {};
    const hearth_type_shape* shape = hearth_type_shape_find(most.second);
    std::string name = shape ? shape->name : "";
    for (char& c : name)
        if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
    return name;
}

}  // namespace

Status Model::read(const ModelSource& source) {
    bytes_ = source.bytes;
    if (!source.path.empty()) {
        HEARTH_TRY(map_, MappedFile::open(source.path));
        bytes_ = map_.bytes();
    }
    HEARTH_TRY(auto parsed, Gguf::parse(bytes_));
    gguf_ = std::make_unique<Gguf>(std::move(parsed));
    info_.name = source.name;
    // Text from the file is shown to people and put in JSON: it must be UTF-8 from here on.
    HEARTH_TRY(const auto arch, gguf_->text("general.architecture", ""));
    info_.arch = utf8_repaired(arch);
    HEARTH_TRY(const auto general_name, gguf_->text("general.name", ""));
    info_.general_name = utf8_repaired(general_name);
    HEARTH_TRY(const auto chat_template, gguf_->text("tokenizer.chat_template", ""));
    chat_template_ = utf8_repaired(chat_template);
    info_.format = commonest_format(*gguf_);
    for (const GgufTensor& tensor : gguf_->tensors()) {
        info_.n_params += tensor.n_values();
        info_.weights_bytes += tensor.bytes.size();
    }
    HEARTH_TRY(tokenizer_, make_tokenizer(*gguf_));
    return {};
}

Status Model::build(Device& device, const LoadOptions& options) {
    const Arch* arch = find_arch(info_.arch);
    if (!arch)
        return fail(ErrorKind::invalid_request,
                    format("architecture \"{}\" is not supported; known architectures: {}",
                           info_.arch, known_archs()));
    HEARTH_TRY(config_, arch->read_config(*gguf_));
    if (tokenizer_->n_vocab() > config_.n_vocab)
        return fail(ErrorKind::invalid_request,
                    format("token_embd.weight has {} rows for {} tokens of tokenizer.ggml.tokens; "
                           "the file is damaged",
                           config_.n_vocab, tokenizer_->n_vocab()));
    HEARTH_TRY(network_, arch->load(*gguf_, config_, device, options.max_rows, options.max_logits));
    return {};
}

Result<std::unique_ptr<Model>> Model::open(const ModelSource& source) {
    std::unique_ptr<Model> out(new Model);
    if (auto ok = out->read(source); !ok) return of_model(source, std::move(ok.error()));
    return out;
}

Result<std::unique_ptr<Model>> Model::load(const ModelSource& source, Device& device,
                                           const LoadOptions& options) {
    std::unique_ptr<Model> out(new Model);
    if (auto ok = out->read(source); !ok) return of_model(source, std::move(ok.error()));
    if (auto ok = out->build(device, options); !ok) return of_model(source, std::move(ok.error()));
    return out;
}

std::string Model::sha256() const {
    return sha256_hex(bytes_);
}

}  // namespace hearth::model
