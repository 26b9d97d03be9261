/* .npy: one array of NumPy, versions 1.0 to 3.0.
 *
 *   "\x93NUMPY" MAJOR MINOR, length of the header (2 bytes, from 2.0 on 4; little endian),
 *   the header: a Python dictionary {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), },
 *   the elements
 *
 * The dictionary is read by a small parser of its own: these three keys, once each, in any order.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/data/data.h"

enum { MAX_HEADER = 1 << 20, ALIGN = 64 };

/* ── element types ── */

static const struct {
    char kind;
    char size;
    enum dtype dtype;
} types[] = {
    {'f', 4, DT_FLOAT32}, {'f', 8, DT_FLOAT64}, {'f', 2, DT_FLOAT16}, {'i', 1, DT_INT8},
    {'u', 1, DT_UINT8},   {'i', 2, DT_INT16},   {'u', 2, DT_UINT16},  {'i', 4, DT_INT32},
    {'u', 4, DT_UINT32},  {'i', 8, DT_INT64},   {'u', 8, DT_UINT64},  {'b', 1, DT_BOOL},
};
enum { TYPES = sizeof types / sizeof types[0] };

/* The type that stores a quantized one. */
static enum dtype stored_as(enum dtype t)
{
    switch (t) {
    case DT_QINT8: return DT_INT8;
    case DT_QUINT8: return DT_UINT8;
    case DT_QINT16: return DT_INT16;
    case DT_QINT32: return DT_INT32;
    case DT_QBOOL: return DT_BOOL;
    default: return t;
    }
}

/* ── the header ── */

struct header {
    const char *at, *end;
    const char *member;
    size_t start; /* of the text, in the file */
    const char *begin;
    char descr[32];
    bool fortran, has_descr, has_order, has_shape;
    struct shape shape;
    struct bpu_error *err;
};

static bool bad(struct header *h, const char *what)
{
    char where[160];
    size_t byte = h->start + (size_t)(h->at - h->begin);
    if (h->member)
        snprintf(where, sizeof where, "member \"%.100s\", byte %zu", h->member, byte);
    else
        snprintf(where, sizeof where, "byte %zu", byte);
    error_set(h->err, BPU_BAD_MODEL, where, "the header of the array is damaged: %s", what);
    return error_hint(h->err, "Write it with numpy.save() or numpy.savez().");
}

static void skip_space(struct header *h)
{
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t' || *h->at == '\r'))
        h->at++;
}

static bool take(struct header *h, char c)
{
    skip_space(h);
    if (h->at == h->end || *h->at != c)
        return false;
    h->at++;
    return true;
}

static bool take_word(struct header *h, const char *word)
{
    size_t n = strlen(word);
    skip_space(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, word, n) != 0)
        return false;
    h->at += n;
    return true;
}

/* A string without escapes; at most size-1 characters. */
static bool take_string(struct header *h, char *out, size_t size)
{
    skip_space(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"'))
        return bad(h, "a text in quotes is missing");
    char quote = *h->at++;
    size_t n = 0;
    while (h->at < h->end && *h->at != quote) {
        if (*h->at == '\\' || *h->at < ' ' || n + 1 >= size)
            return bad(h, "a text is too long or has escapes");
        out[n++] = *h->at++;
    }
    out[n] = '\0';
    return take(h, quote) || bad(h, "a text does not end");
}

static bool take_shape(struct header *h)
{
    h->shape = (struct shape){0};
    if (!take(h, '('))
        return bad(h, "the shape is not a tuple");
    while (!take(h, ')')) {
        int64_t n = 0;
        const char *first = h->at;
        if (h->shape.rank == SHAPE_MAX_RANK)
            return bad(h, "the shape has more than 12 extents");
        for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *h->at - '0', &n))
                return bad(h, "an extent is too large");
        if (h->at == first)
            return bad(h, "an extent is not a number");
        if (h->at < h->end && *h->at == 'L') /* Python 2 */
            h->at++;
        h->shape.dim[h->shape.rank++] = n;
        if (!take(h, ',')) {
            if (h->shape.rank == 1)
                return bad(h, "the shape is a number, not a tuple");
            if (!take(h, ')'))
                return bad(h, "the shape does not end");
            break;
        }
    }
    return true;
}

static bool take_entry(struct header *h)
{
    char key[32];
    if (!take_string(h, key, sizeof key))
        return false;
    if (!take(h, ':'))
        return bad(h, "a colon is missing");
    bool *seen = strcmp(key, "descr") == 0           ? &h->has_descr
                 : strcmp(key, "fortran_order") == 0 ? &h->has_order
                 : strcmp(key, "shape") == 0         ? &h->has_shape
                                                     : NULL;
    if (!seen || *seen)
        return bad(h, seen ? "a key stands twice" : "it has an unknown key");
    *seen = true;
    if (seen == &h->has_shape)
        return take_shape(h);
    if (seen == &h->has_order) {
        h->fortran = take_word(h, "True");
        return h->fortran || take_word(h, "False") || bad(h, "fortran_order is not True or False");
    }
    skip_space(h);
    if (h->at < h->end && *h->at == '[') {
        error_set(h->err, BPU_UNSUPPORTED, h->member, "the array has records as elements");
        return error_hint(h->err, "Save each field as an array of its own.");
    }
    return take_string(h, h->descr, sizeof h->descr);
}

static bool parse_header(struct header *h)
{
    if (!take(h, '{'))
        return bad(h, "it does not begin with {");
    while (!take(h, '}')) {
        if (!take_entry(h))
            return false;
        if (!take(h, ',')) {
            if (!take(h, '}'))
                return bad(h, "it does not end with }");
            break;
        }
    }
    skip_space(h);
    if (h->at != h->end)
        return bad(h, "something follows the }");
    return (h->has_descr && h->has_order && h->has_shape) ||
           bad(h, "it lacks descr, fortran_order or shape");
}

static bool find_type(const struct header *h, enum dtype *dtype, bool *big)
{
    const char *d = h->descr;
    *big = *d == '>';
    if (*d == '<' || *d == '>' || *d == '|' || *d == '=')
        d++;
    for (int i = 0; i < TYPES; i++)
        if (d[0] == types[i].kind && d[1] == '0' + types[i].size && d[2] == '\0') {
            *dtype = types[i].dtype;
            return true;
        }
    error_set(h->err, BPU_UNSUPPORTED, h->member, "the array has elements of type \"%s\"",
              h->descr);
    return error_hint(h->err, "Read are floats of 2, 4 and 8 bytes, integers of 1 to 8 bytes and "
                              "booleans; convert with .astype().");
}

bool npy_read(struct arena *a, const unsigned char *data, size_t size, const char *member,
              struct array *out, struct bpu_error *err)
{
    struct header h = {.member = member, .err = err, .start = 8};
    h.at = h.begin = h.end = (const char *)data + (size < 8 ? size : 8);
    if (size < 10 || memcmp(data, "\x93NUMPY", 6) != 0)
        return bad(&h, "it does not begin with \\x93NUMPY");
    if (data[6] < 1 || data[6] > 3)
        return bad(&h, "its version is none of 1.0, 2.0, 3.0");
    size_t start = data[6] == 1 ? 10 : 12, length;
    if (size < start)
        return bad(&h, "it ends before its length");
    length = data[8] | (size_t)data[9] << 8;
    if (start == 12)
        length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (length > MAX_HEADER || length > size - start)
        return bad(&h, "it is longer than the file, or longer than any header");
    h.start = start;
    h.at = h.begin = (const char *)data + start;
    h.end = h.at + length;
    *out = (struct array){0};
    bool big;
    if (!parse_header(&h) || !find_type(&h, &out->dtype, &big))
        return false;
    out->shape = h.shape;
    if (array_take(a, data + start + length, size - start - length, big, h.fortran, out, err))
        return true;
    return member ? error_where(err, "member \"%.100s\"", member)
                  : error_where(err, "byte %zu", start + length);
}

/* ── writing ── */

bool npy_write(const struct array *in, struct buf *out, struct bpu_error *err)
{
    static const char spaces[ALIGN] =
        "                                                                ";
    enum dtype t = stored_as(in->dtype);
    const char *name = in->name ? in->name : "";
    int type = 0;
    while (type < TYPES && types[type].dtype != t)
        type++;
    if (type == TYPES)
        return error_set(err, BPU_UNSUPPORTED, name, "NumPy has no element type %s",
                         dtype_name(in->dtype));
    char text[400];
    int n = snprintf(text, sizeof text, "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (",
                     types[type].size == 1 ? '|' : '<', types[type].kind, types[type].size);
    for (int i = 0; i < in->shape.rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%" PRId64 "%s", i ? " " : "",
                      in->shape.dim[i], i + 1 < in->shape.rank || in->shape.rank == 1 ? "," : "");
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    size_t total = 10 + (size_t)n + 1, padded = (total + ALIGN - 1) / ALIGN * ALIGN;
    unsigned char head[10] = {0x93,
                              'N',
                              'U',
                              'M',
                              'P',
                              'Y',
                              1,
                              0,
                              (unsigned char)(padded - 10),
                              (unsigned char)((padded - 10) >> 8)};
    buf_add(out, head, sizeof head);
    buf_add(out, text, (size_t)n);
    buf_add(out, spaces, padded - total);
    buf_putc(out, '\n');
    if (in->bytes)
        buf_add(out, in->data, in->bytes);
    return buf_ok(out, err);
}
