#include "egress/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdlib>
#include <span>

#include "base/file.h"
#include "base/format.h"
#include "egress/message.h"

namespace hearth::egress {
namespace {

constexpr const char* kBundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora
    "/etc/pki/tls/certs/ca-bundle.crt",                   // older Fedora
    "/var/lib/ca-certificates/ca-bundle.pem",             // SUSE
    "/etc/ssl/ca-bundle.pem",                             // SUSE
    "/etc/ssl/cert.pem",                                  // Alpine
};

std::string last_error() {
    const unsigned long code = ::ERR_peek_last_error();
    const char* reason = code == 0 ? nullptr : ::ERR_reason_error_string(code);
    ::ERR_clear_error();
    return reason == nullptr ? "unknown TLS error" : reason;
}

std::unexpected<Error> no_bundle(const std::string& what) {
    return fail(ErrorKind::upstream_failed,
                what +
                    "; without it no server can be verified, so no TLS connection is made. "
                    "Install the package ca-certificates, or set ca_file of the upstream or "
                    "SSL_CERT_FILE");
}

Status load_file(SSL_CTX* context, const std::string& path) {
    if (::SSL_CTX_load_verify_file(context, path.c_str()) != 1)
        return no_bundle(format("CA file {} cannot be used ({})", path, last_error()));
    return {};
}

Status load_bundle(SSL_CTX* context, const std::string& ca_file) {
    if (!ca_file.empty()) return load_file(context, ca_file);
    const char* file = std::getenv("SSL_CERT_FILE");
    const char* folder = std::getenv("SSL_CERT_DIR");
    if (file != nullptr && *file != '\0') HEARTH_CHECK_OK(load_file(context, file));
    if (folder != nullptr && *folder != '\0' && ::SSL_CTX_load_verify_dir(context, folder) != 1)
        return no_bundle(format("SSL_CERT_DIR {} cannot be used ({})", folder, last_error()));
    if ((file != nullptr && *file != '\0') || (folder != nullptr && *folder != '\0')) return {};
    for (const char* path : kBundles)
        if (::access(path, R_OK) == 0) return load_file(context, path);
    return no_bundle(
        "no bundle of CA certificates was found in the places of Debian, Fedora, "
        "SUSE and Alpine");
}

bool is_address(const std::string& host) {
    ASN1_OCTET_STRING* address = ::a2i_IPADDRESS(host.c_str());
    ::ASN1_OCTET_STRING_free(address);
    return address != nullptr;
}

}  // namespace

void FreeTls::operator()(ssl_st* tls) const {
    ::SSL_free(tls);
}
void FreeTls::operator()(ssl_ctx_st* context) const {
    ::SSL_CTX_free(context);
}

Result<TlsContext> make_tls_context(const std::string& ca_file) {
    ::OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
    TlsContext context(::SSL_CTX_new(::TLS_client_method()));
    if (!context) return fail(ErrorKind::internal, "TLS context: " + last_error());
    ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    ::SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    ::SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                          SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                          SSL_MODE_RELEASE_BUFFERS);
    ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    HEARTH_CHECK_OK(load_bundle(context.get(), ca_file));
    return context;
}

Result<TlsSession> make_tls_session(ssl_ctx_st* context, int fd, const std::string& host) {
    ::ERR_clear_error();
    TlsSession tls(::SSL_new(context));
    // The length byte, then the protocol (RFC 7301, 3.1). Its setter answers 0 for success.
    static constexpr unsigned char kAlpn[] = "\x08http/1.1";
    bool ok = tls && ::SSL_set_fd(tls.get(), fd) == 1 &&
              ::SSL_set_alpn_protos(tls.get(), kAlpn, sizeof(kAlpn) - 1) == 0;
    if (ok && is_address(host)) {
        ok = ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(tls.get()), host.c_str()) == 1;
    } else if (ok) {
        ::SSL_set_hostflags(tls.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        ok = ::SSL_set1_host(tls.get(), host.c_str()) == 1 &&
             ::SSL_set_tlsext_host_name(tls.get(), host.c_str()) == 1;
    }
    if (!ok) return fail(ErrorKind::internal, "TLS session: " + last_error());
    ::SSL_set_connect_state(tls.get());
    return tls;
}

std::string tls_problem(ssl_st* tls, int saved_errno) {
    const long verified = ::SSL_get_verify_result(tls);
    if (verified != X509_V_OK) {
        ::ERR_clear_error();
        return format("the server's certificate is not accepted: {}",
                      ::X509_verify_cert_error_string(verified));
    }
    if (::ERR_peek_last_error() != 0) return last_error();
    return saved_errno == 0 ? "the server closed the connection" : errno_text("TLS", saved_errno);
}

std::string tls_spki_sha256(ssl_st* tls) {
    const X509* certificate = ::SSL_get0_peer_certificate(tls);
    if (certificate == nullptr) return "";
    unsigned char* der = nullptr;
    const int n = ::i2d_X509_PUBKEY(::X509_get_X509_PUBKEY(certificate), &der);
    if (n <= 0) return "";
    const std::string digest = sha256_hex(std::as_bytes(std::span(der, std::size_t(n))));
    ::OPENSSL_free(der);
    return digest;
}

}  // namespace hearth::egress
