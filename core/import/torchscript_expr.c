/* Expressions of TorchScript code, by precedence.  Chains and nesting are bounded, since who walks
 * the result recurses. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"
#include "core/import/torchscript.h"

bool parse_accept(struct ts_parser *p, const char *text, bool *yes)
{
    *yes = lex_is(&p->lex, text);
    return !*yes || lex_next(&p->lex);
}

bool parse_expect(struct ts_parser *p, const char *text)
{
    if (lex_is(&p->lex, text))
        return lex_next(&p->lex);
    return lex_error(&p->lex, "\"%s\" is expected before \"%.*s\"", text,
                     p->lex.token.length > 40 ? 40 : (int)p->lex.token.length, p->lex.token.text);
}

char *parse_text(struct ts_parser *p)
{
    char *s = arena_strndup(p->ts->arena, p->lex.token.text, p->lex.token.length, p->lex.err);
    if (s)
        utf8_repair(s);
    return s;
}

struct ts_expr *parse_new(struct ts_parser *p, enum expr_kind kind)
{
    struct ts_expr *e = ARENA_NEW(p->ts->arena, struct ts_expr, p->lex.err);
    if (e) {
        e->kind = kind;
        e->line = p->lex.token.line;
        e->at = p->lex.token.text;
    }
    return e;
}

bool parse_add(struct ts_parser *p, struct ts_expr *e, struct ts_expr *item, const char *name)
{
    if (!item)
        return false;
    size_t capacity = e->capacity;
    struct ts_expr **items = arena_grow(p->ts->arena, e->items, e->count, e->count + 1,
                                        sizeof *items, &capacity, p->lex.err);
    if (!items)
        return false;
    e->items = items;
    if (e->kind == EXPR_CALL) {
        const char **names = arena_grow(p->ts->arena, e->names, e->count, e->count + 1,
                                        sizeof *names, &e->capacity, p->lex.err);
        if (!names)
            return false;
        e->names = names;
        names[e->count] = name;
    }
    e->capacity = capacity;
    items[e->count++] = item;
    return true;
}

/* ── atoms ── */

static struct ts_expr *constant(struct ts_parser *p, enum py_kind kind, int64_t i, double f,
                                const char *text)
{
    struct ts_expr *e = parse_new(p, EXPR_CONSTANT);
    if (!e || !(e->value = ts_new(p->ts, kind)))
        return NULL;
    e->value->i = i;
    e->value->f = f;
    e->value->text = text;
    return e;
}

static struct ts_expr *number(struct ts_parser *p)
{
    char *s = parse_text(p), *end;
    if (!s)
        return NULL;
    errno = 0;
    struct ts_expr *e;
    if (strpbrk(s, ".eE"))
        e = constant(p, PY_FLOAT, 0, strtod(s, &end), NULL);
    else
        e = constant(p, PY_INT, strtoll(s, &end, 10), 0, NULL);
    if (e && (*end || (errno == ERANGE && e->value->kind == PY_INT))) {
        lex_error(&p->lex, "\"%.40s\" is not a number that is read", s);
        return NULL;
    }
    return e && lex_next(&p->lex) ? e : NULL;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

static struct ts_expr *string(struct ts_parser *p)
{
    size_t n = p->lex.token.length - 2;
    const char *from = p->lex.token.text + 1;
    char *s = arena_alloc(p->ts->arena, n + 1, p->lex.err), *to = s;
    for (size_t i = 0; s && i < n; i++) {
        if (from[i] != '\\' || i + 1 == n) {
            *to++ = from[i];
            continue;
        }
        char c = from[++i];
        if (c == 'x' && i + 2 < n && hex_digit(from[i + 1]) >= 0 && hex_digit(from[i + 2]) >= 0) {
            int code = hex_digit(from[i + 1]) * 16 + hex_digit(from[i + 2]);
            *to++ = code ? (char)code : '?';
            i += 2;
        } else if (is_octal(c) && i + 2 < n && is_octal(from[i + 1]) && is_octal(from[i + 2])) {
            int code = (c - '0') * 64 + (from[i + 1] - '0') * 8 + (from[i + 2] - '0');
            *to++ = code & 255 ? (char)code : '?';
            i += 2;
        } else
            *to++ = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    }
    if (s)
        utf8_repair(s);
    struct ts_expr *e = s ? constant(p, PY_STRING, 0, 0, s) : NULL;
    return e && lex_next(&p->lex) ? e : NULL;
}

/* Items up to the closing bracket. *commas: how many were written. */
static bool items_until(struct ts_parser *p, struct ts_expr *e, const char *close, int *commas)
{
    *commas = 0;
    while (!lex_is(&p->lex, close)) {
        bool comma;
        if (!parse_add(p, e, parse_expression(p), NULL) || !parse_accept(p, ",", &comma))
            return false;
        if (!comma)
            break;
        ++*commas;
    }
    return parse_expect(p, close);
}

static struct ts_expr *dict(struct ts_parser *p)
{
    struct ts_expr *e = parse_new(p, EXPR_DICT);
    while (e && !lex_is(&p->lex, "}")) {
        bool comma;
        if (!parse_add(p, e, parse_expression(p), NULL) || !parse_expect(p, ":") ||
            !parse_add(p, e, parse_expression(p), NULL) || !parse_accept(p, ",", &comma))
            return NULL;
        if (!comma)
            break;
    }
    return e && parse_expect(p, "}") ? e : NULL;
}

static struct ts_expr *atom(struct ts_parser *p)
{
    static const struct {
        const char *name;
        enum py_kind kind;
        int64_t i;
    } words[] = {{"None", PY_NONE, 0}, {"True", PY_BOOL, 1}, {"False", PY_BOOL, 0}};
    int commas;
    bool yes;
    struct ts_expr *e;
    switch (p->lex.token.kind) {
    case TOKEN_NUMBER: return number(p);
    case TOKEN_STRING: return string(p);
    case TOKEN_NAME:
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            if (lex_is(&p->lex, words[i].name)) {
                e = constant(p, words[i].kind, words[i].i, 0, NULL);
                return e && lex_next(&p->lex) ? e : NULL;
            }
        e = parse_new(p, EXPR_NAME);
        return e && (e->text = parse_text(p)) && lex_next(&p->lex) ? e : NULL;
    default: break;
    }
    if (!parse_accept(p, "(", &yes))
        return NULL;
    if (yes) {
        e = parse_new(p, EXPR_TUPLE);
        if (!e || !items_until(p, e, ")", &commas))
            return NULL;
        return e->count == 1 && commas == 0 ? e->items[0] : e;
    }
    if (!parse_accept(p, "[", &yes))
        return NULL;
    if (yes) {
        e = parse_new(p, EXPR_LIST);
        return e && items_until(p, e, "]", &commas) ? e : NULL;
    }
    if (!parse_accept(p, "{", &yes))
        return NULL;
    if (yes)
        return dict(p);
    lex_error(&p->lex, "an expression is expected before \"%.*s\"",
              p->lex.token.length > 40 ? 40 : (int)p->lex.token.length, p->lex.token.text);
    return NULL;
}

/* The arguments of a call, behind "(". */
static bool arguments(struct ts_parser *p, struct ts_expr *call)
{
    while (!lex_is(&p->lex, ")")) {
        struct ts_expr *e = parse_expression(p);
        const char *name = NULL;
        bool yes;
        if (!e || !parse_accept(p, "=", &yes))
            return false;
        if (yes) {
            if (e->kind != EXPR_NAME)
                return lex_error(&p->lex, "an argument has no name before \"=\"");
            name = e->text;
            e = parse_expression(p);
        }
        if (!parse_add(p, call, e, name) || !parse_accept(p, ",", &yes))
            return false;
        if (!yes)
            break;
    }
    return parse_expect(p, ")");
}

static struct ts_expr *postfix(struct ts_parser *p)
{
    struct ts_expr *e = atom(p);
    for (int links = 0; e; links++) {
        struct ts_expr *outer;
        bool yes;
        if (links == PARSE_MAX_DEPTH) {
            lex_error(&p->lex, "an expression chains more than %d calls", PARSE_MAX_DEPTH);
            return NULL;
        }
        if (!parse_accept(p, ".", &yes))
            return NULL;
        if (yes) {
            if (p->lex.token.kind != TOKEN_NAME) {
                lex_error(&p->lex, "a name is expected behind a dot");
                return NULL;
            }
            outer = parse_new(p, EXPR_ATTR);
            if (!outer || !(outer->text = parse_text(p)) || !parse_add(p, outer, e, NULL) ||
                !lex_next(&p->lex))
                return NULL;
            e = outer;
            continue;
        }
        int line = p->lex.token.line;
        const char *at = p->lex.token.text;
        if (!parse_accept(p, "(", &yes))
            return NULL;
        if (yes) {
            outer = parse_new(p, EXPR_CALL);
            if (!outer || !parse_add(p, outer, e, NULL) || !arguments(p, outer))
                return NULL;
            outer->line = line;
            outer->at = at;
            e = outer;
            continue;
        }
        if (!parse_accept(p, "[", &yes))
            return NULL;
        if (!yes)
            return e;
        outer = parse_new(p, EXPR_INDEX);
        int commas;
        if (!outer || !parse_add(p, outer, e, NULL) || !items_until(p, outer, "]", &commas))
            return NULL;
        e = outer;
    }
    return NULL;
}

/* ── operators by precedence ── */

static struct ts_expr *unary(struct ts_parser *p)
{
    if (!lex_is(&p->lex, "-") && !lex_is(&p->lex, "+"))
        return postfix(p);
    struct ts_expr *e = parse_new(p, EXPR_UNARY);
    if (!e || !(e->text = parse_text(p)) || !lex_next(&p->lex))
        return NULL;
    if (++p->depth > PARSE_MAX_DEPTH) {
        lex_error(&p->lex, "an expression is nested more than %d deep", PARSE_MAX_DEPTH);
        return NULL;
    }
    bool ok = parse_add(p, e, unary(p), NULL);
    p->depth--;
    return ok ? e : NULL;
}

static const char *const levels[][8] = {
    {"or"},     {"and"},
    {"not"},    {"==", "!=", "<", ">", "<=", ">=", "is", "in"},
    {"+", "-"}, {"*", "/", "//", "%"},
};
enum { LEVELS = sizeof levels / sizeof levels[0], LEVEL_NOT = 2 };

static struct ts_expr *binary(struct ts_parser *p, int level)
{
    if (level == LEVELS)
        return unary(p);
    if (level == LEVEL_NOT && lex_is(&p->lex, "not")) {
        struct ts_expr *e = parse_new(p, EXPR_UNARY);
        if (!e || !(e->text = parse_text(p)) || !lex_next(&p->lex))
            return NULL;
        if (++p->depth > PARSE_MAX_DEPTH) {
            lex_error(&p->lex, "an expression is nested more than %d deep", PARSE_MAX_DEPTH);
            return NULL;
        }
        bool ok = parse_add(p, e, binary(p, level), NULL);
        p->depth--;
        return ok ? e : NULL;
    }
    struct ts_expr *left = binary(p, level + 1);
    for (int links = 0; left; links++) {
        const char *op = NULL;
        for (size_t i = 0; i < 8 && levels[level][i]; i++)
            if (level != LEVEL_NOT && lex_is(&p->lex, levels[level][i]))
                op = levels[level][i];
        if (!op)
            return left;
        struct ts_expr *e = parse_new(p, EXPR_BINARY);
        bool negated = false;
        if (links == PARSE_MAX_DEPTH) {
            lex_error(&p->lex, "an expression chains more than %d operators", PARSE_MAX_DEPTH);
            return NULL;
        }
        if (!e || !lex_next(&p->lex) ||
            (strcmp(op, "is") == 0 && !parse_accept(p, "not", &negated)))
            return NULL;
        e->text = negated ? "is not" : op;
        e->at = left->at;
        if (!parse_add(p, e, left, NULL) || !parse_add(p, e, binary(p, level + 1), NULL))
            return NULL;
        left = e;
    }
    return NULL;
}

struct ts_expr *parse_expression(struct ts_parser *p)
{
    if (++p->depth > PARSE_MAX_DEPTH) {
        lex_error(&p->lex, "an expression is nested more than %d deep", PARSE_MAX_DEPTH);
        return NULL;
    }
    struct ts_expr *e = binary(p, 0), *choice = NULL;
    bool yes = false;
    if (e && !parse_accept(p, "if", &yes))
        e = NULL;
    if (e && yes) {
        choice = parse_new(p, EXPR_IF);
        if (!choice || !parse_add(p, choice, e, NULL) ||
            !parse_add(p, choice, binary(p, 0), NULL) || !parse_expect(p, "else") ||
            !parse_add(p, choice, parse_expression(p), NULL))
            e = NULL;
        else
            e = choice;
    }
    p->depth--;
    return e;
}
