/* The opcode reader: a stack, a memo and a table of what each opcode does.
 *
 * Lengths are checked against the bytes that are left, so nothing can be asked for that the file
 * does not pay for with bytes of its own. */
#include "core/import/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"

enum { MAX_STACK = 1 << 20, MAX_MARKS = 4096 };

struct reader {
    const struct pickle_source *src;
    struct arena *arena;
    struct bpu_error *err;
    const unsigned char *data;
    size_t size, at, op_at; /* op_at: the opcode being read, for messages */
    struct py_value **stack;
    size_t depth, stack_capacity;
    struct py_value **memo;
    size_t memo_count, memo_capacity;
    size_t marks;
};

static const char *const kind_names[] = {
    [PY_NONE] = "None",
    [PY_BOOL] = "a bool",
    [PY_INT] = "an int",
    [PY_FLOAT] = "a float",
    [PY_STRING] = "a string",
    [PY_LIST] = "a list",
    [PY_TUPLE] = "a tuple",
    [PY_DICT] = "a dict",
    [PY_OBJECT] = "an object",
    [PY_TENSOR] = "a tensor",
    [PY_STORAGE] = "a storage",
    [PY_GLOBAL] = "a class or function",
    [PY_UNKNOWN] = "a number not known before inference",
    [PY_VALUE] = "a tensor",
    [PY_PACKED] = "packed weights",
    [PY_MARK] = "a mark",
};

const char *py_kind_name(enum py_kind k)
{
    return kind_names[k];
}

struct py_value *py_dict_get(const struct py_value *d, const char *key)
{
    if (!d || d->kind != PY_DICT)
        return NULL;
    for (size_t i = d->count; i >= 2; i -= 2) /* the last one counts */
        if (d->items[i - 2]->kind == PY_STRING && strcmp(d->items[i - 2]->text, key) == 0)
            return d->items[i - 1];
    return NULL;
}

static bool bad(struct reader *r, enum bpu_code code, const char *fmt, ...) BPU_PRINTF(3, 4);
static bool bad(struct reader *r, enum bpu_code code, const char *fmt, ...)
{
    char where[256];
    va_list ap;
    snprintf(where, sizeof where, "%.180s, byte %zu", r->src->member->name, r->op_at);
    va_start(ap, fmt);
    error_vset(r->err, code, where, fmt, ap);
    va_end(ap);
    return false;
}

/* ── bytes ── */

static const unsigned char *take(struct reader *r, size_t n)
{
    if (n > r->size - r->at) {
        bad(r, BPU_BAD_MODEL,
            "the pickle ends in the middle of an opcode: %zu bytes are needed, %zu "
            "are left",
            n, r->size - r->at);
        return NULL;
    }
    const unsigned char *p = r->data + r->at;
    r->at += n;
    return p;
}

/* A little-endian number of n bytes. */
static bool take_number(struct reader *r, int n, uint64_t *out)
{
    const unsigned char *p = take(r, (size_t)n);
    *out = 0;
    for (int i = 0; p && i < n; i++)
        *out |= (uint64_t)p[i] << 8 * i;
    return p != NULL;
}

static char *take_text(struct reader *r, uint64_t n)
{
    const unsigned char *p = n <= SIZE_MAX ? take(r, (size_t)n) : NULL;
    if (p && memchr(p, 0, (size_t)n)) {
        bad(r, BPU_BAD_MODEL, "a string holds a zero byte");
        return NULL;
    }
    char *s = p ? arena_strndup(r->arena, (const char *)p, (size_t)n, r->err) : NULL;
    if (s)
        utf8_repair(s);
    return s;
}

/* The rest of a line, for GLOBAL. */
static const char *take_line(struct reader *r)
{
    const unsigned char *p = r->data + r->at;
    const unsigned char *end = memchr(p, '\n', r->size - r->at);
    if (!end) {
        bad(r, BPU_BAD_MODEL, "the pickle ends in the middle of a name");
        return NULL;
    }
    char *s = take_text(r, (uint64_t)(end - p));
    r->at++;
    return s;
}

/* ── stack ── */

static struct py_value *new_value(struct reader *r, enum py_kind kind)
{
    struct py_value *v = ARENA_NEW(r->arena, struct py_value, r->err);
    if (v) {
        v->kind = kind;
        v->offset = r->op_at;
    }
    return v;
}

static bool push(struct reader *r, struct py_value *v)
{
    if (!v)
        return false;
    if (r->depth >= MAX_STACK)
        return bad(r, BPU_LIMIT, "the pickle stacks more than %d values", MAX_STACK);
    struct py_value **s = arena_grow(r->arena, r->stack, r->depth, r->depth + 1, sizeof *s,
                                     &r->stack_capacity, r->err);
    if (!s)
        return false;
    r->stack = s;
    s[r->depth++] = v;
    return true;
}

static struct py_value *pop(struct reader *r)
{
    if (r->depth == 0 || r->stack[r->depth - 1]->kind == PY_MARK) {
        bad(r, BPU_BAD_MODEL, "opcode 0x%02x finds nothing to work on", r->data[r->op_at]);
        return NULL;
    }
    return r->stack[--r->depth];
}

static struct py_value *top(struct reader *r)
{
    struct py_value *v = pop(r);
    if (v)
        r->depth++;
    return v;
}

/* Index of the first value above the newest mark; the mark is popped by setting depth to it - 1. */
static bool find_mark(struct reader *r, size_t *first)
{
    for (size_t i = r->depth; i-- > 0;)
        if (r->stack[i]->kind == PY_MARK) {
            *first = i + 1;
            r->marks--;
            return true;
        }
    return bad(r, BPU_BAD_MODEL, "opcode 0x%02x finds no mark", r->data[r->op_at]);
}

static bool append(struct reader *r, struct py_value *list, struct py_value *v)
{
    struct py_value **items = arena_grow(r->arena, list->items, list->count, list->count + 1,
                                         sizeof *items, &list->capacity, r->err);
    if (!items)
        return false;
    list->items = items;
    items[list->count++] = v;
    return true;
}

static struct py_value *sequence(struct reader *r, enum py_kind kind, size_t first)
{
    struct py_value *v = new_value(r, kind);
    for (size_t i = first; v && i < r->depth; i++)
        if (!append(r, v, r->stack[i]))
            return NULL;
    return v;
}

/* ── what opcodes do ── */

static bool put_number(struct reader *r, int bytes, bool is_signed)
{
    uint64_t n;
    struct py_value *v = new_value(r, PY_INT);
    if (!v || !take_number(r, bytes, &n))
        return false;
    v->i = is_signed && bytes == 4 ? (int32_t)(uint32_t)n : (int64_t)n;
    return push(r, v);
}

/* A long: n bytes of two's complement; more than 8 only if they repeat the sign. */
static bool put_long(struct reader *r)
{
    uint64_t n;
    if (!take_number(r, 1, &n))
        return false;
    const unsigned char *p = take(r, (size_t)n);
    struct py_value *v = p ? new_value(r, PY_INT) : NULL;
    if (!v)
        return false;
    unsigned char fill = n && p[n - 1] & 0x80 ? 0xFF : 0;
    uint64_t x = 0;
    for (uint64_t i = 0; i < 8; i++)
        x |= (uint64_t)(i < n ? p[i] : fill) << 8 * i;
    for (uint64_t i = 8; i < n; i++)
        if (p[i] != fill)
            return bad(r, BPU_UNSUPPORTED, "an integer of %d bits does not fit 64", (int)n * 8);
    v->i = (int64_t)x;
    return push(r, v);
}

static bool put_float(struct reader *r)
{
    const unsigned char *p = take(r, 8);
    struct py_value *v = p ? new_value(r, PY_FLOAT) : NULL;
    uint64_t bits = 0;
    for (int i = 0; v && i < 8; i++)
        bits = bits << 8 | p[i];
    if (v)
        memcpy(&v->f, &bits, sizeof bits);
    return push(r, v);
}

static bool put_string(struct reader *r, int length_bytes)
{
    uint64_t n;
    if (!take_number(r, length_bytes, &n))
        return false;
    char *s = take_text(r, n);
    struct py_value *v = s ? new_value(r, PY_STRING) : NULL;
    if (v)
        v->text = s;
    return push(r, v);
}

static bool memo_put(struct reader *r, uint64_t i)
{
    struct py_value *v = top(r);
    if (!v)
        return false;
    if (i > r->size) /* each entry costs at least a byte */
        return bad(r, BPU_BAD_MODEL, "memo entry %" PRIu64 " is absurd in a pickle of %zu bytes", i,
                   r->size);
    struct py_value **m = arena_grow(r->arena, r->memo, r->memo_count, (size_t)i + 1, sizeof *m,
                                     &r->memo_capacity, r->err);
    if (!m)
        return false;
    r->memo = m;
    while (r->memo_count <= i)
        m[r->memo_count++] = NULL;
    m[i] = v;
    return true;
}

static bool memo_get(struct reader *r, uint64_t i)
{
    if (i >= r->memo_count || !r->memo[i])
        return bad(r, BPU_BAD_MODEL, "memo entry %" PRIu64 " was never stored", i);
    return push(r, r->memo[i]);
}

/* What the reader and its users know the meaning of. */
static bool global_known(const char *name)
{
    static const char *const known[] = {
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_parameter",
        "torch.per_tensor_affine",
        "torch.per_channel_affine",
        "torch.per_channel_affine_float_qparams",
        "torch.device",
        "torch.Size",
        "collections.OrderedDict",
        "torch.jit._pickle.build_intlist",
        "torch.jit._pickle.build_tensorlist",
        "torch.jit._pickle.build_doublelist",
        "torch.jit._pickle.build_boollist",
        "torch.jit._pickle.restore_type_tag",
    };
    enum dtype ignored;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return strncmp(name, "__torch__.", 10) == 0 || pickle_storage_dtype(name, &ignored);
}

static bool put_global(struct reader *r, const char *module, const char *name)
{
    struct py_value *v = module && name ? new_value(r, PY_GLOBAL) : NULL;
    if (!v || !(v->text = arena_printf(r->arena, r->err, "%s.%s", module, name)))
        return false;
    if (!r->src->any_global && !global_known(v->text)) {
        bad(r, BPU_UNSUPPORTED, "the pickle names \"%.200s\", which is not read as data", v->text);
        return error_hint(r->err,
                          "Only tensors, numbers, strings and TorchScript's own classes are; "
                          "save the network with torch.jit.save(torch.jit.trace(model, "
                          "input), \"model.pt\") or export it as ONNX.");
    }
    return push(r, v);
}

static bool is_global(const struct py_value *v, const char *name)
{
    return v->kind == PY_GLOBAL && strcmp(v->text, name) == 0;
}

/* A call: of the few functions that have a meaning as data. */
static bool reduce(struct reader *r)
{
    struct py_value *args = pop(r), *f = args ? pop(r) : NULL;
    if (!f)
        return false;
    if (f->kind != PY_GLOBAL || args->kind != PY_TUPLE)
        return bad(r, BPU_BAD_MODEL, "%s is called with %s; a function and a tuple are needed",
                   py_kind_name(f->kind), py_kind_name(args->kind));
    struct py_value *v = new_value(r, PY_OBJECT);
    if (!v)
        return false;
    v->text = f->text;
    if (is_global(f, "collections.OrderedDict")) {
        if (args->count)
            return bad(r, BPU_UNSUPPORTED, "an OrderedDict is built from arguments");
        v->kind = PY_DICT;
    } else if (r->src->any_global) {
        v->kind = strncmp(f->text, "torch._utils._rebuild_", 22) == 0 ? PY_TENSOR : PY_OBJECT;
    } else if (is_global(f, "torch._utils._rebuild_tensor_v2") ||
               is_global(f, "torch._utils._rebuild_tensor")) {
        if (!pickle_tensor(r->src, args, false, v, r->err))
            return false;
    } else if (is_global(f, "torch._utils._rebuild_qtensor")) {
        if (!pickle_tensor(r->src, args, true, v, r->err))
            return false;
    } else if (is_global(f, "torch._utils._rebuild_parameter") && args->count >= 1) {
        v = args->items[0];
    } else if (strncmp(f->text, "torch.jit._pickle.", 18) == 0 && args->count >= 1) {
        v = args->items[0]; /* lists with their type, which the values themselves tell */
    } else if (is_global(f, "torch.device") || is_global(f, "torch.Size")) {
        if (args->count == 1)
            v = args->items[0];
    } else {
        bad(r, BPU_UNSUPPORTED, "\"%.200s\" is called in a way that is not read as data", f->text);
        return error_hint(r->err, "Save the network with torch.jit.save of a trace.");
    }
    return push(r, v);
}

static bool new_object(struct reader *r)
{
    struct py_value *args = pop(r), *cls = args ? pop(r) : NULL;
    if (!cls)
        return false;
    if (cls->kind != PY_GLOBAL)
        return bad(r, BPU_BAD_MODEL, "an object is made of %s; a class is needed",
                   py_kind_name(cls->kind));
    struct py_value *v = new_value(r, PY_OBJECT);
    if (v)
        v->text = cls->text;
    return push(r, v);
}

static bool build(struct reader *r)
{
    struct py_value *state = pop(r), *v = state ? top(r) : NULL;
    if (!v)
        return false;
    if (v->kind == PY_OBJECT)
        v->state = state;
    else if (v->kind != PY_DICT && v->kind != PY_TENSOR) /* those carry private fields of no use */
        return bad(r, BPU_BAD_MODEL, "%s is given a state; an object is needed",
                   py_kind_name(v->kind));
    return true;
}

/* APPENDS, SETITEMS and their forms for one value: what lies above `first` goes into the value
 * below. */
static bool extend(struct reader *r, size_t first, bool pairs, bool mark)
{
    size_t n = r->depth - first, below = first - (mark ? 1 : 0);
    struct py_value *into = below > 0 ? r->stack[below - 1] : NULL;
    if (!into || (pairs && n % 2 != 0) || into->kind == PY_MARK)
        return bad(r, BPU_BAD_MODEL, "opcode 0x%02x finds nothing to work on", r->data[r->op_at]);
    bool fits = into->kind == (pairs ? PY_DICT : PY_LIST);
    if (!fits && !(r->src->any_global && into->kind == PY_OBJECT))
        return bad(r, BPU_BAD_MODEL, "items are put into %s", py_kind_name(into->kind));
    for (size_t i = first; i < r->depth; i++) {
        if (r->stack[i]->kind == PY_MARK)
            return bad(r, BPU_BAD_MODEL, "opcode 0x%02x reaches over a mark", r->data[r->op_at]);
        if (fits && !append(r, into, r->stack[i]))
            return false;
    }
    r->depth = below;
    return true;
}

static bool tuple_of(struct reader *r, size_t n)
{
    if (r->depth < n)
        return bad(r, BPU_BAD_MODEL, "a tuple of %zu finds only %zu values", n, r->depth);
    for (size_t i = 1; i <= n; i++)
        if (r->stack[r->depth - i]->kind == PY_MARK)
            return bad(r, BPU_BAD_MODEL, "a tuple of %zu reaches over a mark", n);
    struct py_value *v = sequence(r, PY_TUPLE, r->depth - n);
    if (v)
        r->depth -= n;
    return push(r, v);
}

static bool persistent(struct reader *r)
{
    struct py_value *id = pop(r), *v = id ? new_value(r, PY_STORAGE) : NULL;
    if (!v)
        return false;
    if (!r->src->any_global && !pickle_storage(r->src, id, v, r->err))
        return error_where(r->err, "%.180s, byte %zu", r->src->member->name, r->op_at);
    return push(r, v);
}

static bool step(struct reader *r, unsigned char op)
{
    uint64_t n = 0;
    size_t first = 0;
    struct py_value *v;
    switch (op) {
    case 0x80: /* PROTO */
        if (!take_number(r, 1, &n))
            return false;
        return n <= 5 || bad(r, BPU_UNSUPPORTED, "pickle protocol %d is not known", (int)n);
    case 0x95: return take(r, 8) != NULL; /* FRAME */
    case '(':
        if (++r->marks > MAX_MARKS)
            return bad(r, BPU_LIMIT, "the pickle is nested more than %d deep", MAX_MARKS);
        return push(r, new_value(r, PY_MARK));
    case '0': return pop(r) != NULL;
    case '1': /* POP_MARK */
        if (!find_mark(r, &first))
            return false;
        r->depth = first - 1;
        return true;
    case '2': v = top(r); return v && push(r, v); /* DUP */
    case 'N': return push(r, new_value(r, PY_NONE));
    case 0x88:
    case 0x89:
        v = new_value(r, PY_BOOL);
        if (v)
            v->i = op == 0x88;
        return push(r, v);
    case 'J': return put_number(r, 4, true);
    case 'K': return put_number(r, 1, false);
    case 'M': return put_number(r, 2, false);
    case 0x8a: return put_long(r);
    case 'G': return put_float(r);
    case 'X': return put_string(r, 4);
    case 0x8c: return put_string(r, 1);
    case 0x8d: return put_string(r, 8);
    case ']': return push(r, new_value(r, PY_LIST));
    case '}': return push(r, new_value(r, PY_DICT));
    case ')': return push(r, new_value(r, PY_TUPLE));
    case 0x85: return tuple_of(r, 1);
    case 0x86: return tuple_of(r, 2);
    case 0x87: return tuple_of(r, 3);
    case 't':
    case 'l':
        if (!find_mark(r, &first))
            return false;
        v = sequence(r, op == 't' ? PY_TUPLE : PY_LIST, first);
        r->depth = first - 1;
        return push(r, v);
    case 'a':
        return r->depth >= 1 && top(r) ? extend(r, r->depth - 1, false, false) : top(r) != NULL;
    case 's':
        return r->depth >= 2 && top(r) ? extend(r, r->depth - 2, true, false)
                                       : bad(r, BPU_BAD_MODEL, "an item is set, but there is none");
    case 'e':
    case 'u': return find_mark(r, &first) && extend(r, first, op == 'u', true);
    case 'q': return take_number(r, 1, &n) && memo_put(r, n);
    case 'r': return take_number(r, 4, &n) && memo_put(r, n);
    case 0x94: return memo_put(r, r->memo_count);
    case 'h': return take_number(r, 1, &n) && memo_get(r, n);
    case 'j': return take_number(r, 4, &n) && memo_get(r, n);
    case 'c': {
        const char *module = take_line(r), *name = module ? take_line(r) : NULL;
        return put_global(r, module, name);
    }
    case 0x93: { /* STACK_GLOBAL */
        struct py_value *name = pop(r), *module = name ? pop(r) : NULL;
        if (!module || name->kind != PY_STRING || module->kind != PY_STRING)
            return bad(r, BPU_BAD_MODEL, "a global is not named by two strings");
        return put_global(r, module->text, name->text);
    }
    case 'R': return reduce(r);
    case 0x81: return new_object(r);
    case 'b': return build(r);
    case 'Q': return persistent(r);
    default:
        bad(r, BPU_UNSUPPORTED, "opcode 0x%02x is not one that PyTorch writes", op);
        return error_hint(r->err, "The file is damaged, or it was written by another program.");
    }
}

struct py_value *pickle_read(const struct pickle_source *src, struct bpu_error *err)
{
    struct reader r = {.src = src, .arena = src->arena, .err = err};
    r.size = (size_t)src->member->size;
    r.data = archive_bytes(src->archive, src->member, true, err);
    if (!r.data)
        return NULL;
    while (r.at < r.size) {
        r.op_at = r.at;
        unsigned char op = r.data[r.at++];
        if (op == '.') {
            struct py_value *v = pop(&r);
            return v;
        }
        if (!step(&r, op))
            return NULL;
    }
    r.op_at = r.size;
    bad(&r, BPU_BAD_MODEL, "the pickle has no end");
    return NULL;
}
