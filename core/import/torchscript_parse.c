/* Statements and expressions of one function.
 *
 * Statements that are no straight-line code (for, while, try, with …) are kept as their keyword and skipped: only
 * running into them is an error. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/import/torchscript.h"

enum { MAX_DEPTH = 200 };

struct parser {
    struct ts_import *ts;
    struct lexer lex;
    int depth;
};

static struct ts_expr *parse_expr(struct parser *p);
static bool parse_block(struct parser *p, struct ts_stmt **out);

static bool accept(struct parser *p, const char *text, bool *yes)
{
    *yes = lex_is(&p->lex, text);
    return !*yes || lex_next(&p->lex);
}

static bool expect(struct parser *p, const char *text)
{
    if (lex_is(&p->lex, text))
        return lex_next(&p->lex);
    return lex_error(&p->lex, "\"%s\" is expected before \"%.*s\"", text,
                     p->lex.token.length > 40 ? 40 : (int)p->lex.token.length, p->lex.token.text);
}

static char *token_text(struct parser *p)
{
    return arena_strndup(p->ts->arena, p->lex.token.text, p->lex.token.length, p->lex.err);
}

static struct ts_expr *new_expr(struct parser *p, enum expr_kind kind)
{
    struct ts_expr *e = ARENA_NEW(p->ts->arena, struct ts_expr, p->lex.err);
    if (e) {
        e->kind = kind;
        e->line = p->lex.token.line;
    }
    return e;
}

static bool add_item(struct parser *p, struct ts_expr *e, struct ts_expr *item, const char *name)
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

static struct ts_expr *constant(struct parser *p, enum py_kind kind, int64_t i, double f,
                                const char *text)
{
    struct ts_expr *e = new_expr(p, EXPR_CONSTANT);
    if (!e || !(e->value = ts_new(p->ts, kind)))
        return NULL;
    e->value->i = i;
    e->value->f = f;
    e->value->text = text;
    return e;
}

static struct ts_expr *number(struct parser *p)
{
    char *s = token_text(p), *end;
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
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static struct ts_expr *string(struct parser *p)
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
        } else
            *to++ = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    }
    struct ts_expr *e = s ? constant(p, PY_STRING, 0, 0, s) : NULL;
    return e && lex_next(&p->lex) ? e : NULL;
}

/* Items up to the closing bracket. *commas: how many were written. */
static bool items_until(struct parser *p, struct ts_expr *e, const char *close, int *commas)
{
    *commas = 0;
    while (!lex_is(&p->lex, close)) {
        bool comma;
        if (!add_item(p, e, parse_expr(p), NULL) || !accept(p, ",", &comma))
            return false;
        if (!comma)
            break;
        ++*commas;
    }
    return expect(p, close);
}

static struct ts_expr *dict(struct parser *p)
{
    struct ts_expr *e = new_expr(p, EXPR_DICT);
    while (e && !lex_is(&p->lex, "}")) {
        bool comma;
        if (!add_item(p, e, parse_expr(p), NULL) || !expect(p, ":") ||
            !add_item(p, e, parse_expr(p), NULL) || !accept(p, ",", &comma))
            return NULL;
        if (!comma)
            break;
    }
    return e && expect(p, "}") ? e : NULL;
}

static struct ts_expr *atom(struct parser *p)
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
        e = new_expr(p, EXPR_NAME);
        return e && (e->text = token_text(p)) && lex_next(&p->lex) ? e : NULL;
    default: break;
    }
    if (!accept(p, "(", &yes))
        return NULL;
    if (yes) {
        e = new_expr(p, EXPR_TUPLE);
        if (!e || !items_until(p, e, ")", &commas))
            return NULL;
        return e->count == 1 && commas == 0 ? e->items[0] : e;
    }
    if (!accept(p, "[", &yes))
        return NULL;
    if (yes) {
        e = new_expr(p, EXPR_LIST);
        return e && items_until(p, e, "]", &commas) ? e : NULL;
    }
    if (!accept(p, "{", &yes))
        return NULL;
    if (yes)
        return dict(p);
    lex_error(&p->lex, "an expression is expected before \"%.*s\"",
              p->lex.token.length > 40 ? 40 : (int)p->lex.token.length, p->lex.token.text);
    return NULL;
}

/* The arguments of a call, behind "(". */
static bool arguments(struct parser *p, struct ts_expr *call)
{
    while (!lex_is(&p->lex, ")")) {
        struct ts_expr *e = parse_expr(p);
        const char *name = NULL;
        bool yes;
        if (!e || !accept(p, "=", &yes))
            return false;
        if (yes) {
            if (e->kind != EXPR_NAME)
                return lex_error(&p->lex, "an argument has no name before \"=\"");
            name = e->text;
            e = parse_expr(p);
        }
        if (!add_item(p, call, e, name) || !accept(p, ",", &yes))
            return false;
        if (!yes)
            break;
    }
    return expect(p, ")");
}

static struct ts_expr *postfix(struct parser *p)
{
    struct ts_expr *e = atom(p);
    for (int links = 0; e; links++) {
        struct ts_expr *outer;
        bool yes;
        if (links == MAX_DEPTH) {
            lex_error(&p->lex, "an expression chains more than %d calls", MAX_DEPTH);
            return NULL;
        }
        if (!accept(p, ".", &yes))
            return NULL;
        if (yes) {
            if (p->lex.token.kind != TOKEN_NAME) {
                lex_error(&p->lex, "a name is expected behind a dot");
                return NULL;
            }
            outer = new_expr(p, EXPR_ATTR);
            if (!outer || !(outer->text = token_text(p)) || !add_item(p, outer, e, NULL) ||
                !lex_next(&p->lex))
                return NULL;
            e = outer;
            continue;
        }
        int line = p->lex.token.line;
        if (!accept(p, "(", &yes))
            return NULL;
        if (yes) {
            outer = new_expr(p, EXPR_CALL);
            if (!outer || !add_item(p, outer, e, NULL) || !arguments(p, outer))
                return NULL;
            outer->line = line;
            e = outer;
            continue;
        }
        if (!accept(p, "[", &yes))
            return NULL;
        if (!yes)
            return e;
        outer = new_expr(p, EXPR_INDEX);
        int commas;
        if (!outer || !add_item(p, outer, e, NULL) || !items_until(p, outer, "]", &commas))
            return NULL;
        e = outer;
    }
    return NULL;
}

/* ── operators by precedence ── */

static struct ts_expr *unary(struct parser *p)
{
    if (!lex_is(&p->lex, "-") && !lex_is(&p->lex, "+"))
        return postfix(p);
    struct ts_expr *e = new_expr(p, EXPR_UNARY);
    if (!e || !(e->text = token_text(p)) || !lex_next(&p->lex))
        return NULL;
    if (++p->depth > MAX_DEPTH) {
        lex_error(&p->lex, "an expression is nested more than %d deep", MAX_DEPTH);
        return NULL;
    }
    bool ok = add_item(p, e, unary(p), NULL);
    p->depth--;
    return ok ? e : NULL;
}

static const char *const levels[][8] = {
    {"or"}, {"and"}, {"not"}, {"==", "!=", "<", ">", "<=", ">=", "is", "in"}, {"+", "-"},
    {"*", "/", "//", "%"},
};
enum { LEVELS = sizeof levels / sizeof levels[0], LEVEL_NOT = 2 };

static struct ts_expr *binary(struct parser *p, int level)
{
    if (level == LEVELS)
        return unary(p);
    if (level == LEVEL_NOT && lex_is(&p->lex, "not")) {
        struct ts_expr *e = new_expr(p, EXPR_UNARY);
        if (!e || !(e->text = token_text(p)) || !lex_next(&p->lex))
            return NULL;
        if (++p->depth > MAX_DEPTH) {
            lex_error(&p->lex, "an expression is nested more than %d deep", MAX_DEPTH);
            return NULL;
        }
        bool ok = add_item(p, e, binary(p, level), NULL);
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
        struct ts_expr *e = new_expr(p, EXPR_BINARY);
        bool negated = false;
        if (links == MAX_DEPTH) {
            lex_error(&p->lex, "an expression chains more than %d operators", MAX_DEPTH);
            return NULL;
        }
        if (!e || !lex_next(&p->lex) || (strcmp(op, "is") == 0 && !accept(p, "not", &negated)))
            return NULL;
        e->text = negated ? "is not" : op;
        if (!add_item(p, e, left, NULL) || !add_item(p, e, binary(p, level + 1), NULL))
            return NULL;
        left = e;
    }
    return NULL;
}

static struct ts_expr *parse_expr(struct parser *p)
{
    if (++p->depth > MAX_DEPTH) {
        lex_error(&p->lex, "an expression is nested more than %d deep", MAX_DEPTH);
        return NULL;
    }
    struct ts_expr *e = binary(p, 0), *choice = NULL;
    bool yes = false;
    if (e && !accept(p, "if", &yes))
        e = NULL;
    if (e && yes) {
        choice = new_expr(p, EXPR_IF);
        if (!choice || !add_item(p, choice, e, NULL) || !add_item(p, choice, binary(p, 0), NULL) ||
            !expect(p, "else") || !add_item(p, choice, parse_expr(p), NULL))
            e = NULL;
        else
            e = choice;
    }
    p->depth--;
    return e;
}

/* ── statements ── */

static bool end_line(struct parser *p)
{
    if (p->lex.token.kind == TOKEN_NEWLINE)
        return lex_next(&p->lex);
    if (p->lex.token.kind == TOKEN_END)
        return true;
    return lex_error(&p->lex, "a statement goes on with \"%.*s\"",
                     p->lex.token.length > 40 ? 40 : (int)p->lex.token.length, p->lex.token.text);
}

/* The rest of the line and the block below it. */
static bool skip_statement(struct parser *p)
{
    while (p->lex.token.kind != TOKEN_NEWLINE && p->lex.token.kind != TOKEN_END)
        if (!lex_next(&p->lex))
            return false;
    if (p->lex.token.kind == TOKEN_NEWLINE && !lex_next(&p->lex))
        return false;
    int depth = p->lex.token.kind == TOKEN_INDENT;
    while (depth > 0 && p->lex.token.kind != TOKEN_END) {
        if (!lex_next(&p->lex))
            return false;
        depth += p->lex.token.kind == TOKEN_INDENT;
        depth -= p->lex.token.kind == TOKEN_DEDENT;
    }
    return p->lex.token.kind != TOKEN_DEDENT || depth != 0 || lex_next(&p->lex);
}

static bool parse_if(struct parser *p, struct ts_stmt *s)
{
    bool yes;
    if (++p->depth > MAX_DEPTH)
        return lex_error(&p->lex, "the code is nested more than %d deep", MAX_DEPTH);
    s->kind = STMT_IF;
    s->value = parse_expr(p);
    if (!s->value || !expect(p, ":") || !parse_block(p, &s->body))
        return false;
    if (lex_is(&p->lex, "elif")) {
        s->otherwise = ARENA_NEW(p->ts->arena, struct ts_stmt, p->lex.err);
        if (!s->otherwise)
            return false;
        s->otherwise->line = p->lex.token.line;
        if (!lex_next(&p->lex) || !parse_if(p, s->otherwise))
            return false;
    } else {
        if (!accept(p, "else", &yes))
            return false;
        if (yes && (!expect(p, ":") || !parse_block(p, &s->otherwise)))
            return false;
    }
    p->depth--;
    return true;
}

static bool parse_assignment(struct parser *p, struct ts_stmt *s)
{
    struct ts_expr *e = new_expr(p, EXPR_TUPLE);
    bool comma = false, yes;
    if (!e)
        return false;
    for (;;) {
        if (!add_item(p, e, parse_expr(p), NULL) || !accept(p, ",", &yes))
            return false;
        if (!yes)
            break;
        comma = true;
        if (lex_is(&p->lex, "="))
            break;
    }
    if (!accept(p, ":", &yes) || (yes && !parse_expr(p)) || !accept(p, "=", &yes))
        return false;
    if (yes) {
        s->kind = STMT_ASSIGN;
        s->targets = e->items;
        s->target_count = e->count;
        s->unpack = comma;
        for (size_t i = 0; i < e->count; i++)
            if (e->items[i]->kind != EXPR_NAME && e->items[i]->kind != EXPR_ATTR &&
                e->items[i]->kind != EXPR_INDEX)
                return lex_error(&p->lex, "this cannot be assigned to");
        s->value = parse_expr(p);
    } else {
        s->kind = STMT_EXPR;
        s->value = comma ? e : e->items[0];
    }
    return s->value && end_line(p);
}

static bool parse_statement(struct parser *p, struct ts_stmt *s)
{
    static const char *const refused[] = {"for", "while", "try", "with", "raise", "def", "class",
                                          "assert", "import", "from", "del", "break", "continue",
                                          "global", "lambda", "yield"};
    s->line = p->lex.token.line;
    if (p->lex.token.kind == TOKEN_NAME) {
        for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
            if (lex_is(&p->lex, refused[i])) {
                s->kind = STMT_REFUSED;
                s->text = refused[i];
                return skip_statement(p);
            }
        if (lex_is(&p->lex, "pass")) {
            s->kind = STMT_PASS;
            return lex_next(&p->lex) && end_line(p);
        }
        if (lex_is(&p->lex, "if"))
            return lex_next(&p->lex) && parse_if(p, s);
        if (lex_is(&p->lex, "return")) {
            s->kind = STMT_RETURN;
            if (!lex_next(&p->lex))
                return false;
            if (p->lex.token.kind != TOKEN_NEWLINE && p->lex.token.kind != TOKEN_END &&
                !(s->value = parse_expr(p)))
                return false;
            if (!lex_is(&p->lex, ","))
                return end_line(p);
            struct ts_expr *e = new_expr(p, EXPR_TUPLE); /* return a, b */
            if (!e || !add_item(p, e, s->value, NULL))
                return false;
            while (lex_is(&p->lex, ",")) {
                if (!lex_next(&p->lex))
                    return false;
                if (p->lex.token.kind == TOKEN_NEWLINE)
                    break;
                if (!add_item(p, e, parse_expr(p), NULL))
                    return false;
            }
            s->value = e;
            return end_line(p);
        }
    }
    return parse_assignment(p, s);
}

/* Statements from INDENT to DEDENT. */
static bool parse_block(struct parser *p, struct ts_stmt **out)
{
    struct ts_stmt **tail = out;
    if (p->lex.token.kind != TOKEN_NEWLINE) { /* if x: return y */
        *out = ARENA_NEW(p->ts->arena, struct ts_stmt, p->lex.err);
        return *out && parse_statement(p, *out);
    }
    if (!lex_next(&p->lex))
        return false;
    if (p->lex.token.kind != TOKEN_INDENT)
        return lex_error(&p->lex, "a block is empty");
    if (!lex_next(&p->lex))
        return false;
    while (p->lex.token.kind != TOKEN_DEDENT && p->lex.token.kind != TOKEN_END) {
        struct ts_stmt *s = ARENA_NEW(p->ts->arena, struct ts_stmt, p->lex.err);
        if (!s || !parse_statement(p, s))
            return false;
        *tail = s;
        tail = &s->next;
    }
    return p->lex.token.kind != TOKEN_DEDENT || lex_next(&p->lex);
}

static bool parse_params(struct parser *p, struct ts_function *f)
{
    size_t capacity = 0;
    bool yes;
    while (!lex_is(&p->lex, ")")) {
        struct ts_param *params = arena_grow(p->ts->arena, f->params, f->param_count,
                                             f->param_count + 1, sizeof *params, &capacity,
                                             p->lex.err);
        if (!params)
            return false;
        f->params = params;
        struct ts_param *param = &params[f->param_count++];
        if (p->lex.token.kind != TOKEN_NAME)
            return lex_error(&p->lex, "a parameter has no name");
        *param = (struct ts_param){.name = token_text(p)};
        if (!param->name || !lex_next(&p->lex) || !accept(p, ":", &yes))
            return false;
        if (yes) {
            const char *from = p->lex.token.text;
            if (!parse_expr(p))
                return false;
            size_t n = (size_t)(p->lex.token.text - from);
            while (n && from[n - 1] == ' ')
                n--;
            param->type = arena_strndup(p->ts->arena, from, n, p->lex.err);
            if (!param->type)
                return false;
        }
        if (!accept(p, "=", &yes) || (yes && !(param->otherwise = parse_expr(p))) ||
            !accept(p, ",", &yes))
            return false;
        if (!yes)
            break;
    }
    return expect(p, ")");
}

bool ts_parse_function(struct ts_import *ts, struct ts_function *f)
{
    struct parser p = {.ts = ts};
    bool yes;
    if (f->parsed)
        return true;
    if (!lex_init(&p.lex, f->file, f->begin, f->end, f->line, ts->err) || !expect(&p, "def") ||
        p.lex.token.kind != TOKEN_NAME)
        return lex_error(&p.lex, "a function has no name");
    if (!lex_next(&p.lex) || !expect(&p, "(") || !parse_params(&p, f) || !accept(&p, "->", &yes) ||
        (yes && !parse_expr(&p)) || !expect(&p, ":") || !parse_block(&p, &f->body))
        return false;
    f->parsed = true;
    return true;
}

struct ts_expr *ts_parse_expr(struct ts_import *ts, const char *file, const char *begin,
                              const char *end, int line)
{
    struct parser p = {.ts = ts};
    return lex_init(&p.lex, file, begin, end, line, ts->err) ? parse_expr(&p) : NULL;
}
