#include "audit/run.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "audit/folder.h"
#include "audit/line.h"
#include "base/file.h"
#include "base/format.h"

namespace hearth::audit {
namespace {

constexpr std::size_t kKeyFileBytes = 4096;
constexpr std::size_t kAnchorFileBytes = 16u << 20;  // a line is 700 bytes

Result<Trust> trust_of(const VerifyRequest& request) {
    Trust trust = request.known;
    trust.from_seq = request.from_seq;
    if (!request.chain_key.empty()) {
        HEARTH_TRY(trust.chain_key, read_key_file(request.chain_key));
    }
    for (const std::string& path : request.public_keys) {
        HEARTH_TRY(const std::string text, read_file(path, kKeyFileBytes));
        auto key = parse_public_key(text);
        if (!key)
            return fail(ErrorKind::invalid_request, format("{}: {}", path, key.error().message));
        trust.public_keys.push_back(std::move(*key));
    }
    for (const std::string& path : request.anchors) {
        HEARTH_TRY(const std::string text, read_file(path, kAnchorFileBytes));
        auto anchors = parse_anchors(text);
        if (!anchors)
            return fail(ErrorKind::invalid_request,
                        format("{}: {}", path, anchors.error().message));
        if (anchors->empty())
            return fail(ErrorKind::invalid_request, format("{} holds no checkpoint", path));
        for (SignedCheckpoint& anchor : *anchors) trust.anchors.push_back(std::move(anchor));
    }
    return trust;
}

}  // namespace

Result<std::string> parse_public_key(std::string_view text) {
    constexpr std::string_view kBegin = "-----BEGIN PUBLIC KEY-----\n";
    constexpr std::size_t kBase64 = 60;  // of 44 bytes: 12 that say Ed25519, 32 of the key
    while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
    if (const Result<std::string> key = from_hex(text); key && key->size() == kPublicKeyBytes)
        return *key;
    const auto at = text.find(kBegin);
    if (at != text.npos && text.size() >= at + kBegin.size() + kBase64) {
        const std::string base64(text.substr(at + kBegin.size(), kBase64));
        std::string der(kBase64 / 4 * 3, '\0');
        const int n = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(der.data()),
                                        reinterpret_cast<const unsigned char*>(base64.data()),
                                        int(base64.size()));
        // What names the key's kind is checked by writing the same again.
        if (n == 45) {
            std::string key = der.substr(12, kPublicKeyBytes);
            if (public_key_pem(key).find(base64) != std::string::npos) return key;
        }
    }
    return fail(ErrorKind::invalid_request,
                "no Ed25519 public key; it is 64 hex digits, or PEM as in public.pem");
}

Result<Verdict> run_verify(const VerifyRequest& request) {
    HEARTH_TRY(const Trust trust, trust_of(request));
    if (request.path == "-") return verify_lines(STDIN_FILENO, trust);
    struct stat info{};
    if (::stat(request.path.c_str(), &info) != 0)
        return fail(ErrorKind::not_found,
                    format("cannot read {}: {}", request.path, std::strerror(errno)));
    if (S_ISDIR(info.st_mode))
        return verify_folder(request.path, trust,
                             {.n_threads = request.n_threads, .from_seq = request.from_seq});
    const Fd fd(::open(request.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return fail(ErrorKind::not_found,
                    format("cannot read {}: {}", request.path, std::strerror(errno)));
    return verify_lines(fd.get(), trust);
}

bool is_bad(const Verdict& verdict, bool require_complete) {
    if (!verdict.ok || verdict.completeness == Completeness::incomplete) return true;
    return require_complete && verdict.completeness != Completeness::complete;
}

}  // namespace hearth::audit
