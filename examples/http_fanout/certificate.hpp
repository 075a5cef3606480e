// SPDX-License-Identifier: BSL-1.0
// A TLS context with a certificate made on the spot, to try a server with: no client has a reason to trust it.
#pragma once

#include <boost/asio/ssl/context.hpp>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <stdexcept>

/// Valid for a day, for "localhost", signed by itself.
inline boost::asio::ssl::context tls_server_with_certificate() {
  boost::asio::ssl::context tls(boost::asio::ssl::context::tls_server);
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  if (!key || !certificate) throw std::runtime_error("no key for the certificate");
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24 * 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0 ||
      SSL_CTX_use_certificate(tls.native_handle(), certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(tls.native_handle(), key.get()) != 1)
    throw std::runtime_error("the certificate could not be made");
  return tls;
}
