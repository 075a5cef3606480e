// SPDX-License-Identifier: BSL-1.0
// support/test_certificate.hpp: TLS contexts of a client and a server, with a certificate made on the spot.
#pragma once

#include <boost/asio/ssl/context.hpp>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <stdexcept>

namespace runnel_test {

/// Valid for an hour, for "localhost", signed by itself.
struct tls_contexts {
  boost::asio::ssl::context server{boost::asio::ssl::context::tls_server};
  boost::asio::ssl::context client{boost::asio::ssl::context::tls_client};

  tls_contexts() {
    std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    std::unique_ptr<X509, decltype(&X509_free)> cert(X509_new(), X509_free);
    if (!key || !cert) throw std::runtime_error("no key for the test certificate");
    X509_set_version(cert.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert.get()), 3600);
    X509_set_pubkey(cert.get(), key.get());
    X509_NAME* name = X509_get_subject_name(cert.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
    X509_set_issuer_name(cert.get(), name);
    bool made = X509_sign(cert.get(), key.get(), EVP_sha256()) != 0 &&
                SSL_CTX_use_certificate(server.native_handle(), cert.get()) == 1 &&
                SSL_CTX_use_PrivateKey(server.native_handle(), key.get()) == 1 &&
                X509_STORE_add_cert(SSL_CTX_get_cert_store(client.native_handle()), cert.get()) == 1;
    if (!made) throw std::runtime_error("the test certificate could not be made");
    client.set_verify_mode(boost::asio::ssl::verify_peer);
  }
};

}  // namespace runnel_test
