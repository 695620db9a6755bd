#include "double/certificates.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <span>

#include "base/check.h"
#include "base/file.h"

namespace hearth::test {
namespace {

struct FreeAll {
    void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
    void operator()(X509* p) const { X509_free(p); }
    void operator()(BIO* p) const { BIO_free(p); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeAll>;
using Certificate = std::unique_ptr<X509, FreeAll>;

void extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    CHECK(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

Certificate make_certificate(EVP_PKEY* key, const char* name, long serial, long days_from,
                             long days_to) {
    Certificate certificate(X509_new());
    X509* x = certificate.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_time_adj_ex(X509_getm_notBefore(x), int(days_from), 0, nullptr);
    X509_time_adj_ex(X509_getm_notAfter(x), int(days_to), 0, nullptr);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
    return certificate;
}

}  // namespace

ServerCredentials make_server_credentials(const std::string& host, bool only_host, bool expired) {
    const Key ca_key(EVP_EC_gen("P-256"));
    const Key key(EVP_EC_gen("P-256"));
    CHECK(ca_key && key);
    const Certificate ca = make_certificate(ca_key.get(), "double test CA", 1, -10, 10);
    X509_set_issuer_name(ca.get(), X509_get_subject_name(ca.get()));
    extend(ca.get(), ca.get(), NID_basic_constraints, "critical,CA:TRUE");
    extend(ca.get(), ca.get(), NID_key_usage, "critical,keyCertSign");
    CHECK(X509_sign(ca.get(), ca_key.get(), EVP_sha256()) > 0);

    const Certificate leaf =
        make_certificate(key.get(), "double", 2, expired ? -5 : -1, expired ? -1 : 5);
    X509_set_issuer_name(leaf.get(), X509_get_subject_name(ca.get()));
    std::string names = only_host ? "" : "DNS:localhost,IP:127.0.0.1,IP:::1";
    if (!host.empty()) names += (names.empty() ? "DNS:" : ",DNS:") + host;
    extend(leaf.get(), ca.get(), NID_subject_alt_name, names);
    CHECK(X509_sign(leaf.get(), ca_key.get(), EVP_sha256()) > 0);

    ServerCredentials out;
    out.context.reset(SSL_CTX_new(TLS_server_method()));
    CHECK(SSL_CTX_use_certificate(out.context.get(), leaf.get()) == 1);
    CHECK(SSL_CTX_use_PrivateKey(out.context.get(), key.get()) == 1);
    const std::unique_ptr<BIO, FreeAll> pem(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_X509(pem.get(), ca.get()) == 1);
    char* text = nullptr;
    const long n = BIO_get_mem_data(pem.get(), &text);
    out.ca_pem.assign(text, std::size_t(n));
    // Not the way the product takes it: from the key, not from the certificate.
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(key.get(), &der);
    CHECK(size > 0);
    out.spki_sha256 = sha256_hex(std::as_bytes(std::span(der, std::size_t(size))));
    OPENSSL_free(der);
    return out;
}

}  // namespace hearth::test
