// A certificate authority for one run of the double, and a server certificate signed by it.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace hearth::test {

struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

struct ServerCredentials {
    std::unique_ptr<SSL_CTX, FreeContext> context;
    std::string ca_pem;
    std::string spki_sha256;
};
// host: one more name or address beside localhost, 127.0.0.1 and ::1; may be empty. With
// only_host the certificate holds no other.
ServerCredentials make_server_credentials(const std::string& host, bool only_host, bool expired);

}  // namespace hearth::test
