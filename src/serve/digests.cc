#include "serve/digests.h"

#include "base/crypto.h"
#include "serve/inspector.h"

namespace hearth::serve {
namespace {

// 128 bits: no two meet by chance, and a line of a log can hold it.
std::string digest(const Secret& key, const CanonicalForm& form) {
    return to_hex(hmac_sha256(key.reveal(), form.bytes()).substr(0, 16));
}

template <class Ids>
void add_ids(CanonicalForm& form, const Ids& ids) {
    std::string bytes;
    bytes.reserve(ids.size() * 4);
    for (const auto& id : ids) {
        const auto value = std::uint32_t(id);
        for (int i = 0; i < 4; ++i) bytes.push_back(char(value >> (8 * i)));
    }
    form.text(bytes);
}

}  // namespace

std::string prompt_digest(const Secret& key, const chat::ChatRequest& request,
                          const backend::Prompt* prompt) {
    if (prompt) {
        CanonicalForm form("hearth-prompt-ids-v1");
        std::vector<std::int32_t> ids;
        ids.reserve(prompt->ids.size());
        for (const TokenId id : prompt->ids) ids.push_back(id.value);
        add_ids(form, ids);
        return "ids:" + digest(key, form);
    }
    CanonicalForm form("hearth-prompt-text-v1");
    std::list<std::string> made;
    for (const TextRef& ref : texts_of(request, made)) form.text(ref.text);
    return "text:" + digest(key, form);
}

std::string tokens_digest(const Secret& key, const std::vector<std::int32_t>& tokens) {
    CanonicalForm form("hearth-answer-ids-v1");
    add_ids(form, tokens);
    return digest(key, form);
}

std::string answer_digest(const Secret& key, const std::map<std::int64_t, std::string>& answers) {
    CanonicalForm form("hearth-answers-v1");
    for (const auto& [index, one] : answers) form.number(index).text(one);
    return digest(key, form);
}

std::string stop_digest(const Secret& key, const std::vector<std::string>& stop) {
    CanonicalForm form("hearth-stop-v1");
    for (const std::string& text : stop) form.text(text);
    return digest(key, form);
}

}  // namespace hearth::serve
