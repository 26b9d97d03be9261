/* Design: GnuTLS, inside libmicrohttpd, speaks TLS; it says little about files that it does not
 * like, so they are checked here: readable, PEM, a pair, and not expired. */
#include "server/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((off_t)1 << 20)

static char *file_read(const char *path, const char *setting, struct bpu_error *err)
{
    struct stat st;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_set(err, BPU_IO, setting, "%.200s cannot be read: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        error_set(err, BPU_USAGE, setting, "%.200s is not a PEM file", path);
    } else if ((text = malloc((size_t)st.st_size + 1))) {
        ssize_t n = read(fd, text, (size_t)st.st_size);
        text[n > 0 ? n : 0] = 0;
    } else {
        error_set(err, BPU_NO_MEMORY, setting, "no memory for the file");
    }
    if (fd >= 0)
        close(fd);
    return text;
}

static bool pair_check(const struct tls_files *f, struct bpu_error *err)
{
    BIO *cert_text = BIO_new_mem_buf(f->cert, -1), *key_text = BIO_new_mem_buf(f->key, -1);
    X509 *cert = cert_text ? PEM_read_bio_X509(cert_text, NULL, NULL, NULL) : NULL;
    char none[] = ""; /* a key with a pass phrase is refused, not asked for */
    EVP_PKEY *key = key_text ? PEM_read_bio_PrivateKey(key_text, NULL, NULL, none) : NULL;
    bool ok = false;
    if (!cert)
        error_set(err, BPU_USAGE, "tls-cert", "the file holds no certificate in PEM form");
    else if (!key)
        error_set(err, BPU_USAGE, "tls-key", "the file holds no private key in PEM form that can "
                                             "be read without a pass phrase");
    else if (X509_check_private_key(cert, key) != 1)
        error_set(err, BPU_USAGE, "tls-key", "the key is not that of the certificate");
    else if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        error_set(err, BPU_USAGE, "tls-cert", "the certificate has expired");
    else
        ok = true;
    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(cert_text);
    BIO_free(key_text);
    return ok;
}

bool tls_load(const struct config *c, struct tls_files *out, struct bpu_error *err)
{
    *out = (struct tls_files){0};
    if (!c->tls_cert[0] && !c->tls_key[0])
        return true;
    if (!c->tls_cert[0] || !c->tls_key[0])
        return error_set(err, BPU_USAGE, c->tls_cert[0] ? "tls-key" : "tls-cert",
                         "TLS needs both a certificate and its key");
    out->cert = file_read(c->tls_cert, "tls-cert", err);
    out->key = out->cert ? file_read(c->tls_key, "tls-key", err) : NULL;
    if (out->key && pair_check(out, err))
        return true;
    tls_free(out);
    return false;
}

void tls_free(struct tls_files *f)
{
    if (f->key)
        OPENSSL_cleanse(f->key, strlen(f->key));
    free(f->cert);
    free(f->key);
    *f = (struct tls_files){0};
}
