/* The user's own source lines, from the tables that PyTorch puts beside the code.
 *
 * code/a/b.py.debug_pkl maps byte ranges of code/a/b.py to ranges of Python source:
 *
 *   (row, …)                                            of older versions
 *   ("FORMAT_WITH_STRING_TABLE", (text, …), (row, …))   of newer ones
 *   row     (offset in the code, tag, range) in any order behind the offset, the tag may be missing
 *   range   (source, begin, end)
 *   source  (text, file, line)                          text: a list of indices of strings in the
 *                                                       newer form, and file an index
 *
 * For scripted code `text` is a function and `line` its first; for traced code `text` is the stack
 * of Python's frames at the call, innermost first, one "FILE(LINE): FUNCTION" a line.
 *
 * A table is read when a node asks for it, into memory of its own, and only file and line of each
 * range are kept.  It is a comfort: if it is damaged or too large, a note says so, and nodes name
 * their line of the code member instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"
#include "core/import/torchscript.h"

enum {
    MAX_TABLE = 8 << 20,     /* bytes of one table */
    MAX_TABLES = 64 << 20,   /* of all */
    MAX_MEMORY = 128 << 20,  /* while one is read */
    MAX_SCANNED = 128 << 20, /* characters of source that are gone through */
    MAX_FILE = 200,
    MAX_PATH = 4096,
};

/* From `offset` of the code on; file NULL: nothing of the user's. */
struct row {
    size_t offset;
    const char *file;
    int64_t line;
};

struct ts_source {
    struct row *rows;
    size_t count, capacity;
};

struct loader {
    struct ts_import *ts;
    struct arena scratch;
    struct bpu_error why; /* what is wrong with the table */
    struct ts_source *out;
    const struct py_value *strings; /* NULL in the older form */
    size_t scanned;
};

/* ── whose file it is ── */

static bool has_part(const char *path, const char *part)
{
    size_t n = strlen(part);
    for (const char *at = strstr(path, part); at; at = strstr(at + n, part))
        if (at == path || at[-1] == '/')
            return true;
    return false;
}

/* The path below the folder of installed packages; NULL if it is not there. */
static const char *below_packages(const char *path)
{
    const char *below = NULL, *at;
    static const char *const folders[] = {"site-packages/", "dist-packages/"};
    for (size_t i = 0; i < 2; i++)
        for (at = path; (at = strstr(at, folders[i])); at += strlen(folders[i]))
            if (at + strlen(folders[i]) > below)
                below = at + strlen(folders[i]);
    return below;
}

/* Where torch.jit.trace itself begins: further out stands who called it. */
static bool is_tracer(const char *path)
{
    return has_part(path, "torch/jit/_trace.py");
}

static bool is_users(const char *path)
{
    static const char *const torch[] = {"torch/nn/",   "torch/jit/",      "torch/_",
                                        "torch/ao/",   "torch/fx/",       "torch/quantization/",
                                        "torch/onnx/", "torch/autograd/", "torch/functional.py"};
    static const char *const python[] = {"lib/python2", "lib/python3", "<"};
    const char *package = below_packages(path);
    if (package)
        return strncmp(package, "torch/", 6) != 0;
    for (size_t i = 0; i < sizeof torch / sizeof torch[0]; i++)
        if (has_part(path, torch[i]))
            return false;
    if (strncmp(path, "<ipython-input", 14) == 0)
        return true;
    for (size_t i = 0; i < sizeof python / sizeof python[0]; i++)
        if (has_part(path, python[i]))
            return false;
    return path[0] != '\0';
}

/* Printable, in valid UTF-8, and short. */
static bool is_sane(const char *s)
{
    uint32_t c;
    if (strlen(s) > MAX_FILE)
        return false;
    for (size_t n; *s; s += n)
        if ((n = utf8_character(s, &c)) == 0 || c < 0x20 || (c >= 0x7F && c < 0xA0))
            return false;
    return true;
}

/* How the file is shown: within its package, or as it was given if that leads nowhere else, or by
 * its name alone.  Never where it lay on the machine that saved the network. */
static const char *shown(const char *path)
{
    const char *package = below_packages(path), *slash = strrchr(path, '/');
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    bool outside = path[0] == '/' || path[0] == '~' || strchr(path, ':') || has_part(path, "../");
    return package ? package : outside && slash ? slash + 1 : path;
}

/* The user's file for a path of n bytes, in the job's arena.  *file NULL if it is not the user's;
 * *stop: frames further out are not worth looking at. */
static bool users_file(struct loader *l, const char *path, size_t n, const char **file, bool *stop)
{
    struct ts_import *ts = l->ts;
    *file = NULL;
    *stop = false;
    if (n > MAX_PATH)
        return true;
    char *copy = arena_strndup(&l->scratch, path, n, &l->why);
    if (!copy)
        return false;
    for (char *c = copy; *c; c++)
        if (*c == '\\')
            *c = '/';
    *stop = is_tracer(copy);
    if (*stop || !is_users(copy))
        return true;
    const char *name = shown(copy);
    if (!*name || name[strlen(name) - 1] == '/' || !is_sane(name))
        return true;
    if (!ts->source_files && !(ts->source_files = name_table_new(ts->arena, ts->err)))
        return false;
    char *known = name_table_find(ts->source_files, name);
    if (!known && (!(known = arena_strdup(ts->arena, name, ts->err)) ||
                   !name_table_put(ts->source_files, known, known, ts->err)))
        return false;
    *file = known;
    return true;
}

/* ── the table ── */

static bool damaged(struct loader *l, const char *what)
{
    return error_set(&l->why, BPU_BAD_MODEL, NULL, "%s", what);
}

static bool is_list(const struct py_value *v)
{
    return v->kind == PY_TUPLE || v->kind == PY_LIST;
}

/* String `i` of the table of strings; NULL if there is none. */
static const char *string_at(const struct loader *l, const struct py_value *i)
{
    const struct py_value *s = l->strings;
    if (!s || i->kind != PY_INT || i->i < 0 || (uint64_t)i->i >= s->count ||
        s->items[i->i]->kind != PY_STRING)
        return NULL;
    return s->items[i->i]->text;
}

static bool count_scanned(struct loader *l, size_t n)
{
    l->scanned += n;
    return l->scanned <= MAX_SCANNED ||
           error_set(&l->why, BPU_LIMIT, NULL, "it is too large to go through");
}

/* The text of a source in one piece. */
static const char *source_text(struct loader *l, const struct py_value *v)
{
    const char *s;
    size_t size = 0;
    if (v->kind == PY_STRING)
        return count_scanned(l, strlen(v->text)) ? v->text : NULL;
    if (!is_list(v)) {
        damaged(l, "the text of a source is no string");
        return NULL;
    }
    for (size_t i = 0; i < v->count; i++) {
        if (!(s = string_at(l, v->items[i]))) {
            damaged(l, "a source has a string that is not in the table");
            return NULL;
        }
        size_t n = strlen(s);
        if (!count_scanned(l, n + 1))
            return NULL;
        size += n;
    }
    char *text = arena_alloc(&l->scratch, size + 1, &l->why), *to = text;
    for (size_t i = 0; text && i < v->count; i++)
        if ((s = string_at(l, v->items[i])) != NULL)
            to = stpcpy(to, s);
    return text;
}

/* "FILE(LINE): FUNCTION": length of FILE and LINE; false if the line is no frame. */
static bool read_frame(const char *at, const char *end, size_t *length, int64_t *line)
{
    for (const char *c = at; c + 3 < end; c++) {
        char *stop;
        if (*c != '(' || c[1] < '0' || c[1] > '9')
            continue;
        long n = strtol(c + 1, &stop, 10);
        if (stop + 2 >= end || memcmp(stop, "): ", 3) != 0 || n < 1 || n > INT32_MAX)
            continue;
        *length = (size_t)(c - at);
        *line = n;
        return true;
    }
    return false;
}

/* The innermost frame that is the user's. */
static bool read_stack(struct loader *l, const char *text, const char **file, int64_t *line)
{
    bool stop = false;
    *file = NULL;
    for (const char *at = text; *at && !*file && !stop;) {
        size_t n = strcspn(at, "\n"), length;
        if (read_frame(at, at + n, &length, line) && !users_file(l, at, length, file, &stop))
            return false;
        at += n + (at[n] == '\n');
    }
    return true;
}

/* A source is shared by many ranges, and read once.  What is found out is noted in its value: path:
 * the user's file or NULL, i: line, text: the source if lines of it are to be counted. */
static bool read_source(struct loader *l, struct py_value *v)
{
    if (v->ready)
        return true;
    if (v->kind != PY_TUPLE || v->count < 3 || v->items[2]->kind != PY_INT)
        return damaged(l, "a source is malformed");
    const struct py_value *name = v->items[1];
    const char *file = name->kind == PY_STRING ? name->text
                       : name->kind == PY_NONE ? ""
                                               : string_at(l, name);
    const char *text = source_text(l, v->items[0]);
    if (!text)
        return false;
    if (!file)
        return damaged(l, "the file of a source is no string");
    size_t n = strlen(file), length;
    int64_t line, first = v->items[2]->i;
    bool stop, traced = n && strncmp(text, file, n) == 0 && text[n] == '(' &&
                        read_frame(text, text + strcspn(text, "\n"), &length, &line) &&
                        length == n && line == first;
    v->ready = true;
    v->i = first;
    if (traced)
        return read_stack(l, text, &v->path, &v->i);
    v->text = text;
    return users_file(l, file, n, &v->path, &stop);
}

static bool add_row(struct loader *l, int64_t offset, const char *file, int64_t line)
{
    struct ts_source *out = l->out;
    const struct row *last = out->count ? &out->rows[out->count - 1] : NULL;
    if (line < 1 || line > INT32_MAX)
        file = NULL;
    if (offset < 0 || (last && (uint64_t)offset < last->offset))
        return damaged(l, "its ranges are not in order");
    if (last ? last->file == file && (!file || last->line == line) : !file)
        return true;
    struct row *rows = arena_grow(l->ts->arena, out->rows, out->count, out->count + 1, sizeof *rows,
                                  &out->capacity, l->ts->err);
    if (!rows)
        return false;
    out->rows = rows;
    rows[out->count++] = (struct row){(size_t)offset, file, line};
    return true;
}

static bool read_row(struct loader *l, const struct py_value *row)
{
    const struct py_value *range = NULL;
    if (row->kind != PY_TUPLE || row->count < 2 || row->items[0]->kind != PY_INT)
        return damaged(l, "a row is malformed");
    for (size_t i = 1; i < row->count && !range; i++)
        if (row->items[i]->kind == PY_TUPLE)
            range = row->items[i];
    if (!range || range->count < 3 || range->items[1]->kind != PY_INT)
        return damaged(l, "a row is malformed");
    struct py_value *source = range->items[0];
    if (!read_source(l, source))
        return false;
    int64_t line = source->i, begin = range->items[1]->i;
    if (source->text && source->path)
        for (const char *c = source->text; *c && c - source->text < begin;) {
            const char *end = strchr(c, '\n');
            if (!end || end - source->text >= begin)
                break;
            if (!count_scanned(l, (size_t)(end - c) + 1))
                return false;
            if (__builtin_add_overflow(line, 1, &line))
                return damaged(l, "a line has an absurd number");
            c = end + 1;
        }
    return add_row(l, row->items[0]->i, source->path, line);
}

static bool read_table(struct loader *l, const struct py_value *top)
{
    const struct py_value *rows = top;
    if (top->kind == PY_TUPLE && top->count == 3 && top->items[0]->kind == PY_STRING &&
        strcmp(top->items[0]->text, "FORMAT_WITH_STRING_TABLE") == 0) {
        l->strings = top->items[1];
        rows = top->items[2];
        if (!is_list(l->strings))
            return damaged(l, "it has no table of strings");
    }
    if (!is_list(rows))
        return damaged(l, "it has no rows");
    for (size_t i = 0; i < rows->count; i++)
        if (!read_row(l, rows->items[i]))
            return false;
    return true;
}

/* One note, however many tables are damaged. */
static bool note(struct loader *l, const char *member)
{
    struct ts_import *ts = l->ts;
    if (ts->source_noted)
        return true;
    ts->source_noted = true;
    return graph_add_note(
        ts->graph, ts->err,
        "The table of source lines %s is not read: %s%s%s. Findings name "
        "lines of the archive's own code there.",
        member, l->why.code == BPU_NO_MEMORY ? "it needs too much memory" : l->why.message,
        l->why.where[0] ? ", " : "", l->why.where);
}

static bool read_member(struct loader *l, const struct archive_member *m)
{
    struct ts_import *ts = l->ts;
    struct archive *z = ts->archive, view;
    ts->source_bytes += m->size;
    if (m->size > MAX_TABLE || ts->source_bytes > MAX_TABLES)
        return error_set(&l->why, BPU_LIMIT, NULL, "it is too large");
    /* libzip's handle belongs to the archive, not to the table. */
    if (m->method != 0 && !z->zip && !archive_bytes(z, m, true, &l->why))
        return false;
    view = *z;
    view.arena = &l->scratch;
    struct pickle_source src = {&l->scratch, &view, m, "", false};
    struct py_value *top = pickle_read(&src, &l->why);
    return top && read_table(l, top);
}

/* False if the job's own memory has an end. */
static bool load(struct ts_import *ts, struct ts_member *member)
{
    bool failed = ts->err->code != BPU_NONE; /* the line is wanted for an error's place */
    member->looked = true;
    const char *path = arena_printf(ts->arena, ts->err, "%s.debug_pkl", member->path);
    const struct archive_member *m = path ? archive_find(ts->archive, path) : NULL;
    if (!m)
        return path != NULL;
    struct loader l = {.ts = ts, .out = ARENA_NEW(ts->arena, struct ts_source, ts->err)};
    if (!l.out)
        return false;
    size_t left = ts->arena->quota - ts->arena->used;
    arena_init(&l.scratch, left < MAX_MEMORY ? left : MAX_MEMORY);
    bool ok = read_member(&l, m);
    arena_fini(&l.scratch);
    if (ok)
        member->source = l.out;
    if (!failed && ts->err->code != BPU_NONE)
        return false;
    return ok || note(&l, path);
}

/* ── asking ── */

/* The user's line of one frame. *file NULL: the table names none. */
static bool frame_line(struct ts_import *ts, const struct ts_frame *f, const char **file, int *line)
{
    struct ts_member *m = f->function->member;
    *file = NULL;
    if (!m || !f->at)
        return true;
    if (!m->looked && !load(ts, m))
        return false;
    const struct ts_source *s = m->source;
    size_t at = (size_t)(f->at - m->text), low = 0, high = s ? s->count : 0;
    while (low < high) { /* the last row that begins at `at` or before */
        size_t middle = low + (high - low) / 2;
        if (s->rows[middle].offset <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) {
        *file = s->rows[low - 1].file;
        *line = (int)s->rows[low - 1].line;
    }
    return true;
}

bool ts_user_line(struct ts_import *ts, const char **file, int *line)
{
    *file = NULL;
    for (const struct ts_frame *f = ts->frame; f && !*file; f = f->caller)
        if (!frame_line(ts, f, file, line))
            return false;
    return true;
}

bool ts_origin(struct ts_import *ts, struct origin *o)
{
    const char *file;
    int line;
    o->file = ts->frame->function->file;
    o->line = ts->frame->line;
    if (ts->frame->node)
        return true;
    if (!ts_user_line(ts, &file, &line))
        return false;
    if (file) {
        o->file = file;
        o->line = line;
    }
    return true;
}
