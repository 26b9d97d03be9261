/* JSON members of a torch.export archive. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/import/pt2.h"

/* Python writes infinities and NaN as bare words unless it is told not to, and PyTorch up to 2.6
 * did: they become the strings that later versions write. */
static const unsigned char *quote_words(struct arena *a, const unsigned char *p, size_t *size,
                                        struct bpu_error *err)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    size_t found = 0;
    unsigned char *out = NULL;
    for (int pass = 0; pass < 2; pass++) {
        size_t w = 0;
        for (size_t i = 0; i < *size;) {
            size_t length = 1, k = 3;
            if (p[i] == '"') {
                while (i + length < *size && p[i + length] != '"')
                    length += p[i + length] == '\\' ? 2 : 1;
                length = i + length < *size ? length + 1 : *size - i;
            } else
                for (k = 0; k < 3; k++) {
                    size_t n = strlen(words[k]);
                    if (*size - i >= n && memcmp(p + i, words[k], n) == 0) {
                        length = n;
                        break;
                    }
                }
            if (pass && k < 3)
                out[w++] = '"';
            if (pass)
                memcpy(out + w, p + i, length);
            if (pass && k < 3)
                out[w + length] = '"';
            w += length + (pass && k < 3);
            found += !pass && k < 3;
            i += length;
        }
        if (pass)
            *size = w;
        else if (found == 0)
            return p;
        else if (!(out = arena_alloc(a, *size + 2 * found, err)))
            return NULL;
    }
    return out;
}

void pt2_place(struct bpu_error *err, const char *member)
{
    char where[sizeof err->where];
    if (strncmp(err->where, "member \"", 8) == 0 || strncmp(err->where, "input \"", 7) == 0)
        return;
    snprintf(where, sizeof where, "member \"%.100s\"%s%.130s", member, err->where[0] ? ", " : "",
             err->where);
    snprintf(err->where, sizeof err->where, "%s", where);
}

json_t *pt2_json(struct ts_import *ts, const struct archive_member *m)
{
    struct arena *a = ts->arena;
    size_t size = (size_t)m->size, left;
    const unsigned char *p = archive_bytes(ts->archive, m, true, ts->err);
    if (!p || !(p = quote_words(a, p, &size, ts->err)))
        return NULL;
    left = a->quota > a->used ? a->quota - a->used : 0;
    json_t *root = json_read_text(p, size, left, ts->err);
    if (root)
        return root;
    struct bpu_error *err = ts->err;
    if (err->code == BPU_NO_MEMORY || err->code == BPU_LIMIT) {
        err->hint[0] = '\0'; /* the one for graph JSON would mislead */
        error_hint(err, err->code == BPU_LIMIT ? "No program that PyTorch writes nests so deep."
                                               : "Raise the job's memory limit.");
    }
    pt2_place(err, m->name);
    return NULL;
}

bool pt2_union(const json_t *j, const struct json_at *at, const char **tag, json_t **value,
               struct bpu_error *err)
{
    size_t fields = 0;
    const char *key;
    json_t *item;
    if (!json_is_object(j))
        return json_fail(err, BPU_BAD_MODEL, at,
                         "here stands %s; a union (an object with one "
                         "field) is expected",
                         json_kind(j));
    json_object_foreach((json_t *)j, key, item)
    {
        if (json_is_null(item))
            continue;
        fields++;
        *tag = key;
        *value = item;
    }
    return fields == 1 || json_fail(err, BPU_BAD_MODEL, at,
                                    "a union has %zu fields; exactly one is expected", fields);
}

json_t *pt2_member(json_t *obj, const struct json_at *at, const char *key, json_type kind,
                   struct bpu_error *err)
{
    json_t *j = NULL;
    if (!json_is_object(obj)) {
        json_fail(err, BPU_BAD_MODEL, at, "here stands %s; an object is expected", json_kind(obj));
        return NULL;
    }
    return json_member(obj, at, key, kind, true, &j, err) ? j : NULL;
}

const char *pt2_text(json_t *obj, const struct json_at *at, const char *key, struct bpu_error *err)
{
    json_t *j = pt2_member(obj, at, key, JSON_STRING, err);
    return j ? json_string_value(j) : NULL;
}

bool pt2_real(const json_t *j, double *out)
{
    const char *s = json_string_value(j);
    if (json_is_number(j))
        *out = json_number_value(j);
    else if (s && strcmp(s, "Infinity") == 0)
        *out = INFINITY;
    else if (s && strcmp(s, "-Infinity") == 0)
        *out = -INFINITY;
    else if (s && strcmp(s, "NaN") == 0)
        *out = NAN;
    else
        return false;
    return true;
}
