/* isa: the rows of isa.def, and what their lists of names say. */
#include <string.h>

#include "core/program/program.h"

static const struct isa isa_rows[OP_COUNT] = {
#define ISA(id, name, engine, writes, tiles, args, text)                                           \
    {name, ENGINE_##engine, writes, tiles, args, text},
#include "core/program/isa.def"
#undef ISA
};

/* Behind a name of the list: "?" may be left out, "…" may be repeated. */
static const char isa_repeated[] = "…";

const struct isa *isa_row(enum opcode op)
{
    return (unsigned)op < OP_COUNT ? &isa_rows[op] : NULL;
}

/* The next word at *list and its length; NULL at the end.  *list moves behind it. */
static const char *isa_word(const char **list, size_t *length)
{
    const char *word = *list + strspn(*list, " ");
    *length = strcspn(word, " ");
    *list = word + *length;
    return *length ? word : NULL;
}

static int isa_words(const char *list)
{
    int count = 0;
    size_t length;
    while (isa_word(&list, &length))
        count++;
    return count;
}

static bool isa_word_at(const char *list, int i, const char **word, size_t *length)
{
    const char *found;
    do
        found = isa_word(&list, length);
    while (found && i-- > 0);
    *word = found;
    return found != NULL;
}

int isa_arg_count(enum opcode op)
{
    const struct isa *row = isa_row(op);
    return row ? isa_words(row->args) : 0;
}

int isa_tile_count(enum opcode op, bool *repeats)
{
    const struct isa *row = isa_row(op);
    if (repeats)
        *repeats = row && strstr(row->tiles, isa_repeated) != NULL;
    return row ? isa_words(row->tiles) : 0;
}

bool isa_tile_optional(enum opcode op, int i)
{
    const struct isa *row = isa_row(op);
    const char *word;
    size_t length;
    if (!row || i < 0)
        return false;
    int count = isa_words(row->tiles);
    if (!isa_word_at(row->tiles, i < count ? i : count - 1, &word, &length))
        return false;
    return memchr(word, '?', length) != NULL;
}

bool isa_find(const char *name, enum opcode *out)
{
    for (int op = 0; op < OP_COUNT; op++)
        if (strcmp(isa_rows[op].name, name) == 0) {
            *out = (enum opcode)op;
            return true;
        }
    return false;
}

int isa_arg(enum opcode op, const char *name)
{
    const struct isa *row = isa_row(op);
    const char *list = row ? row->args : "", *word;
    size_t length, wanted = strlen(name);
    for (int i = 0; (word = isa_word(&list, &length)); i++)
        if (length == wanted && memcmp(word, name, length) == 0)
            return i;
    return -1;
}

/* Copies a name without its marks; "" if there is none of that index. */
static const char *isa_name(const char *list, int i, char out[ISA_NAME_MAX])
{
    const char *word;
    size_t length;
    out[0] = 0;
    if (i < 0 || !isa_word_at(list, i, &word, &length))
        return out;
    size_t n = 0;
    while (n < length && n < ISA_NAME_MAX - 1 && word[n] != '?' && (unsigned char)word[n] < 0x80)
        n++;
    memcpy(out, word, n);
    out[n] = 0;
    return out;
}

const char *isa_arg_name(enum opcode op, int i, char out[ISA_NAME_MAX])
{
    const struct isa *row = isa_row(op);
    return isa_name(row ? row->args : "", i, out);
}

const char *isa_tile_name(enum opcode op, int i, char out[ISA_NAME_MAX])
{
    const struct isa *row = isa_row(op);
    int count = row ? isa_words(row->tiles) : 0;
    return isa_name(row ? row->tiles : "", i < count ? i : count - 1, out);
}
