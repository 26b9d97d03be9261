/* limit_book: which sides of each limit some graph has met.  Include it after cmocka.h. */
#ifndef BPU_UNIT_LIMIT_BOOK_H
#define BPU_UNIT_LIMIT_BOOK_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/check.h"
#include "core/march/limit.h"
#include "core/ops/op.h"
#include "tests/unit/limit_hints.h"

/* ── the book ──────────────────────────────────────────────────────────────────────────────── */

enum side {
    AT_MAX = 1,
    PAST_MAX = 2,
    AT_MIN = 4,
    PAST_MIN = 8,
    INSIDE = 16,
    OUTSIDE = 32,
    HELD = 64,
    BROKEN = 128,
    WORDS_OF_SET = 256
};

#define MAX_ENTRIES 4096
#define MAX_SEEN 32768

static struct entry {
    const struct march *march;
    const char *row;             /* or the id of a general rule */
    bool onnx, general, decides; /* decides: breaking it is illegal, not a warning */
    const struct limit *limit;
    unsigned need, met, excused;
    unsigned long long words; /* of its set that were met */
} entries[MAX_ENTRIES];
static int entry_count;

/* What the graph at hand met; booked once its verdict is known. */
static struct met {
    struct limit_seen seen;
    char text[200];
    const char *words[12];
} met[MAX_SEEN];
static int met_count;

static void note_seen(void *data, const struct limit_seen *what)
{
    (void)data;
    if (met_count == MAX_SEEN)
        return;
    struct met *m = &met[met_count++];
    m->seen = *what;
    snprintf(m->text, sizeof(m->text), "%s", what->text);
    for (int i = 0; i < what->word_count; i++)
        m->words[i] = what->words[i];
}

/* Values that come in steps wider than one, or in fractions. */
static bool is_coarse(const struct limit *l)
{
    return l->quantity == Q_SCALE_FACTOR || l->quantity == Q_INPUT_MAGNITUDE ||
           l->quantity == Q_ALIGNED_BYTES || l->quantity == Q_ALIGNED_CHW ||
           l->quantity == Q_TENSOR_BYTES || l->quantity == Q_HW;
}

static bool near(const struct limit *l, double v, double bound, double step)
{
    return is_coarse(l) ? fabs(v - bound) <= fabs(bound) / 32 : v == bound + step;
}

/* Which sides of the limit a measured value shows. */
static unsigned sides_of(const struct limit *l, const struct met *m, unsigned long long *words)
{
    const struct limit_seen *s = &m->seen;
    unsigned sides = 0;
    *words = 0;
    if (s->relation)
        return s->within ? HELD : BROKEN;
    for (int i = 0; l->in && l->in[i]; i++) {
        bool hit = strcmp(l->in[i], m->text) == 0;
        for (int k = 0; k < s->word_count; k++)
            hit |= strcmp(l->in[i], m->words[k]) == 0;
        *words |= hit ? 1ull << i : 0;
    }
    for (int i = 0; l->not_in && l->not_in[i]; i++) {
        bool hit = strcmp(l->not_in[i], m->text) == 0;
        for (int k = 0; k < s->word_count; k++)
            hit |= strcmp(l->not_in[i], m->words[k]) == 0;
        *words |= hit ? 1ull << i : 0;
    }
    if (l->in || l->not_in || l->power_of_two || l->multiple_of)
        return s->within ? INSIDE : OUTSIDE;
    if (!s->is_number)
        return 0;
    if (l->has_max && s->within && near(l, s->number, l->max, -(double)l->max_open))
        sides |= AT_MAX;
    if (l->has_max && !s->within && s->number >= l->max && near(l, s->number, l->max, !l->max_open))
        sides |= PAST_MAX;
    if (l->has_min && s->within && near(l, s->number, l->min, (double)l->min_open))
        sides |= AT_MIN;
    if (l->has_min && !s->within && s->number <= l->min &&
        near(l, s->number, l->min, -(double)!l->min_open))
        sides |= PAST_MIN;
    return sides;
}

static bool lists(const struct limit *list, const struct limit *l)
{
    for (; list && list->quantity != Q_NONE; list++)
        if (list == l)
            return true;
    return false;
}

static const struct limit *referred(const struct march *m, bool onnx, const char *row)
{
    for (int i = 0; onnx && i < m->onnx_count; i++)
        if (strcmp(m->onnx[i].op, row) == 0)
            return m->onnx[i].limits;
    for (int i = 0; !onnx && i < m->torch_count; i++)
        if (strcmp(m->torch[i].op, row) == 0)
            return m->torch[i].limits;
    return NULL;
}

static void book(const struct march *march, const struct check_result *r)
{
    for (int i = 0; i < met_count; i++) {
        const struct limit_seen *s = &met[i].seen;
        for (int k = 0; k < entry_count; k++) {
            struct entry *e = &entries[k];
            unsigned long long words = 0;
            unsigned sides;
            if (e->march != march || e->onnx != s->onnx ||
                (!e->general && strcmp(e->row, s->row) != 0))
                continue;
            if (e->limit == s->limit)
                sides = sides_of(e->limit, &met[i], &words);
            else if (e->limit->quantity == Q_LIMITS_OF || e->limit->quantity == Q_COMPOSED_OF)
                sides = lists(referred(march, e->onnx, e->limit->in[0]), s->limit)
                            ? s->within ? INSIDE : OUTSIDE
                            : 0;
            else
                continue;
            /* what lies within and would be an error otherwise must be legal; what does not must be
             * told */
            bool error = s->severity == SEVERITY_ERROR;
            if (s->within ? error && !r->legal : error ? r->legal : r->finding_count == 0)
                sides = words = 0;
            e->met |= sides;
            e->words |= words;
            e->decides |= error;
        }
    }
    met_count = 0;
}

static struct check_result *judge_observed(struct graph *g, const struct march *m,
                                           struct bpu_error *err)
{
    static const struct check_observer observer = {note_seen, NULL};
    const struct check_options options = {.advice_us = -1, .observer = &observer};
    met_count = 0;
    struct check_result *r = check_graph(g, m, &options, err);
    if (r) {
        book(m, r);
        hints_check(m, r);
    }
    return r;
}

/* ── what must be met ──────────────────────────────────────────────────────────────────────── */

static unsigned sides_needed(const struct limit *l)
{
    unsigned need = 0;
    if (l->advisory || l->any)
        return 0;
    if (quantity_rows[l->quantity].kind == K_INFO)
        return l->quantity == Q_LIMITS_OF || l->quantity == Q_COMPOSED_OF ? INSIDE | OUTSIDE : 0;
    if (l->in || l->not_in || l->power_of_two || l->multiple_of)
        need |= INSIDE | OUTSIDE;
    if (l->has_max)
        need |= AT_MAX | PAST_MAX;
    if (l->has_min && !l->relation)
        need |= AT_MIN | PAST_MIN;
    if (l->relation)
        need |= HELD | BROKEN;
    return need;
}

static void enter(const struct march *m, const char *row, bool onnx, bool general,
                  const struct limit *list)
{
    for (const struct limit *l = list; l && l->quantity != Q_NONE; l++) {
        if (!sides_needed(l))
            continue;
        assert_true(entry_count < MAX_ENTRIES);
        entries[entry_count++] = (struct entry){.march = m,
                                                .row = row,
                                                .onnx = onnx,
                                                .general = general,
                                                .limit = l,
                                                .need = sides_needed(l)};
    }
}

/* An ONNX row is judged where an operator has it whose torch row does not say "not supported". */
static bool onnx_row_is_judged(const struct march *m, const char *row)
{
    size_t ops;
    const struct op *table = op_table(&ops);
    for (size_t i = 0; i < ops; i++) {
        const struct cell *c = NULL;
        for (int k = 0; k < m->torch_count; k++)
            if (strcmp(m->torch[k].op, table[i].name) == 0)
                c = &m->torch[k];
        bool here = (table[i].onnx && strcmp(table[i].onnx, row) == 0) ||
                    /* an adapter of the importer makes an add of it, and keeps its name */
                    (strcmp(row, "Sum") == 0 && strcmp(table[i].name, "torch.add") == 0);
        if (here && (!c || c->support != SUPPORT_NO))
            return true;
    }
    return false;
}

static int enter_all(void **state)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    (void)state;
    for (size_t k = 0; k < count; k++) {
        const struct march *m = list[k];
        for (int i = 0; i < m->torch_count; i++) {
            if (m->torch[i].support == SUPPORT_NO)
                continue;
            enter(m, m->torch[i].op, false, false, m->torch[i].limits);
            enter(m, m->torch[i].op, false, false, m->torch[i].reading);
        }
        for (int i = 0; i < m->onnx_count; i++)
            if (m->onnx[i].placement == PLACEMENT_BPU && onnx_row_is_judged(m, m->onnx[i].op))
                enter(m, m->onnx[i].op, true, false, m->onnx[i].limits);
        for (int i = 0; i < m->rule_count; i++)
            enter(m, m->rules[i].id, m->rules[i].onnx, true, m->rules[i].limits);
    }
    return 0;
}

#endif
