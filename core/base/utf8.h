/* utf8: one character at a time, strictly: no overlong forms, no surrogates, nothing beyond
 * U+10FFFF. */
#ifndef BPU_BASE_UTF8_H
#define BPU_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the character at s (1..4) and its number, 0 if it is none or does not end within `size`
 * bytes. */
static inline size_t utf8_character_of(const char *s, size_t size, uint32_t *number)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)*s;
    size_t n = lead < 0x80   ? 1
               : lead < 0xC2 ? 0
               : lead < 0xE0 ? 2
               : lead < 0xF0 ? 3
               : lead < 0xF5 ? 4
                             : 0;
    if (n > size)
        return 0;
    uint32_t c = n > 1 ? lead & (0x7Fu >> n) : lead;
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)s[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | ((unsigned char)s[i] & 0x3F);
    }
    if (n == 0 || c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    *number = c;
    return n;
}

/* The same of a text that ends with NUL. */
static inline size_t utf8_character(const char *s, uint32_t *number)
{
    return utf8_character_of(s, 4, number);
}

/* Puts a question mark in place of each byte that belongs to no character. */
static inline void utf8_repair(char *s)
{
    uint32_t ignored;
    for (size_t n; *s; s += n)
        if ((n = utf8_character(s, &ignored)) == 0) {
            *s = '?';
            n = 1;
        }
}

#endif
