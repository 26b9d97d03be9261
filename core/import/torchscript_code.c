/* Classes and functions of the code members, found by qualified name.
 *
 * __torch__.a.b.C stands in code/__torch__/a/b.py.  A member is cut into classes and functions when
 * something in it is first asked for, by indentation alone; bodies are parsed when they are called.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"
#include "core/import/torchscript.h"

struct line {
    const char *begin, *end; /* without the line end */
    int indent, number;
};

struct cutter {
    struct ts_import *ts;
    struct ts_member *member;
    const char *prefix; /* "__torch__.a.b" */
    const char *at, *end;
    int number;
    struct ts_class *class;
    struct ts_function *open; /* whose end is not known yet */
};

static bool next_line(struct cutter *c, struct line *l)
{
    if (c->at >= c->end)
        return false;
    const char *stop = memchr(c->at, '\n', (size_t)(c->end - c->at));
    *l = (struct line){.begin = c->at, .end = stop ? stop : c->end, .number = ++c->number};
    c->at = stop ? stop + 1 : c->end;
    while (l->begin + l->indent < l->end && l->begin[l->indent] == ' ')
        l->indent++;
    return true;
}

static bool line_starts(const struct line *l, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(l->end - l->begin - l->indent) >= n &&
           memcmp(l->begin + l->indent, word, n) == 0;
}

/* The name behind `skip` characters, up to one of the stop characters. */
static char *name_behind(struct cutter *c, const struct line *l, size_t skip, const char *stops)
{
    const char *from = l->begin + l->indent + skip, *to = from;
    while (to < l->end && !strchr(stops, *to))
        to++;
    while (to > from && to[-1] == ' ')
        to--;
    char *name = arena_strndup(c->ts->arena, from, (size_t)(to - from), c->ts->err);
    if (name)
        utf8_repair(name);
    return name;
}

static bool open_function(struct cutter *c, const struct line *l, bool method)
{
    struct ts_import *ts = c->ts;
    struct ts_function *f = ARENA_NEW(ts->arena, struct ts_function, ts->err);
    char *name = f ? name_behind(c, l, 4, "(: ") : NULL;
    if (!name)
        return false;
    *f = (struct ts_function){
        .name = name, .file = c->member->path, .begin = l->begin, .end = c->end, .line = l->number};
    f->member = c->member;
    c->open = f;
    if (method)
        return name_table_put(c->class->methods, name, f, ts->err);
    const char *qualified = arena_printf(ts->arena, ts->err, "%s.%s", c->prefix, name);
    return qualified && name_table_put(ts->functions, qualified, f, ts->err);
}

static bool open_class(struct cutter *c, const struct line *l)
{
    struct ts_import *ts = c->ts;
    char *name = name_behind(c, l, 6, "(: ");
    struct ts_class *class = name ? ARENA_NEW(ts->arena, struct ts_class, ts->err) : NULL;
    if (!class)
        return false;
    class->name = arena_printf(ts->arena, ts->err, "%s.%s", c->prefix, name);
    class->methods = name_table_new(ts->arena, ts->err);
    class->constants = name_table_new(ts->arena, ts->err);
    c->class = class;
    return class->name && class->methods && class->constants &&
           name_table_put(ts->classes, class->name, class, ts->err);
}

/* "  groups : Final[int] = 1" of a class. */
static bool class_constant(struct cutter *c, const struct line *l)
{
    const char *equals = memchr(l->begin, '=', (size_t)(l->end - l->begin));
    const char *colon = memchr(l->begin, ':', (size_t)(l->end - l->begin));
    if (!equals || !colon || colon > equals || line_starts(l, "__"))
        return true;
    char *name = name_behind(c, l, 0, " :=");
    struct ts_expr *e =
        name ? ts_parse_expr(c->ts, c->member->path, equals + 1, l->end, l->number) : NULL;
    return e && name_table_put(c->class->constants, name, e, c->ts->err);
}

static bool cut_line(struct cutter *c, const struct line *l)
{
    if (l->begin + l->indent == l->end)
        return true;
    if (l->indent == 0) {
        if (c->open)
            c->open->end = l->begin;
        c->open = NULL;
        c->class = NULL;
        if (line_starts(l, "class "))
            return open_class(c, l);
        return !line_starts(l, "def ") || open_function(c, l, false);
    }
    if (l->indent != 2 || !c->class)
        return true;
    if (c->open)
        c->open->end = l->begin;
    c->open = NULL;
    return line_starts(l, "def ") ? open_function(c, l, true) : class_constant(c, l);
}

/* code/__torch__/a/b.py of "__torch__.a.b". *found false if the archive has none. */
static bool load_member(struct ts_import *ts, const char *prefix, bool *found)
{
    char *path = arena_printf(ts->arena, ts->err, "code/%s.py", prefix);
    if (!path)
        return false;
    for (char *p = path + 5; *p && strcmp(p, ".py") != 0; p++)
        if (*p == '.')
            *p = '/';
    const struct archive_member *m = archive_find(ts->archive, path);
    *found = m != NULL;
    if (!m || name_table_find(ts->members, path))
        return true;
    struct cutter c = {.ts = ts, .prefix = prefix};
    c.member = ARENA_NEW(ts->arena, struct ts_member, ts->err);
    if (!c.member || !name_table_put(ts->members, path, c.member, ts->err))
        return false;
    c.at = (const char *)archive_bytes(ts->archive, m, true, ts->err);
    if (!c.at)
        return false;
    *c.member = (struct ts_member){.path = path, .text = c.at};
    c.end = c.at + m->size;
    struct line l;
    while (next_line(&c, &l))
        if (!cut_line(&c, &l))
            return false;
    return true;
}

static void *find(struct ts_import *ts, const char *name, bool class)
{
    void *known = name_table_find(class ? ts->classes : ts->functions, name);
    const char *dot = strrchr(name, '.');
    bool found;
    if (known || !dot)
        return known;
    char *prefix = arena_strndup(ts->arena, name, (size_t)(dot - name), ts->err);
    if (!prefix || !load_member(ts, prefix, &found) || !found)
        return NULL;
    return name_table_find(class ? ts->classes : ts->functions, name);
}

struct ts_class *ts_class_find(struct ts_import *ts, const char *name)
{
    return find(ts, name, true);
}

struct ts_function *ts_function_find(struct ts_import *ts, const char *name)
{
    return find(ts, name, false);
}
