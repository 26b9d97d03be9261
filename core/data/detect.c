/* What kind of file it is, from its first bytes alone: an upload is refused before it is written. */
#include <string.h>

#include "core/data/data.h"

enum { ZIP_NAME_LENGTH = 26, ZIP_NAME = 30 }; /* in the header of a member */

/* An archive of arrays and no other one: its first member is an array. */
static bool npz_looks_like(const unsigned char *p, size_t n)
{
    if (n < ZIP_NAME || memcmp(p, "PK\3\4", 4) != 0)
        return false;
    size_t length = p[ZIP_NAME_LENGTH] | (size_t)p[ZIP_NAME_LENGTH + 1] << 8;
    return length > 4 && length <= n - ZIP_NAME &&
           memcmp(p + ZIP_NAME + length - 4, ".npy", 4) == 0;
}

const char *array_file_detect(const void *head, size_t n)
{
    const unsigned char *p = head;
    if (n >= 6 && memcmp(p, "\x93NUMPY", 6) == 0)
        return "npy";
    if (npz_looks_like(p, n))
        return "npz";
    return idx_looks_like(p, n) ? "idx" : NULL;
}
