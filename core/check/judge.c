/* Judging one node against one list of limits, and against the dtypes of its cell.
 *
 * Text is made from the limit: what is measured, the actual value, what the march allows, when. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

/* Where a finding comes from. reading: how the reference to the list was read, or NULL. */
struct source {
    bool onnx;
    const char *row, *reading;
    enum severity severity;
};

/* ── text ──────────────────────────────────────────────────────────────────────────────────── */

static void number_text(double v, char *out, size_t size)
{
    struct measure m;
    if (v == 1.0 / 256) {
        snprintf(out, size, "1/256");
        return;
    }
    measure_number(&m, v);
    snprintf(out, size, "%.30s", m.text);
}

/* "1..31", "<= 8192", "one of nearest, bilinear", "not reflect", "a power of two". */
static const char *limit_text(struct checker *c, const struct limit *l, bool relation)
{
    char low[32], high[32], set[700] = "";
    size_t used = 0;
    number_text(l->min, low, sizeof(low));
    number_text(l->max, high, sizeof(high));
    if (relation)
        return relation_formulas[l->relation];
    const char *const *words = l->in ? l->in : l->not_in;
    for (int i = 0; words && words[i] && used < sizeof(set) - 64; i++) {
        const char *w = quantity_rows[l->quantity].kind == K_TRI && strcmp(words[i], "null") == 0
                            ? "None"
                            : words[i];
        used += (size_t)snprintf(set + used, sizeof(set) - used, "%s%s", i ? ", " : "", w);
    }
    if (l->in)
        return arena_printf(c->a, c->err, "%s%s", l->in[1] ? "one of " : "", set);
    if (l->not_in)
        return arena_printf(c->a, c->err, "not %s", set);
    if (l->power_of_two)
        return "a power of two";
    if (l->multiple_of)
        return arena_printf(c->a, c->err, "a multiple of %d", l->multiple_of);
    if (l->has_min && l->has_max && !l->min_open && !l->max_open)
        return l->min == l->max ? arena_printf(c->a, c->err, "%s", low)
                                : arena_printf(c->a, c->err, "%s..%s", low, high);
    if (l->has_min && l->has_max)
        return arena_printf(c->a, c->err, "%s %s and %s %s", l->min_open ? ">" : ">=", low,
                            l->max_open ? "<" : "<=", high);
    if (l->has_max)
        return arena_printf(c->a, c->err, "%s %s", l->max_open ? "<" : "<=", high);
    return arena_printf(c->a, c->err, "%s %s", l->min_open ? ">" : ">=", low);
}

/* Words of a measure as "N, C". */
static const char *words_text(struct checker *c, const struct measure *m)
{
    char text[256] = "";
    size_t used = 0;
    for (int i = 0; i < m->word_count && used < sizeof(text) - 64; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.40s", i ? ", " : "",
                                 m->words[i]);
    return arena_strdup(c->a, text, c->err);
}

/* The actual value as JSON. */
static const char *actual_json(struct checker *c, enum quantity_kind kind, const struct measure *m)
{
    bool literal = strcmp(m->text, "true") == 0 || strcmp(m->text, "false") == 0 ||
                   strcmp(m->text, "null") == 0;
    /* The actual value of a relation is text, whatever the quantity is; JSON has no infinite numbers. */
    if ((m->is_number && isfinite(m->number)) || (literal && (kind == K_BOOL || kind == K_TRI)))
        return arena_strdup(c->a, m->text, c->err);
    if (kind == K_AXES) {
        char text[256] = "[";
        size_t used = 1;
        for (int i = 0; i < m->word_count && used < sizeof(text) - 64; i++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\"%.40s\"", i ? "," : "",
                                     m->words[i]);
        snprintf(text + used, sizeof(text) - used, "]");
        return arena_strdup(c->a, text, c->err);
    }
    if (m->text[0] == '[')
        return arena_strdup(c->a, m->text, c->err);
    return json_quote(c, m->text);
}

/* "is 33; Bayes allows 1..31" and the forms that read better for switches and axes. */
static const char *sentence(struct checker *c, const struct limit *l, const struct source *src,
                            const struct measure *m, const char *limit, bool relation)
{
    const struct quantity_row *q = &quantity_rows[l->quantity];
    const char *march = c->m->title, *when = condition_rows[l->when].words;
    const char *space = *when ? " " : "";
    const char *row = src->onnx ? arena_printf(c->a, c->err, "ONNX %s", src->row) : src->row;
    if (!row)
        return NULL;
    if (relation)
        return arena_printf(c->a, c->err, "%s is %s; %s requires %s%s%s for %s", q->what, m->text,
                            march, limit, space, when, row);
    switch (q->kind) {
    case K_BOOL:
        if (strcmp(m->text, "true") == 0)
            return arena_printf(c->a, c->err, "%s is not supported by %s for %s%s%s", q->what,
                                march, row, space, when);
        return arena_printf(c->a, c->err, "%s supports %s only with %s%s%s", march, row, q->what,
                            space, when);
    case K_AXES:
        if (l->not_in)
            return arena_printf(c->a, c->err, "%s %s is not supported by %s for %s%s%s", q->what,
                                words_text(c, m), march, row, space, when);
        return arena_printf(c->a, c->err, "%s %s; %s allows %s%s%s for %s", q->what,
                            words_text(c, m), march, limit, space, when, row);
    default:
        return arena_printf(c->a, c->err, "%s is %s; %s allows %s%s%s for %s", q->what,
                            q->kind == K_TRI && strcmp(m->text, "null") == 0 ? "None" : m->text,
                            march, limit, space, when, row);
    }
}

/* The rule's name: quantities of a weight carry those of the layer they shape. */
static const char *rule_suffix(struct checker *c, const struct limit *l)
{
    const char *name = quantity_rows[l->quantity].name;
    if (l->operand == OPERAND_WEIGHT) {
        switch (l->quantity) {
        case Q_D: return "kernel_d";
        case Q_H: return "kernel_h";
        case Q_W: return "kernel_w";
        case Q_N: return "out_channels";
        case Q_C: return "in_channels_per_group";
        default: return "weight_dtype";
        }
    }
    switch (l->operand) {
    case OPERAND_BIAS:
    case OPERAND_SUMIN:
    case OPERAND_GRID:
    case OPERAND_INDICES:
        return arena_printf(c->a, c->err, "%s_%s", operand_names[l->operand], name);
    default: break;
    }
    if (l->quantity == Q_GEMM_BLOCKS)
        return "blocks";
    if (l->quantity == Q_WEIGHT_D_IN_C)
        return "weight_depth_channels";
    return name;
}

/* The tables count channels under several names; one finding says it once. */
static bool said_already(const struct subject *s, const char *suffix, const char *actual)
{
    static const char *const groups[][5] = {
        {"in_channels", "in_channels_per_group", "in_features", "C", NULL},
        {"out_channels", "out_channels_per_group", "out_features", NULL, NULL},
    };
    const struct checker *c = s->c;
    if (finding_exists(c, s->n, suffix))
        return true;
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
        bool member = false;
        for (int i = 0; groups[g][i]; i++)
            member |= strcmp(groups[g][i], suffix) == 0;
        for (int k = c->first_finding; member && k < c->r->finding_count; k++) {
            const struct finding *f = &c->r->findings[k];
            const char *dot = strrchr(f->rule, '.');
            for (int i = 0; dot && groups[g][i]; i++) {
                if (strcmp(dot + 1, groups[g][i]) == 0 && strcmp(f->actual, actual) == 0)
                    return true;
            }
        }
    }
    return false;
}

/* v: the operand at fault, or NULL. */
static bool report(const struct subject *s, const struct limit *l, const struct source *src,
                   const struct measure *m, const struct value *v, int more, bool relation)
{
    struct checker *c = s->c;
    const struct quantity_row *q = &quantity_rows[l->quantity];
    const char *suffix = rule_suffix(c, l), *limit = limit_text(c, l, relation);
    const char *actual = actual_json(c, q->kind, m);
    if (!suffix || !limit || !actual)
        return false;
    if (said_already(s, suffix, actual))
        return true;
    enum severity severity = l->value || l->advisory ? SEVERITY_WARNING : src->severity;
    const char *text = sentence(c, l, src, m, limit, relation);
    if (!text)
        return false;
    struct finding *f = finding_add(c, s->n, severity, suffix);
    if (!f)
        return false;
    const char *reading = l->reading ? l->reading : src->reading;
    const char *operand = v ? operand_words[l->operand] : "";
    f->message =
        arena_printf(c->a, c->err, "%s%s%.200s%s%s%s%s%s%s", operand, v ? " " : "",
                     v ? v->name : "", v ? ": " : "", text, more ? " (other operands too)" : "",
                     !reading     ? ""
                     : l->reading ? " (the public table is ambiguous here: "
                                  : " (the public table is ambiguous in this row: ",
                     reading ? reading : "", reading ? ")" : "");
    f->actual = actual;
    f->limit = limit;
    f->hint = todo_text(s, l, m, v, relation);
    f->table = src->onnx ? "onnx" : "torch";
    f->row = src->row;
    double bound = l->has_max ? l->max - l->max_open : 0;
    double over = m->is_number && bound > 0 ? m->number / bound : 0;
    return f->message && rewrite_offer(s, f, l->quantity, over);
}

/* ── measuring against bounds ──────────────────────────────────────────────────────────────── */

static bool in_words(const char *const *set, const char *word)
{
    for (; *set; set++) {
        if (strcmp(*set, word) == 0)
            return true;
    }
    return false;
}

/* True if the measured value lies within the limit (its relation aside). */
static bool within(const struct limit *l, const struct measure *m)
{
    enum quantity_kind kind = quantity_rows[l->quantity].kind;
    if (l->in || l->not_in) {
        const char *const *set = l->in ? l->in : l->not_in;
        bool wanted = l->in != NULL, any = false;
        if (kind == K_AXES) {
            for (int i = 0; i < m->word_count; i++) {
                if (in_words(set, m->words[i]) != wanted)
                    return false;
            }
            return true;
        }
        if (l->quantity == Q_SHAPE_PAIR) {
            for (int i = 0; i < m->word_count; i++)
                any |= in_words(set, m->words[i]);
            return any;
        }
        return in_words(set, m->text) == wanted;
    }
    if (!m->is_number)
        return true;
    double v = m->number;
    if (l->power_of_two) {
        int exponent;
        return v > 0 && frexp(v, &exponent) == 0.5;
    }
    if (l->multiple_of && (v != floor(v) || fmod(v, l->multiple_of) != 0))
        return false;
    if (l->has_min && (l->min_open ? v <= l->min : v < l->min))
        return false;
    return !l->has_max || (l->max_open ? v < l->max : v <= l->max);
}

/* True if m lies within the limit; tells the observer. */
static bool holds(const struct subject *s, const struct limit *l, const struct source *src,
                  const struct measure *m, bool relation, bool yes)
{
    const struct check_observer *o = s->c->opt ? s->c->opt->observer : NULL;
    if (o) {
        const struct limit_seen seen = {
            .limit = s->general ? s->general : l,
            .row = src->row,
            .onnx = src->onnx,
            .relation = relation,
            .within = yes,
            .severity = l->value || l->advisory ? SEVERITY_WARNING : src->severity,
            .is_number = m->is_number,
            .number = m->number,
            .text = m->text,
            .words = m->words,
            .word_count = m->word_count,
        };
        o->seen(o->data, &seen);
    }
    return yes;
}

static bool measured_within(const struct subject *s, const struct limit *l,
                            const struct source *src, const struct measure *m)
{
    return holds(s, l, src, m, false, within(l, m));
}

/* The weight may be known by its attributes only. */
static bool judge_weight(const struct subject *s, const struct limit *l, const struct source *src)
{
    struct value *given = node_param(s->n, "weight");
    struct value stand_in = {.name = "weight", .dtype = DT_UNKNOWN};
    struct measure m;
    if (l->quantity != Q_DTYPE && !subject_weight_shape(s, &stand_in.shape))
        return true;
    const struct value *v = l->quantity == Q_DTYPE ? given : &stand_in;
    struct subject plain = *s;
    plain.view = VIEW_SELF; /* the weight's own axes */
    if (!v || !quantity_measure(&plain, l->quantity, v, &m) || measured_within(s, l, src, &m))
        return true;
    return report(s, l, src, &m, given ? given : NULL, 0, false);
}

/* Convolutions and linear layers: a second operand is a residual, which limits name apart. */
static bool is_fusable(const struct subject *s)
{
    return s->ctx->role == ROLE_CONV || s->ctx->role == ROLE_LINEAR;
}

/* What a residual add brings into the convolution that carries it out; NULL if there is none. */
static const struct value *residual_of(const struct subject *s)
{
    const struct checker *c = s->c;
    if (is_fusable(s) && node_input(s->n, 1)) /* fused in the file */
        return node_input(s->n, 1);
    for (int i = s->n->index + 1; s->ctx->sumin && i < c->g->node_count; i++) {
        const struct node *add = c->g->nodes[i];
        if (c->ctx[i].host != s->n || c->ctx[i].role != ROLE_ADD)
            continue;
        struct value *a = node_input(add, 0), *b = node_input(add, 1);
        return a && value_source(a) == s->n->outputs[0] ? b : a;
    }
    return NULL;
}

/* Operand number i that a limit names, NULL at the end, *skip where it does not count. */
static const struct value *operand_at(const struct subject *s, enum operand o, int i, bool *skip)
{
    const struct node *n = s->n;
    int inputs = is_fusable(s) && n->input_count > 1 ? 1 : n->input_count;
    int outputs = o == OPERAND_BOTH_WAYS ? n->output_count : 0;
    *skip = false;
    switch (o) {
    case OPERAND_FIRST: return i == 0 ? node_input(n, 0) : NULL;
    case OPERAND_INDICES:
        if (node_is(n, "torch.topk")) /* makes them */
            return i == 0 && n->output_count > 1 ? n->outputs[1] : NULL;
        return i == 0 ? node_input(n, 1) : NULL;
    case OPERAND_GRID:
    case OPERAND_OTHER: return i == 0 ? node_input(n, 1) : NULL;
    case OPERAND_BIAS: return i == 0 ? node_param(n, "bias") : NULL;
    case OPERAND_RESULT:
    case OPERAND_OUTPUT: return i < n->output_count ? n->outputs[i] : NULL;
    case OPERAND_INDEX_OUT: /* of a pair of values and indices the second, else the only one */
        if (i > 0 || n->output_count == 0)
            return NULL;
        *skip = value_is_feature(n->outputs[n->output_count - 1]); /* values without index */
        return n->outputs[n->output_count - 1];
    case OPERAND_SUMIN: return i == 0 ? residual_of(s) : NULL;
    default: break;
    }
    if (i >= inputs + outputs)
        return NULL;
    const struct value *v = i < inputs ? n->inputs[i] : n->outputs[i - inputs];
    static const struct value absent;
    *skip = !v || !value_is_feature(v);
    return v ? v : &absent;
}

static bool judge_operands(const struct subject *s, const struct limit *l, const struct source *src)
{
    struct measure m, worst;
    const struct value *v, *at_fault = NULL;
    bool skip;
    int more = 0;
    for (int i = 0; (v = operand_at(s, l->operand, i, &skip)) != NULL; i++) {
        if (skip || !quantity_measure(s, l->quantity, v, &m) || measured_within(s, l, src, &m))
            continue;
        if (!at_fault) {
            at_fault = v;
            worst = m;
        } else {
            more++;
        }
    }
    return !at_fault || report(s, l, src, &worst, at_fault, more, false);
}

static bool judge_one(const struct subject *s, const struct limit *l, const struct source *src)
{
    struct measure m;
    int relation = l->relation ? relation_holds(s, l->relation, &m) : -1;
    if (relation >= 0 && !holds(s, l, src, &m, true, relation) &&
        !report(s, l, src, &m, NULL, 0, true))
        return false;
    if (!l->has_min && !l->has_max && !l->in && !l->not_in && !l->power_of_two && !l->multiple_of)
        return true;
    if (l->operand == OPERAND_WEIGHT)
        return judge_weight(s, l, src);
    if (quantity_rows[l->quantity].scope == S_VALUE)
        return judge_operands(s, l, src);
    if (!quantity_measure(s, l->quantity, NULL, &m) || measured_within(s, l, src, &m))
        return true;
    return report(s, l, src, &m, NULL, 0, false);
}

/* ── statements without a bound ────────────────────────────────────────────────────────────── */

/* "BEFORE row on March AFTER detail". */
static bool statement(const struct subject *s, const struct limit *l, const struct source *src,
                      enum severity severity, const char *before, const char *after,
                      const char *detail)
{
    struct checker *c = s->c;
    const char *name = quantity_rows[l->quantity].name;
    if (finding_exists(c, s->n, name))
        return true;
    struct finding *f = finding_add(c, s->n, severity, name);
    if (!f)
        return false;
    f->message = arena_printf(c->a, c->err, "%s%s on %s%s%s", before, src->row, c->m->title, after,
                              detail ? detail : "");
    f->hint = quantity_rows[l->quantity].todo[0] ? quantity_rows[l->quantity].todo : NULL;
    f->table = src->onnx ? "onnx" : "torch";
    f->row = src->row;
    return f->message != NULL;
}

static bool judge_referred(const struct subject *s, const struct limit *l, const struct source *src)
{
    struct subject as = *s;
    const char *row = l->in && l->in[0] ? l->in[0] : "";
    if (src->onnx) {
        const struct onnx_cell *o = checker_onnx_row(s->c, row);
        if (s->ctx->role == ROLE_LINEAR || s->ctx->role == ROLE_BATCH_NORM)
            as.view = VIEW_CONV;
        return !o || o->limits == NULL || o == s->ctx->onnx ||
               judge_limits(&as, o->limits, true, src->row, l->reading, src->severity);
    }
    const struct cell *t = checker_torch_row(s->c, row);
    if (!t || t == s->ctx->torch || !t->limits)
        return true;
    if (s->ctx->role == ROLE_BATCH_NORM)
        as.view = VIEW_CONV;
    else if (s->n->op->class == OPC_POOL)
        as.view = VIEW_POOL;
    return judge_limits(&as, t->limits, false, src->row, l->reading, src->severity);
}

/* Statements that mean something for this node; the others are data only. */
static bool judge_statement(const struct subject *s, const struct limit *l,
                            const struct source *src)
{
    switch (l->quantity) {
    case Q_ACCURACY_RISK:
        return statement(s, l, src, SEVERITY_WARNING, "", " carries an accuracy risk: ", l->why);
    case Q_NOT_STANDALONE:
        return statement(s, l, src, SEVERITY_WARNING, "", " needs care: ", l->why);
    case Q_OUTPUT_FORMAT:
        return statement(s, l, src, SEVERITY_WARNING, "", " gives another output than PyTorch: ",
                         quantity_rows[Q_OUTPUT_FORMAT].what);
    case Q_CONSTANT_FOLDING:
        return statement(s, l, src, src->severity, "",
                         " exists only where it can be computed before inference; here it cannot",
                         "");
    case Q_RUN_ON_BPU:
        return statement(s, l, src, SEVERITY_WARNING, "by the ONNX table ",
                         " runs on the CPU unless the node is named in run_on_bpu", "");
    case Q_FUSED_INTO:
        if (s->ctx->host)
            return true;
        return statement(s, l, src, SEVERITY_WARNING, "the ONNX table knows ",
                         " only fused into the layer before it: ", l->in ? l->in[0] : NULL);
    case Q_LIMITS_OF:
    case Q_COMPOSED_OF: return judge_referred(s, l, src);
    default: return true;
    }
}

/* An unconditional limit gives way to one that relaxes it while that one's condition holds. */
static bool relaxed(const struct subject *s, const struct limit *list, const struct limit *l)
{
    for (const struct limit *x = list; !l->when && x->quantity != Q_NONE; x++) {
        if (x->relaxes == l->quantity && x != l && condition_holds(s, x->when))
            return true;
    }
    return false;
}

/* The torch table has the layer, and the layer is what the ONNX limit forbids: the two differ, and
 * the torch table decides. */
static bool contradicts(const struct subject *s, const struct limit *l)
{
    return s->onnx && l->quantity == Q_MODE && node_is(s->n, "torch.nn.ReplicationPad2d");
}

bool judge_limits(const struct subject *s, const struct limit *list, bool onnx, const char *row,
                  const char *reading, enum severity severity)
{
    struct subject as = *s;
    struct source src = {.onnx = onnx, .row = row, .reading = reading, .severity = severity};
    as.onnx = onnx;
    for (const struct limit *l = list; l && l->quantity != Q_NONE; l++) {
        const struct value *x = node_input(s->n, 0);
        int rank = as.view == VIEW_CONV ? 4 : x ? x->shape.rank : -1;
        if (l->any || (l->rank && l->rank != rank) || !condition_holds(&as, l->when) ||
            relaxed(&as, list, l))
            continue;
        bool plain = quantity_rows[l->quantity].kind != K_INFO;
        src.severity = contradicts(&as, l) ? SEVERITY_WARNING : severity;
        if (plain ? !judge_one(&as, l, &src) : !judge_statement(&as, l, &src))
            return false;
    }
    return true;
}
