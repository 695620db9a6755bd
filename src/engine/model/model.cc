#include "engine/model/model.h"

#include <map>
#include <utility>

#include "base/file.h"
#include "base/format.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "engine/kernels/kernels.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

std::string known_archs() {
    std::string out;
    for (std::size_t i = 0; i < arch_table_size; ++i) append_name(out, arch_table[i]->name);
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

bool is_of_experts(const GgufTensor& tensor) {
    return tensor.name.find("_exps.") != std::string_view::npos;
}

void Model::count_weights() {
    const std::string arch(info_.arch);
    // Nonsense in these keys is refused by the architecture; here it only counts as no experts.
    info_.n_expert = gguf().integer(arch + ".expert_count", 0, kExpertMax, 0).value_or(0);
    info_.n_expert_used =
        gguf().integer(arch + ".expert_used_count", 0, info_.n_expert, 0).value_or(0);
    const bool tied = gguf().find_tensor("output.weight") == nullptr;
    for (const GgufTensor& tensor : gguf().tensors()) {
        const std::int64_t n = tensor.n_values();
        const std::size_t bytes = tensor.bytes.size();
        info_.n_params += n;
        info_.weights_bytes += bytes;
        if (tensor.name == "token_embd.weight" && !tied) continue;
        const bool shared = info_.n_expert > 0 && is_of_experts(tensor);
        const std::int64_t of = shared ? info_.n_expert : 1,
                           used = shared ? info_.n_expert_used : 1;
        info_.n_params_active += n / of * used;
        info_.weights_bytes_active += bytes / std::size_t(of) * std::size_t(used);
    }
}

Status Model::read(const ModelSource& source) {
    bytes_ = source.bytes;
    if (!source.path.empty()) {
        HEARTH_TRY(shards_, Shards::open(source.path, source.open_file));
    } else {
        HEARTH_TRY(auto parsed, Gguf::parse(bytes_));
        gguf_ = std::make_unique<Gguf>(std::move(parsed));
    }
    info_.name = source.name;
    // Text from the file is shown to people and put in JSON: it must be UTF-8 from here on.
    HEARTH_TRY(const auto arch, gguf().text("general.architecture", ""));
    info_.arch = utf8_repaired(arch);
    HEARTH_TRY(const auto general_name, gguf().text("general.name", ""));
    info_.general_name = utf8_repaired(general_name);
    HEARTH_TRY(const auto chat_template, gguf().text("tokenizer.chat_template", ""));
    chat_template_ = utf8_repaired(chat_template);
    info_.format = commonest_format(gguf());
    count_weights();
    HEARTH_TRY(tokenizer_, make_tokenizer(gguf()));
    return {};
}

Status Model::build(Device& device, const LoadOptions& options) {
    const Arch* arch = find_arch(info_.arch);
    if (!arch)
        return fail(ErrorKind::invalid_request,
                    format("architecture \"{}\" is not supported; known architectures: {}",
                           info_.arch, known_archs()));
    HEARTH_TRY(config_, arch->read_config(gguf()));
    if (tokenizer_->n_vocab() > config_.n_vocab)
        return fail(ErrorKind::invalid_request,
                    format("token_embd.weight has {} rows for {} tokens of tokenizer.ggml.tokens; "
                           "the file is damaged",
                           config_.n_vocab, tokenizer_->n_vocab()));
    HEARTH_TRY(network_, arch->load(gguf(), config_, device, options));
    if (shards_) packing_ = std::make_unique<Packing>(options.packed_folder, *shards_, device);
    return unchanged();
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

std::string Model::sha256(const std::atomic<bool>* stop) const {
    return shards_ ? shards_->sha256(stop) : sha256_hex(bytes_);
}

Status Model::unchanged() const {
    if (shards_) HEARTH_CHECK_OK(shards_->unchanged());
    return packing_ ? packing_->unchanged() : Status();
}

}  // namespace hearth::model
