/* Statements of one function.
 *
 * Those that are no straight-line code (for, while, try, with …) are kept as their keyword and
 * skipped: only running into them is an error. */
#include <string.h>

#include "core/import/torchscript.h"

static bool parse_block(struct ts_parser *p, struct ts_stmt **out);

static bool end_line(struct ts_parser *p)
{
    if (p->lex.token.kind == TOKEN_NEWLINE)
        return lex_next(&p->lex);
    if (p->lex.token.kind == TOKEN_END)
        return true;
    return lex_error(&p->lex, "a statement goes on with \"%.*s\"",
                     p->lex.token.length > 40 ? 40 : (int)p->lex.token.length, p->lex.token.text);
}

/* The rest of the line and the block below it. */
static bool skip_statement(struct ts_parser *p)
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

static bool parse_if(struct ts_parser *p, struct ts_stmt *s)
{
    bool yes;
    if (++p->depth > PARSE_MAX_DEPTH)
        return lex_error(&p->lex, "the code is nested more than %d deep", PARSE_MAX_DEPTH);
    s->kind = STMT_IF;
    s->value = parse_expression(p);
    if (!s->value || !parse_expect(p, ":") || !parse_block(p, &s->body))
        return false;
    if (lex_is(&p->lex, "elif")) {
        s->otherwise = ARENA_NEW(p->ts->arena, struct ts_stmt, p->lex.err);
        if (!s->otherwise)
            return false;
        s->otherwise->line = p->lex.token.line;
        s->otherwise->at = p->lex.token.text;
        if (!lex_next(&p->lex) || !parse_if(p, s->otherwise))
            return false;
    } else {
        if (!parse_accept(p, "else", &yes))
            return false;
        if (yes && (!parse_expect(p, ":") || !parse_block(p, &s->otherwise)))
            return false;
    }
    p->depth--;
    return true;
}

static bool parse_assignment(struct ts_parser *p, struct ts_stmt *s)
{
    struct ts_expr *e = parse_new(p, EXPR_TUPLE);
    bool comma = false, yes;
    if (!e)
        return false;
    for (;;) {
        if (!parse_add(p, e, parse_expression(p), NULL) || !parse_accept(p, ",", &yes))
            return false;
        if (!yes)
            break;
        comma = true;
        if (lex_is(&p->lex, "="))
            break;
    }
    if (!parse_accept(p, ":", &yes) || (yes && !parse_expression(p)) || !parse_accept(p, "=", &yes))
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
        s->value = parse_expression(p);
    } else {
        s->kind = STMT_EXPR;
        s->value = comma ? e : e->items[0];
    }
    return s->value && end_line(p);
}

static bool parse_statement(struct ts_parser *p, struct ts_stmt *s)
{
    static const char *const refused[] = {
        "for",    "while",  "try",  "except", "finally", "with",     "raise",  "def",    "class",
        "assert", "import", "from", "del",    "break",   "continue", "global", "lambda", "yield"};
    s->line = p->lex.token.line;
    s->at = p->lex.token.text;
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
                !(s->value = parse_expression(p)))
                return false;
            if (!lex_is(&p->lex, ","))
                return end_line(p);
            struct ts_expr *e = parse_new(p, EXPR_TUPLE); /* return a, b */
            if (!e || !parse_add(p, e, s->value, NULL))
                return false;
            while (lex_is(&p->lex, ",")) {
                if (!lex_next(&p->lex))
                    return false;
                if (p->lex.token.kind == TOKEN_NEWLINE)
                    break;
                if (!parse_add(p, e, parse_expression(p), NULL))
                    return false;
            }
            s->value = e;
            return end_line(p);
        }
    }
    return parse_assignment(p, s);
}

/* Statements from INDENT to DEDENT. */
static bool parse_block(struct ts_parser *p, struct ts_stmt **out)
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

static bool parse_params(struct ts_parser *p, struct ts_function *f)
{
    size_t capacity = 0;
    bool yes;
    while (!lex_is(&p->lex, ")")) {
        struct ts_param *params =
            arena_grow(p->ts->arena, f->params, f->param_count, f->param_count + 1, sizeof *params,
                       &capacity, p->lex.err);
        if (!params)
            return false;
        f->params = params;
        struct ts_param *param = &params[f->param_count++];
        if (p->lex.token.kind != TOKEN_NAME)
            return lex_error(&p->lex, "a parameter has no name");
        *param = (struct ts_param){.name = parse_text(p)};
        if (!param->name || !lex_next(&p->lex) || !parse_accept(p, ":", &yes))
            return false;
        if (yes) {
            const char *from = p->lex.token.text;
            if (!parse_expression(p))
                return false;
            size_t n = (size_t)(p->lex.token.text - from);
            while (n && from[n - 1] == ' ')
                n--;
            param->type = arena_strndup(p->ts->arena, from, n, p->lex.err);
            if (!param->type)
                return false;
        }
        if (!parse_accept(p, "=", &yes) || (yes && !(param->otherwise = parse_expression(p))) ||
            !parse_accept(p, ",", &yes))
            return false;
        if (!yes)
            break;
    }
    return parse_expect(p, ")");
}

bool ts_parse_function(struct ts_import *ts, struct ts_function *f)
{
    struct ts_parser p = {.ts = ts};
    bool yes;
    if (f->parsed)
        return true;
    if (!lex_init(&p.lex, f->file, f->begin, f->end, f->line, ts->err) ||
        !parse_expect(&p, "def") || p.lex.token.kind != TOKEN_NAME)
        return lex_error(&p.lex, "a function has no name");
    if (!lex_next(&p.lex) || !parse_expect(&p, "(") || !parse_params(&p, f) ||
        !parse_accept(&p, "->", &yes) || (yes && !parse_expression(&p)) || !parse_expect(&p, ":") ||
        !parse_block(&p, &f->body))
        return false;
    f->parsed = true;
    return true;
}

struct ts_expr *ts_parse_expr(struct ts_import *ts, const char *file, const char *begin,
                              const char *end, int line)
{
    struct ts_parser p = {.ts = ts};
    return lex_init(&p.lex, file, begin, end, line, ts->err) ? parse_expression(&p) : NULL;
}
