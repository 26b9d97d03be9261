/* container: what the writer and the reader of .bpu files have in common. */
#define OPENSSL_SUPPRESS_DEPRECATED /* the interface that opens no configuration file */
#include <openssl/sha.h>
#include <string.h>

#include "core/program/program_private.h"

const char *section_tag(enum section s)
{
    static const char tags[SECTION_COUNT][5] = {
#define X(tag) #tag,
        SECTION_MAP(X)
#undef X
    };
    return tags[s];
}

void container_digest(const unsigned char *data, size_t size, unsigned char out[CONTAINER_DIGEST])
{
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, data, size);
    SHA256_Final(out, &ctx);
}

bool container_seal(unsigned char *data, size_t size)
{
    if (size < HEAD_SIZE)
        return false;
    for (int i = 0; i < SECTION_COUNT; i++) {
        unsigned char *entry = data + HEAD_TABLE + i * ENTRY_SIZE;
        uint64_t offset = little_get(entry + ENTRY_OFFSET, 8);
        uint64_t bytes = little_get(entry + ENTRY_BYTES, 8);
        if (offset < HEAD_SIZE || offset > size || bytes > size - offset)
            return false;
        container_digest(data + offset, (size_t)bytes, entry + ENTRY_DIGEST);
    }
    container_digest(data, HEAD_SIZE - CONTAINER_DIGEST, data + HEAD_SIZE - CONTAINER_DIGEST);
    return true;
}

int64_t tile_field(const struct tile *t, enum tile_field f)
{
    switch (f) {
#define X(name) case FIELD_##name: return t->name;
        TILE_FIELDS(X)
#undef X
    default: break;
    }
    int64_t bits;
    memcpy(&bits, &t->scale, sizeof bits);
    return bits;
}

bool tile_field_set(struct tile *t, enum tile_field f, int64_t v)
{
    switch (f) {
#define X(name)                                                                                    \
    case FIELD_##name:                                                                             \
        t->name = (__typeof__(t->name))v;                                                          \
        return t->name == v;
        TILE_FIELDS(X)
#undef X
    default: break;
    }
    memcpy(&t->scale, &v, sizeof t->scale);
    return true;
}
