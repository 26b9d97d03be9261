/* Gates: a table of what there is, one function that judges, one sentence for each.
 *
 * Megabytes are 2^20 bytes, as in the vendor's reports. */
#include "core/job/gate.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check/check.h"
#include "core/job/compile_model.h"
#include "core/job/html_page.h"

static const struct row {
    const char *option;
    enum gate_test test;
    enum figure figure;
    double unit; /* of the limit, in those of the figure */
    const char *unit_name;
} rows[] = {
    {"max_latency_us", GATE_AT_MOST, FIGURE_LATENCY, 1, "us"},
    {"min_fps", GATE_AT_LEAST, FIGURE_FPS, 1, "frames/s"},
    {"max_ddr_mb", GATE_AT_MOST, FIGURE_DDR, 1 << 20, "MiB"},
    {"max_regression", GATE_REGRESSION, FIGURE_LATENCY, 1, "%"},
    {"fail_on", GATE_FINDINGS, FIGURE_LATENCY, 1, "findings"},
};

/* What max_regression=3% is about. */
static const enum figure regressions[] = {FIGURE_LATENCY, FIGURE_DDR};

static const char *const new_words[] = {"new-errors", "new-warnings", "new-findings", NULL};
static const char *const check_words[] = {"error", "warning", "advice", "cpu-split", NULL};

static const struct row *row_find(const char *option)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].option, option) == 0)
            return &rows[i];
    return NULL;
}

bool gate_option(const char *key)
{
    return row_find(key) != NULL;
}

const char *gate_option_of_flag(const char *flag)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *a = rows[i].option, *b = flag;
        while (*a && (*a == *b || (*a == '_' && *b == '-'))) /* the option itself is a flag as well */
            a++, b++;
        if (!*a && !*b)
            return rows[i].option;
    }
    return NULL;
}

/* ── reading ── */

static bool add(struct gates *g, const struct gate *one, const char *option, struct bpu_error *err)
{
    if (g->count == GATE_MOST)
        return error_set(err, BPU_BAD_OPTION, option, "there are more than %d gates", GATE_MOST);
    g->items[g->count++] = *one;
    return true;
}

/* A number from 0 up; behind it stands `end`, or nothing. */
static bool number(const char *text, const char **behind, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    *behind = end;
    return !errno && end != text && isfinite(*out) && *out >= 0 && *text != '-' && *text != ' ' &&
           !memchr(text, 'x', (size_t)(end - text));
}

static bool read_absolute(const struct row *r, const char *value, struct gates *g,
                          struct bpu_error *err)
{
    struct gate one = {.option = r->option, .test = r->test, .figure = r->figure};
    const char *behind;
    if (!number(value, &behind, &one.limit) || *behind) {
        error_set(err, BPU_BAD_OPTION, r->option, "%s is \"%.80s\", not a number", r->option, value);
        return error_hint(err, "Give a number of %s, for example %s=100.", r->unit_name, r->option);
    }
    return add(g, &one, r->option, err);
}

static bool bad_regression(const char *part, size_t n, struct bpu_error *err)
{
    error_set(err, BPU_BAD_OPTION, "max_regression", "\"%.*s\" is no limit for a regression",
              n > 80 ? 80 : (int)n, part);
    return error_hint(err, "Give a percentage, 3%%, or one for each figure: latency=3%%,ddr=5%%. Figures are "
                           "latency, fps, ddr, sram, program, spills, top1 and the others of the report.");
}

static bool set_regression(struct gates *g, enum figure f, double limit, bool over,
                           struct bpu_error *err)
{
    for (int i = 0; i < g->count; i++)
        if (g->items[i].test == GATE_REGRESSION && g->items[i].figure == f) {
            if (over)
                g->items[i].limit = limit;
            return true;
        }
    return add(g, &(struct gate){.option = "max_regression", .test = GATE_REGRESSION, .figure = f, .limit = limit},
               "max_regression", err);
}

/* One part between commas: "3%" or "latency=3%". What names a figure wins over what does not, in any order. */
static bool read_part(const char *part, size_t n, struct gates *g, struct bpu_error *err)
{
    const char *eq = memchr(part, '=', n), *value = eq ? eq + 1 : part, *behind;
    enum figure f = FIGURE_LATENCY;
    double limit;
    if (eq && (!figure_find(part, (size_t)(eq - part), &f) || figure_row(f)->better == BETTER_NEITHER))
        return bad_regression(part, n, err);
    if (!number(value, &behind, &limit))
        return bad_regression(part, n, err);
    behind += *behind == '%';
    if (behind != part + n)
        return bad_regression(part, n, err);
    if (eq)
        return set_regression(g, f, limit, true, err);
    for (size_t i = 0; i < sizeof regressions / sizeof regressions[0]; i++)
        if (!set_regression(g, regressions[i], limit, false, err))
            return false;
    return true;
}

static bool read_regression(const char *value, struct gates *g, struct bpu_error *err)
{
    for (const char *p = value;; p++) {
        size_t n = strcspn(p, ",");
        if (!read_part(p, n, g, err))
            return false;
        p += n;
        if (!*p)
            return true;
    }
}

static bool read_findings(const char *value, bool compared, struct gates *g, struct bpu_error *err)
{
    for (const char *const *w = compared ? new_words : check_words; *w; w++)
        if (strcmp(*w, value) == 0)
            return add(g, &(struct gate){.option = "fail_on", .test = GATE_FINDINGS, .word = *w}, "fail_on", err);
    error_set(err, BPU_BAD_OPTION, "fail_on", "\"%.80s\" is not %s", value,
              compared ? "new-errors, new-warnings or new-findings" : "error, warning, advice or cpu-split");
    return compared ? error_hint(err, "new-warnings counts errors as well, new-findings advice too.")
                    : error_hint(err, "warning counts errors as well, advice everything.");
}

static bool refuse(const struct row *r, enum gate_scope scope, struct bpu_error *err)
{
    error_set(err, BPU_BAD_OPTION, r->option, "%s is no gate of this", r->option);
    switch (scope) {
    case GATES_OF_CHECK: return error_hint(err, "A check has fail_on=error, warning, advice or cpu-split.");
    case GATES_OF_PROGRAM:
        return error_hint(err, "Programs have max_latency_us, min_fps and max_ddr_mb; %s is for bpuhub compare and "
                               "GET /v1/compare.", r->option);
    case GATES_OF_PIPELINE:
        return error_hint(err, "Pipelines have max_latency_us, min_fps, max_ddr_mb and fail_on; %s is for bpuhub "
                               "compare and GET /v1/compare.", r->option);
    default: return error_hint(err, "Gates are for check, compile, perf, pipeline and comparisons.");
    }
}

bool gates_read(const struct job_option *options, size_t count, enum gate_scope scope,
                struct gates *out, struct bpu_error *err)
{
    *out = (struct gates){0};
    for (size_t i = 0; i < count; i++) {
        const struct row *r = row_find(options[i].key);
        const char *value = options[i].value;
        bool compared = scope == GATES_OF_COMPARISON, ok;
        if (!r)
            continue;
        bool absolute = r->test == GATE_AT_MOST || r->test == GATE_AT_LEAST;
        bool program = scope == GATES_OF_PROGRAM || scope == GATES_OF_PIPELINE;
        bool checked = scope == GATES_OF_CHECK || scope == GATES_OF_PIPELINE;
        if (absolute && (compared || program))
            ok = read_absolute(r, value, out, err);
        else if (r->test == GATE_REGRESSION && compared)
            ok = read_regression(value, out, err);
        else if (r->test == GATE_FINDINGS && (compared || checked))
            ok = read_findings(value, compared, out, err);
        else
            ok = refuse(r, scope, err);
        if (!ok)
            return false;
    }
    return true;
}

/* ── judging ── */

static void judge_absolute(struct gate *g, const struct figure_value *v)
{
    const struct row *r = row_find(g->option);
    const char *label = figure_row(g->figure)->label;
    g->known = v->known;
    g->passed = false;
    if (!v->known) {
        snprintf(g->text, sizeof g->text, "%s is not known%s%.160s; %s %.6g %s is asked for", label,
                 v->why_not ? ": " : "", v->why_not ? v->why_not : "",
                 g->test == GATE_AT_MOST ? "at most" : "at least", g->limit, r->unit_name);
        return;
    }
    g->measured = v->v / r->unit;
    double over = g->test == GATE_AT_MOST ? g->measured - g->limit : g->limit - g->measured;
    g->passed = !(over > 0);
    g->over = g->passed ? 0 : over;
    if (g->passed)
        snprintf(g->text, sizeof g->text, "%s is %.6g %s; %s %.6g is asked for", label, g->measured,
                 r->unit_name, g->test == GATE_AT_MOST ? "at most" : "at least", g->limit);
    else
        snprintf(g->text, sizeof g->text, "%s is %.6g %s, %.6g %s %s the limit of %.6g (%.3g %%)",
                 label, g->measured, r->unit_name, over, r->unit_name,
                 g->test == GATE_AT_MOST ? "above" : "below", g->limit,
                 g->limit > 0 ? 100 * over / g->limit : INFINITY);
}

void gates_judge(struct gates *g, const struct figure_value *figures)
{
    for (int i = 0; i < g->count; i++)
        if (g->items[i].test == GATE_AT_MOST || g->items[i].test == GATE_AT_LEAST)
            judge_absolute(&g->items[i], &figures[g->items[i].figure]);
}

/* cpu-split: a node that leaves the BPU by either operator table; legal ones do by the ONNX table only. */
static int counted(const struct check_result *r, const char *word)
{
    if (strcmp(word, "cpu-split") == 0)
        return r->split.cpu_segments + r->split.onnx_cpu_nodes;
    bool advice = strcmp(word, "advice") == 0, warning = advice || strcmp(word, "warning") == 0;
    return r->error_count + (warning ? r->warning_count : 0) + (advice ? r->advice_count : 0);
}

void gates_judge_check(struct gates *g, const struct check_result *r)
{
    for (int i = 0; i < g->count; i++) {
        struct gate *one = &g->items[i];
        if (one->test != GATE_FINDINGS)
            continue;
        bool split = strcmp(one->word, "cpu-split") == 0;
        int n = counted(r, one->word);
        one->known = true;
        one->measured = one->over = n;
        one->passed = r->legal && n == 0;
        if (n || one->passed)
            snprintf(one->text, sizeof one->text, "%d %s; none is asked for", n,
                     split                                ? "parts or nodes on the CPU"
                     : strcmp(one->word, "error") == 0    ? "errors"
                     : strcmp(one->word, "warning") == 0  ? "errors and warnings"
                                                          : "findings");
        else
            snprintf(one->text, sizeof one->text, "the model is illegal");
    }
}

void gate_judge_regression(struct gate *g, const struct figure_value *base,
                           const struct figure_value *head)
{
    const struct figure_row *r = figure_row(g->figure);
    char a[48], b[48];
    g->passed = false;
    g->known = base->known && head->known;
    if (!g->known) {
        const struct figure_value *missing = base->known ? head : base;
        snprintf(g->text, sizeof g->text, "%s of the %s is not known%s%.160s; at most %.6g %% worse is asked for",
                 r->label, missing == base ? "base" : "head", missing->why_not ? ": " : "",
                 missing->why_not ? missing->why_not : "", g->limit);
        return;
    }
    double worse = r->better == BETTER_HIGHER ? base->v - head->v : head->v - base->v;
    g->measured = worse == 0 ? 0 : base->v != 0 ? 100 * worse / fabs(base->v) : worse > 0 ? INFINITY : -INFINITY;
    g->passed = !(g->measured > g->limit);
    g->over = g->passed ? 0 : g->measured - g->limit;
    figure_text(g->figure, base->v, a, sizeof a);
    figure_text(g->figure, head->v, b, sizeof b);
    if (g->passed && !(worse > 0))
        snprintf(g->text, sizeof g->text, "%s is no worse: %s, now %s", r->label, a, b);
    else if (!isfinite(g->measured))
        snprintf(g->text, sizeof g->text, "%s was %s and is %s; at most %.6g %% worse is asked for", r->label, a, b,
                 g->limit);
    else if (g->passed)
        snprintf(g->text, sizeof g->text, "%s was %s and is %s, %.3g %% worse; at most %.6g %% is asked for",
                 r->label, a, b, g->measured, g->limit);
    else
        snprintf(g->text, sizeof g->text, "%s was %s and is %s, %.4g %% worse, %.3g points above the limit of %.6g %%",
                 r->label, a, b, g->measured, g->over, g->limit);
}

bool gates_passed(const struct gates *g)
{
    for (int i = 0; i < g->count; i++)
        if (!g->items[i].passed)
            return false;
    return true;
}

/* ── writing ── */

static void write_one(struct json_writer *w, const struct gate *g)
{
    const struct row *r = row_find(g->option);
    writer_open(w, NULL, '{');
    writer_text(w, "gate", g->option);
    writer_text(w, "figure", g->test == GATE_FINDINGS ? g->word : figure_row(g->figure)->key);
    writer_flag(w, "passed", g->passed);
    if (!g->known)
        writer_missing(w, "measured", g->text);
    else if (isfinite(g->measured))
        writer_real(w, "measured", g->measured);
    else
        writer_missing(w, "measured", "it was 0 before, so there is no ratio");
    writer_real(w, "limit", g->limit);
    writer_real(w, "over", isfinite(g->over) ? g->over : g->measured);
    writer_text(w, "unit", r->unit_name);
    writer_text(w, "text", g->text);
    writer_close(w, '}');
}

void gates_json(struct json_writer *w, const char *key, const struct gates *g)
{
    writer_open(w, key, '{');
    writer_flag(w, "passed", gates_passed(g));
    writer_open(w, "results", '[');
    for (int i = 0; i < g->count; i++)
        write_one(w, &g->items[i]);
    writer_close(w, ']');
    writer_close(w, '}');
}

bool gates_document(const struct gates *g, struct buf *out, struct bpu_error *err)
{
    struct json_writer w = {.out = out};
    gates_json(&w, NULL, g);
    buf_putc(out, '\n');
    return buf_ok(out, err);
}

void gates_text(const struct gates *g, struct buf *out)
{
    for (int i = 0; i < g->count; i++)
        buf_printf(out, "gate %s%s%s: %s: %s\n", g->items[i].option,
                   g->items[i].test == GATE_FINDINGS ? "=" : "",
                   g->items[i].test == GATE_FINDINGS ? g->items[i].word : "",
                   g->items[i].passed ? "passed" : "FAILED", g->items[i].text);
}

void gates_html(const struct gates *g, struct buf *out)
{
    static const char *const columns[] = {"Gate", "Result", "Measured", NULL};
    if (!g->count)
        return;
    html_heading(out, "Gates", NULL);
    html_table(out, columns);
    for (int i = 0; i < g->count; i++) {
        const struct gate *one = &g->items[i];
        buf_puts(out, "<tr>");
        html_cell(out, one->option);
        buf_printf(out, "<td class=\"%s\">%s</td>", one->passed ? "legal" : "illegal",
                   one->passed ? "passed" : "failed");
        html_cell(out, one->text);
        buf_puts(out, "</tr>\n");
    }
    html_table_end(out);
}

/* ── figures of a compilation ── */

void gate_figures_of(const struct compilation *c, struct figure_value out[FIGURE_COUNT])
{
    static const char no_clock[] = "the clock of this march is not known";
    for (int i = 0; i < FIGURE_COUNT; i++)
        out[i] = (struct figure_value){0};
    bool clock = c->machine->clock_mhz.v > 0;
    double us = compile_us(c, c->timing.end);
    int64_t frames = c->program->input_count && c->program->inputs[0].shape.rank > 1
                         ? c->program->inputs[0].shape.dim[0] : 1;
    out[FIGURE_LATENCY] = (struct figure_value){clock, us, clock ? NULL : no_clock};
    if (clock && us > 0)
        out[FIGURE_FPS] = (struct figure_value){true, 1e6 / us * (double)(frames > 0 ? frames : 1), NULL};
    else
        out[FIGURE_FPS].why_not = clock ? "the program takes no time" : no_clock;
    out[FIGURE_DDR] =
        (struct figure_value){true, (double)(c->summary.ddr_load + c->summary.ddr_store), NULL};
}
