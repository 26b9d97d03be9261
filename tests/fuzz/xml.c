/* A reader of XML that keeps nothing but the names of open elements. */
#include "tests/fuzz/xml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XML_DEPTH 64

struct xml {
    const char *text, *at, *end;
    char *why;
    const char *open[XML_DEPTH];
    size_t length[XML_DEPTH];
    int depth, roots;
};

static bool xml_bad(struct xml *x, const char *what)
{
    snprintf(x->why, 128, "byte %td: %s: %.40s", x->at - x->text, what, x->at);
    return false;
}

static bool xml_starts(const struct xml *x, const char *s)
{
    size_t n = strlen(s);
    return (size_t)(x->end - x->at) >= n && memcmp(x->at, s, n) == 0;
}

static void xml_space(struct xml *x)
{
    while (x->at < x->end && isspace((unsigned char)*x->at))
        x->at++;
}

static size_t xml_name(struct xml *x)
{
    const char *from = x->at;
    if (x->at < x->end && (isalpha((unsigned char)*x->at) || *x->at == '_'))
        while (x->at < x->end && (isalnum((unsigned char)*x->at) || strchr("_-.:", *x->at)))
            x->at++;
    return (size_t)(x->at - from);
}

static bool xml_char_legal(unsigned long c)
{
    return c == 9 || c == 10 || c == 13 ||
           (c >= 0x20 && c != 0xFFFE && c != 0xFFFF && c < 0x110000);
}

static bool xml_reference(struct xml *x)
{
    static const char *const named[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (xml_starts(x, named[i])) {
            x->at += strlen(named[i]);
            return true;
        }
    if (xml_starts(x, "&#")) {
        bool hex = xml_starts(x, "&#x");
        char *end;
        unsigned long c = strtoul(x->at + (hex ? 3 : 2), &end, hex ? 16 : 10);
        if (*end == ';' && xml_char_legal(c)) {
            x->at = end + 1;
            return true;
        }
    }
    return xml_bad(x, "no reference");
}

/* Characters up to `until` or '<'. */
static bool xml_text(struct xml *x, char until)
{
    while (x->at < x->end && *x->at != '<' && *x->at != until) {
        if (*x->at == '&') {
            if (!xml_reference(x))
                return false;
            continue;
        }
        if (!xml_char_legal((unsigned char)*x->at))
            return xml_bad(x, "a control character");
        if (xml_starts(x, "]]>"))
            return xml_bad(x, "]]> in text");
        if (xml_starts(x, "\xEF\xBF\xBE") || xml_starts(x, "\xEF\xBF\xBF"))
            return xml_bad(x, "U+FFFE or U+FFFF");
        x->at++;
    }
    return true;
}

#define XML_ATTRIBUTES 64

static bool xml_open(struct xml *x)
{
    const char *name = ++x->at, *seen[XML_ATTRIBUTES];
    size_t n = xml_name(x), lengths[XML_ATTRIBUTES];
    if (n == 0)
        return xml_bad(x, "no name of an element");
    for (size_t count = 0;;) {
        bool space = x->at < x->end && isspace((unsigned char)*x->at);
        xml_space(x);
        if (xml_starts(x, "/>")) {
            x->at += 2;
            x->roots += x->depth == 0;
            return true;
        }
        if (xml_starts(x, ">"))
            break;
        const char *attribute = x->at;
        size_t length = xml_name(x);
        if (!space || length == 0 || count == XML_ATTRIBUTES)
            return xml_bad(x, "no attribute");
        for (size_t i = 0; i < count; i++)
            if (lengths[i] == length && memcmp(seen[i], attribute, length) == 0)
                return xml_bad(x, "an attribute twice");
        seen[count] = attribute;
        lengths[count++] = length;
        if (!xml_starts(x, "=\"") && !xml_starts(x, "='"))
            return xml_bad(x, "an attribute without a value");
        char quote = x->at[1];
        x->at += 2;
        if (!xml_text(x, quote))
            return false;
        if (x->at == x->end || *x->at != quote)
            return xml_bad(x, "a value that does not end");
        x->at++;
    }
    x->at++;
    if (x->depth == XML_DEPTH)
        return xml_bad(x, "too many levels");
    x->roots += x->depth == 0;
    x->open[x->depth] = name;
    x->length[x->depth++] = n;
    return true;
}

static bool xml_close(struct xml *x)
{
    x->at += 2;
    const char *name = x->at;
    size_t n = xml_name(x);
    if (x->depth == 0 || x->length[x->depth - 1] != n ||
        memcmp(x->open[x->depth - 1], name, n) != 0)
        return xml_bad(x, "an end without a beginning");
    xml_space(x);
    if (!xml_starts(x, ">"))
        return xml_bad(x, "no end of a tag");
    x->at++;
    x->depth--;
    return true;
}

/* Behind the end of a comment or of an XML declaration. */
static bool xml_skip(struct xml *x, const char *until)
{
    const char *end = strstr(x->at, until); /* a buf ends with NUL */
    if (!end)
        return xml_bad(x, "it does not end");
    x->at = end + strlen(until);
    return true;
}

bool xml_well_formed(const char *text, size_t size, char why[128])
{
    struct xml x = {.text = text, .at = text, .end = text + size, .why = why};
    while (x.at < x.end) {
        bool ok;
        if (xml_starts(&x, "<?"))
            ok = xml_skip(&x, "?>");
        else if (xml_starts(&x, "<!--"))
            ok = xml_skip(&x, "-->");
        else if (xml_starts(&x, "</"))
            ok = xml_close(&x);
        else if (*x.at == '<')
            ok = xml_open(&x);
        else if (x.depth > 0)
            ok = xml_text(&x, '<');
        else {
            const char *from = x.at;
            xml_space(&x);
            ok = x.at > from || xml_bad(&x, "text outside the root");
        }
        if (!ok)
            return false;
    }
    return (x.depth == 0 && x.roots == 1) || xml_bad(&x, "not exactly one complete root");
}
