/* Tokens of TorchScript code: Python's, of which PyTorch writes a small part.
 *
 * Indentation gives INDENT and DEDENT; inside brackets line ends do not count. */
#include <stdio.h>
#include <string.h>

#include "core/import/torchscript.h"

bool lex_error(const struct lexer *l, const char *fmt, ...)
{
    char where[256];
    va_list ap;
    snprintf(where, sizeof where, "%.200s, line %d", l->file,
             l->token.line ? l->token.line : l->line);
    va_start(ap, fmt);
    error_vset(l->err, BPU_BAD_MODEL, where, fmt, ap);
    va_end(ap);
    return error_hint(l->err,
                      "The code is not what torch.jit.save writes; save the network again.");
}

bool lex_is(const struct lexer *l, const char *text)
{
    return (l->token.kind == TOKEN_OP || l->token.kind == TOKEN_NAME) &&
           l->token.length == strlen(text) && memcmp(l->token.text, text, l->token.length) == 0;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool lex_init(struct lexer *l, const char *file, const char *begin, const char *end, int line,
              struct bpu_error *err)
{
    *l = (struct lexer){
        .at = begin, .end = end, .file = file, .err = err, .line = line, .line_start = true};
    for (const char *c = begin; c < end && *c == ' '; c++)
        l->indents[0]++;
    return lex_next(l);
}

/* Measures the indentation of the next line that holds code. */
static bool start_line(struct lexer *l)
{
    int indent = 0;
    for (;;) {
        indent = 0;
        while (l->at < l->end && *l->at == ' ') {
            l->at++;
            indent++;
        }
        if (l->at < l->end && *l->at == '\r')
            l->at++;
        if (l->at < l->end && *l->at == '#')
            while (l->at < l->end && *l->at != '\n')
                l->at++;
        if (l->at == l->end || *l->at != '\n')
            break;
        l->at++;
        l->line++;
    }
    l->line_start = false;
    l->token.line = l->line;
    if (l->at == l->end)
        indent = l->indents[0];
    if (indent > l->indents[l->depth]) {
        if (l->depth + 1 == LEX_MAX_INDENT)
            return lex_error(l, "the code is nested more than %d deep", LEX_MAX_INDENT);
        l->indents[++l->depth] = indent;
        l->pending = 1;
    } else
        while (l->depth > 0 && indent < l->indents[l->depth]) {
            l->depth--;
            l->pending--;
        }
    return true;
}

static bool lex_string(struct lexer *l)
{
    char quote = *l->at++;
    for (; l->at < l->end && *l->at != quote; l->at++) {
        if (*l->at == '\n')
            break;
        if (*l->at == '\\' && l->at + 1 < l->end)
            l->at++;
    }
    if (l->at == l->end || *l->at != quote)
        return lex_error(l, "a string has no end");
    l->at++;
    return true;
}

static void lex_number(struct lexer *l)
{
    while (l->at < l->end) {
        char c = *l->at;
        bool sign = (c == '-' || c == '+') && (l->at[-1] == 'e' || l->at[-1] == 'E');
        if (!is_digit(c) && c != '.' && c != 'e' && c != 'E' && c != 'j' && !sign)
            break;
        l->at++;
    }
}

bool lex_next(struct lexer *l)
{
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "->", "//", "**"};
    if (l->line_start && l->brackets == 0 && !start_line(l))
        return false;
    l->token = (struct token){.line = l->line, .text = l->at};
    if (l->pending) {
        l->token.kind = l->pending > 0 ? TOKEN_INDENT : TOKEN_DEDENT;
        l->pending += l->pending > 0 ? -1 : 1;
        return true;
    }
    for (;;) {
        while (l->at < l->end &&
               (*l->at == ' ' || *l->at == '\r' || (*l->at == '\n' && l->brackets)))
            if (*l->at++ == '\n')
                l->line++;
        if (l->at == l->end || *l->at != '#')
            break;
        while (l->at < l->end && *l->at != '\n')
            l->at++;
    }
    l->token = (struct token){.line = l->line, .text = l->at};
    if (l->at == l->end) {
        if (l->brackets)
            return lex_error(l, "a bracket is not closed");
        l->token.kind = TOKEN_END;
        return true;
    }
    char c = *l->at;
    if (c == '\n') {
        l->at++;
        l->line++;
        l->line_start = true;
        l->token.kind = TOKEN_NEWLINE;
    } else if (is_letter(c)) {
        while (l->at < l->end && (is_letter(*l->at) || is_digit(*l->at)))
            l->at++;
        l->token.kind = TOKEN_NAME;
    } else if (is_digit(c)) {
        lex_number(l);
        l->token.kind = TOKEN_NUMBER;
    } else if (c == '"' || c == '\'') {
        if (!lex_string(l))
            return false;
        l->token.kind = TOKEN_STRING;
    } else {
        size_t n = 1;
        for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
            if (l->end - l->at >= 2 && memcmp(l->at, pairs[i], 2) == 0)
                n = 2;
        if (c == '\0' || (n == 1 && !strchr("()[]{}.,:=+-*/%<>@~&|^", c)))
            return lex_error(l, "the character 0x%02x does not belong into code", (unsigned char)c);
        l->brackets += c == '(' || c == '[' || c == '{';
        l->brackets -= c == ')' || c == ']' || c == '}';
        if (l->brackets < 0)
            return lex_error(l, "a bracket is closed that was not opened");
        l->at += n;
        l->token.kind = TOKEN_OP;
    }
    l->token.length = (size_t)(l->at - l->token.text);
    return true;
}
