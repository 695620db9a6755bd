// TLS as a client, verified or not at all: version 1.2 or newer, chain to a CA of one bundle, name
// or address of the certificate equal to the destination's, ALPN http/1.1.
//
// One context per CA file is made at start and kept for life, because reading a bundle takes
// milliseconds and OpenSSL 3.0 takes locks while it does. OpenSSL's configuration file is not read:
// it could load engines.
// Thread: the broker's loop. Source: RFC 5280, RFC 6125, RFC 8446; SSL_CTX_new(3).
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

struct ssl_st;
struct ssl_ctx_st;

namespace hearth::egress {

struct FreeTls {
    void operator()(ssl_st* tls) const;
    void operator()(ssl_ctx_st* context) const;
};
using TlsContext = std::unique_ptr<ssl_ctx_st, FreeTls>;
using TlsSession = std::unique_ptr<ssl_st, FreeTls>;

// ca_file empty: SSL_CERT_FILE and SSL_CERT_DIR, or else the first bundle that exists among the
// places of Debian, Fedora, SUSE and Alpine. Errors: upstream_failed: no bundle, or none readable.
Result<TlsContext> make_tls_context(const std::string& ca_file);

// A session over a connected, non-blocking socket, before its handshake.
Result<TlsSession> make_tls_session(ssl_ctx_st* context, int fd, const std::string& host);

// Why the last operation failed: the verifier's words where it was the certificate.
std::string tls_problem(ssl_st* tls, int saved_errno);
// SHA-256 of the server's SubjectPublicKeyInfo, hex (RFC 7469's pin, in hex).
std::string tls_spki_sha256(ssl_st* tls);

}  // namespace hearth::egress
