/* Reads the text form that dump.c writes: for tests, and for looking at a pass between two dumps. A syntax error
 * names its line and what was expected there. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ir/graph.h"

struct parser {
    struct arena *arena;
    struct graph *g;
    const char *p;
    int line;
    struct bpu_error *err;
};

/* folded_into may name a later node: resolved at the end. */
struct later {
    struct node *node;
    const char *into;
    struct later *next;
};

static bool expected(struct parser *s, const char *what)
{
    error_set(s->err, BPU_BAD_MODEL, NULL, "%s is expected before \"%.20s\"", what, s->p);
    return error_where(s->err, "line %d", s->line);
}

static void spaces(struct parser *s)
{
    while (*s->p == ' ')
        s->p++;
}

/* Takes the literal if it stands here. */
static bool take(struct parser *s, const char *literal)
{
    size_t n = strlen(literal);
    if (strncmp(s->p, literal, n) != 0)
        return false;
    s->p += n;
    return true;
}

static bool need(struct parser *s, const char *literal)
{
    return take(s, literal) || expected(s, literal);
}

static char *quoted(struct parser *s)
{
    if (!take(s, "\"")) {
        expected(s, "a name in quotes");
        return NULL;
    }
    const char *end = s->p;
    while (*end && *end != '"' && *end != '\n')
        end += *end == '\\' && end[1] ? 2 : 1;
    if (*end != '"') {
        expected(s, "a closing quote");
        return NULL;
    }
    char *out = arena_alloc(s->arena, (size_t)(end - s->p) + 1, s->err), *o = out;
    for (; out && s->p < end; s->p++)
        if (s->p[0] != '\\')
            *o++ = *s->p;
        else if (*++s->p == 'u') {
            char hex[5] = {0};
            if (end - s->p > 4)
                memcpy(hex, s->p + 1, 4);
            *o++ = (char)strtol(hex, NULL, 16);
            s->p += end - s->p > 4 ? 4 : 0;
        } else
            *o++ = *s->p;
    s->p = end + 1;
    return out;
}

static char *word(struct parser *s)
{
    spaces(s);
    size_t n = strcspn(s->p, " \n:=,[]{}()");
    char *w = arena_strndup(s->arena, s->p, n, s->err);
    s->p += n;
    if (w && n == 0) {
        expected(s, "a word");
        return NULL;
    }
    return w;
}

/* The name of an attribute or param. */
static char *key(struct parser *s)
{
    return *s->p == '"' ? quoted(s) : word(s);
}

static bool integer(struct parser *s, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(s->p, &end, 10);
    if (end == s->p || errno)
        return expected(s, "an integer");
    s->p = end;
    return true;
}

/* As a uint64 is written: the upper half is beyond int64_t, which keeps its bits. */
static bool wide_integer(struct parser *s, int64_t *out)
{
    char *end;
    if (*s->p == '-')
        return integer(s, out);
    errno = 0;
    *out = (int64_t)strtoull(s->p, &end, 10);
    if (end == s->p || errno)
        return expected(s, "an integer");
    s->p = end;
    return true;
}

static bool number(struct parser *s, double *out)
{
    char *end;
    *out = strtod(s->p, &end);
    if (end == s->p)
        return expected(s, "a number");
    s->p = end;
    return true;
}

/* Numbers up to `close`; at most `max`. */
static bool numbers(struct parser *s, char close, double **out, int *count)
{
    size_t capacity = 0;
    *out = NULL;
    *count = 0;
    while (*s->p != close) {
        if (*count && !need(s, ","))
            return false;
        *out = arena_grow(s->arena, *out, (size_t)*count, (size_t)*count + 1, sizeof **out,
                          &capacity, s->err);
        if (!*out || !number(s, &(*out)[(*count)++]))
            return false;
    }
    s->p++;
    return true;
}

typedef bool integer_fn(struct parser *s, int64_t *out);

static bool integers_by(struct parser *s, integer_fn *read, int64_t **out, int *count)
{
    size_t capacity = 0;
    *out = NULL;
    *count = 0;
    while (*s->p != ']') {
        if (*count && !need(s, ","))
            return false;
        *out = arena_grow(s->arena, *out, (size_t)*count, (size_t)*count + 1, sizeof **out,
                          &capacity, s->err);
        if (!*out || !read(s, &(*out)[(*count)++]))
            return false;
    }
    s->p++;
    return true;
}

static bool integers(struct parser *s, int64_t **out, int *count)
{
    return integers_by(s, integer, out, count);
}

static bool parse_shape(struct parser *s, struct shape *out)
{
    spaces(s);
    *out = shape_unknown();
    if (take(s, "unknown"))
        return true;
    out->rank = 0;
    if (take(s, "scalar"))
        return true;
    do {
        if (out->rank == SHAPE_MAX_RANK)
            return expected(s, "at most 12 extents");
        int64_t d = -1;
        if (!take(s, "?") && !integer(s, &d))
            return false;
        if (d < -1)
            return expected(s, "an extent that is not negative");
        out->dim[out->rank++] = d;
    } while (take(s, "x"));
    return true;
}

/* ── constants ── */

#define STORE(type, x)                                                                             \
    do {                                                                                           \
        type t_ = (type)(x);                                                                       \
        memcpy(p, &t_, sizeof t_);                                                                 \
    } while (0)

/* Bits of a number that a half can hold, which is what the dump of one writes. */
static uint16_t half_bits(double r)
{
    int exponent;
    unsigned sign = signbit(r) ? 0x8000u : 0;
    if (isnan(r) || isinf(r) || fabs(r) > 65504)
        return (uint16_t)(sign | (isnan(r) ? 0x7E00u : 0x7C00u));
    double mantissa = frexp(fabs(r), &exponent); /* 0.5 .. 1 */
    if (exponent < -13 || mantissa == 0)
        return (uint16_t)(sign | (unsigned)ldexp(fabs(r), 24));
    return (uint16_t)(sign | (unsigned)(exponent + 14) << 10 | (unsigned)((mantissa * 2 - 1) * 1024));
}

static uint16_t bfloat_bits(double r)
{
    float f = (float)r;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static bool store(enum dtype t, unsigned char *p, double r, int64_t k)
{
    switch (t) {
    case DT_FLOAT32: STORE(float, r); return true;
    case DT_FLOAT64: STORE(double, r); return true;
    case DT_FLOAT16: STORE(uint16_t, half_bits(r)); return true;
    case DT_BFLOAT16: STORE(uint16_t, bfloat_bits(r)); return true;
    case DT_UNKNOWN:
    case DT_COUNT: return false;
    default: break;
    }
    switch (dtype_size(t)) {
    case 1: STORE(uint8_t, k); return true;
    case 2: STORE(uint16_t, k); return true;
    case 4: STORE(uint32_t, k); return true;
    default: STORE(int64_t, k); return true;
    }
}

static bool parse_constant(struct parser *s, struct value *v)
{
    struct constant *c = ARENA_NEW(s->arena, struct constant, s->err);
    if (!c)
        return false;
    v->constant = c;
    if (take(s, "?"))
        return true;
    if (!take(s, "[")) { /* only the size was written */
        int64_t ignored;
        return integer(s, &ignored) && need(s, "B");
    }
    const char *from = s->p;
    double *reals = NULL;
    int64_t *ints = NULL;
    int count;
    bool floats = dtype_is_float(v->dtype);
    integer_fn *read = v->dtype == DT_UINT64 ? wide_integer : integer;
    if (floats ? !numbers(s, ']', &reals, &count) : !integers_by(s, read, &ints, &count))
        return false;
    if (count != shape_elements(&v->shape)) {
        s->p = from;
        return expected(s, "as many elements as the shape says");
    }
    size_t size = dtype_size(v->dtype);
    unsigned char *data = arena_alloc_array(s->arena, (size_t)count, size, s->err);
    if (!data)
        return false;
    for (int i = 0; i < count; i++)
        if (!store(v->dtype, data + (size_t)i * size, reals ? reals[i] : 0, ints ? ints[i] : 0))
            return expected(s, "a type whose elements can be written");
    *c = (struct constant){data, (size_t)count * size};
    return true;
}

/* ── lines ── */

static bool parse_value(struct parser *s)
{
    char *name = quoted(s), *type = name ? word(s) : NULL;
    struct value *v = type ? graph_add_value(s->g, name, s->err) : NULL;
    if (!v)
        return false;
    if (strcmp(v->name, name) != 0)
        return expected(s, "a name that is not taken");
    if (strcmp(type, "unknown") != 0 && !dtype_find(type, &v->dtype))
        return expected(s, "an element type");
    if (!parse_shape(s, &v->shape))
        return false;
    spaces(s);
    if (take(s, "scale=[")) {
        double *scale;
        if (!numbers(s, ']', &scale, &v->quant.count))
            return false;
        v->quant.scale = scale;
        if (take(s, " zero_point=[")) {
            int64_t *zero;
            int count;
            if (!integers(s, &zero, &count))
                return false;
            if (count != v->quant.count)
                return expected(s, "as many zero points as scales");
            v->quant.zero_point = zero;
        }
        int64_t axis = 0;
        if (take(s, " axis=") && !integer(s, &axis))
            return false;
        v->quant.axis = (int)axis;
        spaces(s);
    }
    if (take(s, "const=") && !parse_constant(s, v))
        return false;
    spaces(s);
    take(s, "input"); /* the line of inputs says so again */
    return true;
}

typedef bool use_fn(struct parser *s, void *ctx, struct value *v);

static bool parse_values(struct parser *s, const char *label, use_fn *use, void *ctx)
{
    spaces(s);
    if (!need(s, label) || !need(s, "=["))
        return false;
    for (bool first = true; !take(s, "]"); first = false) {
        if (!first && !need(s, ","))
            return false;
        struct value *v = NULL;
        if (!take(s, "none")) {
            char *name = quoted(s);
            if (!name)
                return false;
            if (!(v = graph_find_value(s->g, name)))
                return expected(s, "the name of a value above");
        }
        if (!use(s, ctx, v))
            return false;
    }
    return true;
}

static bool use_input(struct parser *s, void *ctx, struct value *v)
{
    return node_add_input(s->g, ctx, v, s->err);
}

static bool use_output(struct parser *s, void *ctx, struct value *v)
{
    struct node *n = ctx;
    if (!v || v->producer)
        return expected(s, "an output of its own");
    struct value **list = ARENA_ARRAY(s->arena, struct value *, n->output_count + 1, s->err);
    if (!list)
        return false;
    if (n->output_count)
        memcpy(list, n->outputs, (size_t)n->output_count * sizeof *list);
    v->producer = n;
    v->producer_output = n->output_count;
    list[n->output_count++] = v;
    n->outputs = list;
    return true;
}

static bool use_graph_input(struct parser *s, void *ctx, struct value *v)
{
    (void)ctx;
    return v ? graph_add_input(s->g, v, s->err) : expected(s, "a value");
}

static bool use_graph_output(struct parser *s, void *ctx, struct value *v)
{
    (void)ctx;
    return v ? graph_add_output(s->g, v, s->err) : expected(s, "a value");
}

static bool parse_params(struct parser *s, struct node *n)
{
    for (bool first = true; !take(s, "}"); first = false) {
        if (!first && !need(s, ","))
            return false;
        char *param = key(s);
        if (!param || !need(s, ":"))
            return false;
        struct value *v = NULL;
        if (!take(s, "none")) {
            char *name = quoted(s);
            v = name ? graph_find_value(s->g, name) : NULL;
            if (!v)
                return name ? expected(s, "the name of a value above") : false;
        }
        if (!node_add_param(s->g, n, param, v, s->err))
            return false;
    }
    return true;
}

static bool parse_attr(struct parser *s, struct node *n, const char *name)
{
    if (take(s, "none"))
        return node_set_none(s->g, n, name, s->err);
    if (take(s, "true"))
        return node_set_bool(s->g, n, name, true, s->err);
    if (take(s, "false"))
        return node_set_bool(s->g, n, name, false, s->err);
    if (*s->p == '"') {
        char *text = quoted(s);
        return text && node_set_string(s->g, n, name, text, s->err);
    }
    int count;
    if (take(s, "[")) {
        int64_t *list;
        return integers(s, &list, &count) && node_set_ints(s->g, n, name, list, count, s->err);
    }
    if (take(s, "(")) {
        double *list;
        return numbers(s, ')', &list, &count) && node_set_floats(s->g, n, name, list, count, s->err);
    }
    size_t length = strcspn(s->p, ",}\n");
    bool is_real = memchr(s->p, '.', length) || memchr(s->p, 'n', length) ||
                   memchr(s->p, 'e', length);
    double r;
    int64_t k;
    if (is_real)
        return number(s, &r) && node_set_float(s->g, n, name, r, s->err);
    return integer(s, &k) && node_set_int(s->g, n, name, k, s->err);
}

static bool parse_attrs(struct parser *s, struct node *n)
{
    for (bool first = true; !take(s, "}"); first = false) {
        if (!first && !need(s, ","))
            return false;
        char *name = key(s);
        if (!name || !need(s, ":") || !parse_attr(s, n, name))
            return false;
    }
    return true;
}

static bool parse_node(struct parser *s, struct later **later)
{
    char *name = quoted(s);
    spaces(s);
    char *op = name ? quoted(s) : NULL;
    struct node *n = op ? graph_add_node(s->g, name, op, s->err) : NULL;
    if (!n || !parse_values(s, "in", use_input, n) || !parse_values(s, "out", use_output, n))
        return false;
    for (;;) {
        spaces(s);
        char *fold = NULL;
        bool ok = true;
        if (take(s, "params={"))
            ok = parse_params(s, n);
        else if (take(s, "attrs={"))
            ok = parse_attrs(s, n);
        else if (take(s, "source="))
            ok = (n->origin.source_op = quoted(s)) != NULL;
        else if (take(s, "scope="))
            ok = (n->origin.scope = quoted(s)) != NULL;
        else if (take(s, "file="))
            ok = (n->origin.file = quoted(s)) != NULL;
        else if (take(s, "line="))
            ok = integer(s, &n->origin.line);
        else if (take(s, "byte="))
            ok = integer(s, &n->origin.byte);
        else if (take(s, "fold="))
            ok = (fold = word(s)) && (fold_find(fold, &n->fold) || expected(s, "a kind of folding"));
        else if (take(s, "into=")) {
            struct later *l = ARENA_NEW(s->arena, struct later, s->err);
            ok = l != NULL;
            if (l) {
                *l = (struct later){n, quoted(s), *later};
                *later = l;
                ok = l->into != NULL;
            }
        } else
            return true;
        if (!ok)
            return false;
    }
}

static bool parse_line(struct parser *s, struct later **later)
{
    if (take(s, "value "))
        return parse_value(s);
    if (take(s, "node "))
        return parse_node(s, later);
    if (take(s, "inputs"))
        return parse_values(s, "in", use_graph_input, NULL);
    if (take(s, "outputs"))
        return parse_values(s, "out", use_graph_output, NULL);
    if (take(s, "note ")) {
        char *note = quoted(s);
        return note && graph_add_note(s->g, s->err, "%s", note);
    }
    return *s->p == '\n' || expected(s, "value, node, inputs, outputs or note");
}

static bool parse_head(struct parser *s)
{
    if (!need(s, "graph "))
        return false;
    char *name = quoted(s), *format = name ? word(s) : NULL;
    s->g = format ? graph_new(s->arena, name, format, s->err) : NULL;
    if (!s->g || !need(s, " opset=") || !integer(s, &s->g->opset))
        return false;
    if (take(s, " producer=") && !(s->g->producer = quoted(s)))
        return false;
    return true;
}

struct graph *graph_parse(struct arena *a, const char *text, struct bpu_error *err)
{
    struct parser s = {.arena = a, .p = text, .line = 1, .err = err};
    struct later *later = NULL;
    bool ok = parse_head(&s);
    while (ok && *s.p) {
        ok = *s.p == '\n' || expected(&s, "the end of the line");
        s.p++;
        s.line++;
        if (ok && *s.p)
            ok = parse_line(&s, &later);
    }
    for (; ok && later; later = later->next)
        if (!(later->node->folded_into = graph_find_node(s.g, later->into)))
            ok = expected(&s, "a node that the folded one went into");
    struct bpu_error inner = {0};
    if (ok && !graph_verify(s.g, &inner)) /* here the text is at fault, not a pass */
        ok = error_set(err, BPU_BAD_MODEL, inner.where, "the text is no graph: %s", inner.message);
    return ok ? s.g : NULL;
}
