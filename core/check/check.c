/* The way of a graph through the rules engine, and which of the two tables decides.
 *
 *   torch cell says no                    error
 *   torch cell says yes, with a bound     its bounds are errors, the ONNX row's warnings
 *   torch cell says yes and no more       the ONNX row's bounds are errors as well
 *   no torch row                          the ONNX row alone; on the CPU = error
 *   in neither table                      error, with names that look alike
 *
 * General rules of a table count as bounds of its rows, unless the row speaks of the same. */
#include <stdlib.h>
#include <string.h>

#include "core/check/rules.h"

/* ── rows ──────────────────────────────────────────────────────────────────────────────────── */

static int by_torch_name(const void *a, const void *b)
{
    return strcmp((*(const struct cell *const *)a)->op, (*(const struct cell *const *)b)->op);
}

static int by_onnx_name(const void *a, const void *b)
{
    return strcmp((*(const struct onnx_cell *const *)a)->op,
                  (*(const struct onnx_cell *const *)b)->op);
}

static bool sort_rows(struct checker *c)
{
    c->torch = ARENA_ARRAY(c->a, const struct cell *, c->m->torch_count, c->err);
    c->onnx = ARENA_ARRAY(c->a, const struct onnx_cell *, c->m->onnx_count, c->err);
    if (!c->torch || !c->onnx)
        return false;
    for (int i = 0; i < c->m->torch_count; i++)
        c->torch[i] = &c->m->torch[i];
    for (int i = 0; i < c->m->onnx_count; i++)
        c->onnx[i] = &c->m->onnx[i];
    qsort(c->torch, (size_t)c->m->torch_count, sizeof(*c->torch), by_torch_name);
    qsort(c->onnx, (size_t)c->m->onnx_count, sizeof(*c->onnx), by_onnx_name);
    return true;
}

const struct cell *checker_torch_row(const struct checker *c, const char *op)
{
    const struct cell key = {.op = op}, *p = &key;
    const struct cell **found =
        bsearch(&p, c->torch, (size_t)c->m->torch_count, sizeof(*c->torch), by_torch_name);
    return found ? *found : NULL;
}

const struct onnx_cell *checker_onnx_row(const struct checker *c, const char *op)
{
    const struct onnx_cell key = {.op = op}, *p = &key;
    const struct onnx_cell **found =
        bsearch(&p, c->onnx, (size_t)c->m->onnx_count, sizeof(*c->onnx), by_onnx_name);
    return found ? *found : NULL;
}

/* The ONNX row of a node is that of the ONNX operator it was, or else the operator's own. */
static const struct onnx_cell *onnx_row_of(const struct checker *c, const struct node *n)
{
    const char *source = n->origin.source_op;
    const struct onnx_cell *row = NULL;
    if (source && strncmp(source, "onnx:", 5) == 0)
        row = checker_onnx_row(c, source + 5);
    /* picking by an integer is Gather there, whatever the format that it comes from */
    if (!row && n->op && strcmp(n->op->name, "torch.Tensor.__getitem__") == 0 &&
        node_attr(n, "select_axes"))
        row = checker_onnx_row(c, "Gather");
    if (!row && n->op && n->op->onnx)
        row = checker_onnx_row(c, n->op->onnx);
    return row;
}

/* ── what a list says ──────────────────────────────────────────────────────────────────────── */

static bool limit_binds(const struct limit *l)
{
    if (l->advisory || l->value || l->any)
        return false;
    if (quantity_rows[l->quantity].kind != K_INFO)
        return true;
    return l->quantity == Q_LIMITS_OF || l->quantity == Q_COMPOSED_OF;
}

static bool list_binds(const struct limit *l)
{
    for (; l && l->quantity != Q_NONE; l++) {
        if (limit_binds(l))
            return true;
    }
    return false;
}

static bool same_subject(enum quantity a, enum quantity b)
{
    bool ranks = (a == Q_RANK || a == Q_SHAPE_PAIR || a == Q_MATMUL_RANKS) &&
                 (b == Q_RANK || b == Q_SHAPE_PAIR || b == Q_MATMUL_RANKS);
    bool extents = (b == Q_H || b == Q_W || b == Q_C || b == Q_N) &&
                   (a == Q_DIM_HIGHEST || a == Q_DIM_OTHER || a == Q_DIM_SIZE || a == Q_DIM_BATCH);
    return a == b || ranks || extents;
}

/* True if the row (or the one it refers to) states something about q of its tensors. */
static bool list_states(const struct checker *c, const struct limit *l, enum quantity q, bool onnx,
                        int depth)
{
    for (; l && l->quantity != Q_NONE; l++) {
        if (same_subject(l->quantity, q) && l->operand != OPERAND_WEIGHT)
            return true;
        if (l->quantity == Q_LIMITS_OF && l->in && depth < 3) {
            const struct onnx_cell *o = onnx ? checker_onnx_row(c, l->in[0]) : NULL;
            const struct cell *t = onnx ? NULL : checker_torch_row(c, l->in[0]);
            if (list_states(c, o ? o->limits : t ? t->limits : NULL, q, onnx, depth + 1))
                return true;
        }
    }
    return false;
}

/* The march's rules for all rows of a table, but for what this row states itself. */
static bool judge_general(const struct subject *s, bool onnx, const struct limit *own,
                          const struct limit *own_reading, const char *row, enum severity severity)
{
    for (int i = 0; i < s->c->m->rule_count; i++) {
        const struct general_rule *g = &s->c->m->rules[i];
        for (const struct limit *l = g->limits; g->onnx == onnx && l->quantity != Q_NONE; l++) {
            struct limit one[2] = {*l, {.quantity = Q_NONE}};
            enum op_class class = s->n->op->class;
            if (class == OPC_DETECT) /* boxes and anchors are lists, not maps */
                one[0].operand = OPERAND_FIRST;
            if (class == OPC_RECURRENT && l->quantity == Q_RANK)
                continue; /* sequences have three axes, cells two */
            if (list_states(s->c, own, l->quantity, onnx, 0) ||
                list_states(s->c, own_reading, l->quantity, onnx, 0))
                continue;
            struct subject as = *s;
            as.general = l;
            if (!judge_limits(&as, one, onnx, row, NULL, severity))
                return false;
        }
    }
    return true;
}

/* ── one node ──────────────────────────────────────────────────────────────────────────────── */

static const char *march_lacks(const struct checker *c, const char *name)
{
    const struct op *op = op_find(name);
    const struct cell *t = op ? checker_torch_row(c, op->name) : NULL;
    const struct onnx_cell *o = op && op->onnx ? checker_onnx_row(c, op->onnx) : NULL;
    bool has = t ? t->support != SUPPORT_NO : o && o->placement == PLACEMENT_BPU;
    return has ? "" : " (which the march does not have either)";
}

/* What to do about an operator that is in no row, once per name. known: it is spelt right. */
static const char *unknown_hint(struct checker *c, const char *name, bool known)
{
    const char *near[3], *hint = hint_find(c->m, name);
    if (hint)
        return hint;
    if ((hint = name_table_find(c->suggested, name)) != NULL)
        return hint;
    size_t count = known ? 0 : op_suggest(name, near, 3);
    const char *meant = count > 0 && *march_lacks(c, near[0]) ? hint_find(c->m, near[0]) : NULL;
    if (meant)
        hint = arena_printf(c->a, c->err, "It looks like %s. %s", near[0], meant);
    else if (count > 0)
        hint =
            arena_printf(c->a, c->err, "Names that look like it: %s%s%s%s%s%s%s%s.", near[0],
                         march_lacks(c, near[0]), count > 1 ? ", " : "", count > 1 ? near[1] : "",
                         count > 1 ? march_lacks(c, near[1]) : "", count > 2 ? ", " : "",
                         count > 2 ? near[2] : "", count > 2 ? march_lacks(c, near[2]) : "");
    else
        hint = "Write it with operators of the table, or run it on the host.";
    /* name_table holds pointers to what may be changed; this never is */
    return hint && name_table_put(c->suggested, name, (void *)(uintptr_t)hint, c->err) ? hint
                                                                                       : NULL;
}

static bool judge_unknown_operator(const struct subject *s)
{
    struct checker *c = s->c;
    const struct node *n = s->n;
    const char *name = n->op ? n->op->name : n->op_name;
    struct finding *f = finding_add(c, n, SEVERITY_ERROR, "unknown_operator");
    if (!f)
        return false;
    f->message =
        arena_printf(c->a, c->err, "%.200s is not in the operator table of %s", name, c->m->title);
    f->actual = json_quote(c, name);
    f->limit = "an operator of the table";
    f->hint = unknown_hint(c, name, n->op != NULL);
    return f->message && f->actual && f->hint;
}

static bool judge_unsupported(const struct subject *s)
{
    struct checker *c = s->c;
    const struct onnx_cell *o = s->ctx->onnx;
    struct finding *f = finding_add(c, s->n, SEVERITY_ERROR, "unsupported");
    if (!f)
        return false;
    f->message =
        arena_printf(c->a, c->err, "%s is not supported by %s%s", s->ctx->torch->op, c->m->title,
                     o && o->placement == PLACEMENT_BPU
                         ? " (the ONNX table has it on the BPU; the torch table decides)"
                         : "");
    f->actual = json_quote(c, s->ctx->torch->op);
    f->limit = "supported operators";
    f->hint = hint_find(c->m, s->ctx->torch->op);
    if (!f->hint)
        f->hint = "Replace it, or move it to the host before or behind the model.";
    f->row = s->ctx->torch->op;
    f->eager_replacement = NULL; /* a module of it would not run either */
    return f->message && f->actual && rewrite_offer(s, f, Q_NONE, 0);
}

/* The ONNX table places the operator on the CPU. */
static bool judge_cpu(const struct subject *s, enum severity severity)
{
    struct checker *c = s->c;
    const struct onnx_cell *o = s->ctx->onnx;
    bool absent = o->placement == PLACEMENT_CPU_ABSENT, error = severity == SEVERITY_ERROR;
    struct finding *f = finding_add(c, s->n, severity, error ? "unsupported" : "placement");
    if (!f)
        return false;
    f->message = arena_printf(
        c->a, c->err, "%s%s does not run on the BPU of %s: the ONNX table places %s on the CPU%s%s",
        error ? "" : "by the ONNX table ", s->n->op->name, c->m->title, o->op,
        absent ? ", where it is not integrated yet" : "",
        error ? "; it would split the graph into parts on BPU and CPU, with a crossing each way"
              : "; the torch table, which decides, supports it");
    f->actual = "\"CPU\"";
    f->limit = "BPU";
    f->hint = hint_find(c->m, s->n->op->name);
    if (!f->hint && error)
        f->hint = "Replace it, or move it to the host before or behind the model.";
    f->table = "onnx";
    f->row = o->op;
    return f->message && rewrite_offer(s, f, Q_NONE, 0);
}

static bool judge_onnx(const struct subject *s, enum severity severity)
{
    const struct onnx_cell *o = s->ctx->onnx;
    return judge_limits(s, o->limits, true, o->op, NULL, severity) &&
           judge_general(s, true, o->limits, NULL, o->op, severity);
}

/* True if every tensor that n reads has a known shape; else an induced finding. */
static bool judge_shapes(const struct subject *s, bool *known)
{
    struct checker *c = s->c;
    *known = true;
    for (int i = 0; i < s->n->input_count; i++) {
        const struct value *v = s->n->inputs[i];
        if (!v || v->constant || shape_is_static(&v->shape))
            continue;
        *known = false;
        const struct node *culprit = s->ctx->culprit;
        const char *open = s->ctx->open_input ? s->ctx->open_input->name : v->name;
        struct finding *f = finding_add(c, s->n, SEVERITY_ERROR, "unknown_shape");
        if (!f)
            return false;
        char text[SHAPE_TEXT_MAX];
        f->message =
            arena_printf(c->a, c->err,
                         "the shape of input %.150s is not known (%s), because %s%.150s does "
                         "not tell it",
                         v->name, shape_text(&v->shape, text), culprit ? "node " : "input ",
                         culprit ? culprit->name : open);
        f->actual = "null";
        f->limit = "a known shape";
        f->hint = culprit ? "Solve the finding of that node first."
                          : "Give the shape with --option input.NAME=1x3x224x224.";
        f->induced = culprit != NULL;
        return f->message != NULL;
    }
    return true;
}

static bool judge_node(struct checker *c, const struct node *n)
{
    struct node_context *ctx = &c->ctx[n->index];
    struct subject s = {.c = c, .n = n, .ctx = ctx};
    const struct cell *t = ctx->torch;
    bool known;
    if (!t && (!ctx->onnx || !n->op))
        return judge_unknown_operator(&s);
    if (t && t->support == SUPPORT_NO)
        return judge_unsupported(&s);
    if (ctx->role == ROLE_RELU && ctx->host)
        return true; /* part of the convolution */
    if (!t && ctx->onnx->placement != PLACEMENT_BPU)
        return judge_cpu(&s, SEVERITY_ERROR);
    if (!judge_shapes(&s, &known) || !judge_dtypes(&s))
        return false;
    if (!t) /* what the torch table says of all operators holds for those it has no row of, too */
        return judge_onnx(&s, SEVERITY_ERROR) &&
               (list_states(c, ctx->onnx->limits, Q_RANK, true, 0) ||
                judge_general(&s, false, NULL, NULL, n->op->name, SEVERITY_ERROR));

    if (!judge_scales(&s))
        return false;
    bool binds = list_binds(t->limits) || list_binds(t->reading);
    if (!judge_limits(&s, t->limits, false, t->op, NULL, SEVERITY_ERROR) ||
        !judge_limits(&s, t->reading, false, t->op, NULL, SEVERITY_ERROR) ||
        !judge_general(&s, false, t->limits, t->reading, t->op, SEVERITY_ERROR))
        return false;
    if (!ctx->onnx || ctx->role == ROLE_QUANT || ctx->role == ROLE_DEQUANT)
        return true; /* stubs stand at the border, where the CPU is expected */
    if (ctx->onnx->placement != PLACEMENT_BPU)
        return judge_cpu(&s, SEVERITY_WARNING);
    return judge_onnx(&s, binds ? SEVERITY_WARNING : SEVERITY_ERROR);
}

/* ── the graph ─────────────────────────────────────────────────────────────────────────────── */

static bool add_note(struct checker *c, const char *text)
{
    struct check_result *r = c->r;
    const char **notes = ARENA_ARRAY(c->a, const char *, r->note_count + 1, c->err);
    if (!notes || !text)
        return false;
    if (r->note_count)
        memcpy(notes, r->notes, (size_t)r->note_count * sizeof(*notes));
    notes[r->note_count++] = text;
    r->notes = notes;
    return true;
}

static bool add_notes(struct checker *c)
{
    bool unsigned_maps = false;
    for (int i = 0; i < c->g->value_count; i++)
        unsigned_maps |= c->g->values[i]->dtype == DT_QUINT8 && !c->g->values[i]->constant;
    if (c->r->assumed_dtypes &&
        !add_note(
            c, arena_printf(c->a, c->err,
                            "Tensors that the file leaves in float are judged as if quantized to "
                            "%s, the default of %s; override with dtype.NODE=qint16.",
                            dtype_name(c->m->feature_dtype), c->m->title)))
        return false;
    if (unsigned_maps &&
        !add_note(c, "Unsigned 8-bit tensors are judged as qint8: the march has no unsigned dtype, "
                     "and a conversion moves their zero point."))
        return false;
    if (c->g->opset && c->g->opset != 10 && c->g->opset != 11)
        return add_note(c,
                        arena_printf(c->a, c->err,
                                     "The ONNX operator table is written for opset 10 and 11; this "
                                     "file has opset %lld.",
                                     (long long)c->g->opset));
    return true;
}

static void count_verdicts(struct checker *c)
{
    struct check_result *r = c->r;
    bool *direct = r->induced; /* first: has a direct error; turned round below */
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        if (f->severity == SEVERITY_ERROR) {
            r->error_count++;
            if (!f->node)
                continue;
            r->verdicts[f->node->index] = NODE_ILLEGAL;
            direct[f->node->index] |= !f->induced;
        } else if (f->severity == SEVERITY_WARNING) {
            r->warning_count++;
        } else {
            r->advice_count++;
        }
    }
    for (int i = 0; i < c->g->node_count; i++) {
        r->induced[i] = r->verdicts[i] == NODE_ILLEGAL && !direct[i];
        if (r->verdicts[i] != NODE_ILLEGAL && c->g->nodes[i]->fold != FOLD_NONE)
            r->verdicts[i] = NODE_FOLDED;
        r->legal_count += r->verdicts[i] == NODE_LEGAL;
        r->illegal_count += r->verdicts[i] == NODE_ILLEGAL;
        r->folded_count += r->verdicts[i] == NODE_FOLDED;
    }
    r->legal = r->error_count == 0;
}

/* The first error of the node at hand, or NULL. */
static const struct finding *first_error(const struct checker *c)
{
    for (int i = c->first_finding; i < c->r->finding_count; i++) {
        if (c->r->findings[i].severity == SEVERITY_ERROR)
            return &c->r->findings[i];
    }
    return NULL;
}

static bool judge_all(struct checker *c)
{
    bool advice = c->opt && c->opt->advice_us >= 0;
    for (int i = 0; i < c->g->node_count; i++) {
        const struct node *n = c->g->nodes[i];
        struct subject s = {.c = c, .n = n, .ctx = &c->ctx[i]};
        c->first_finding = c->r->finding_count;
        c->r->fused_into[i] = c->ctx[i].host;
        if (n->fold != FOLD_NONE)
            continue;
        if (!judge_node(c, n))
            return false;
        const struct finding *error = first_error(c);
        if (error) {
            c->ctx[i].todo = error->hint;
            continue; /* first things first */
        }
        if (!judge_ranges(&s) || !judge_stubs(&s) || (advice && !judge_advice(&s)))
            return false;
    }
    return judge_placement(c) && judge_sources(c) && findings_sort(c);
}

struct check_result *check_graph(struct graph *g, const struct march *m,
                                 const struct check_options *opt, struct bpu_error *err)
{
    struct check_result *r = ARENA_NEW(g->arena, struct check_result, err);
    if (!r)
        return NULL;
    struct checker c = {.g = g, .m = m, .opt = opt, .r = r, .a = g->arena, .err = err};
    r->graph = g;
    r->march = m;
    r->verdicts = ARENA_ARRAY(g->arena, enum node_verdict, g->node_count, err);
    r->induced = ARENA_ARRAY(g->arena, bool, g->node_count, err);
    r->values = ARENA_ARRAY(g->arena, struct judged, g->value_count, err);
    r->fused_into = ARENA_ARRAY(g->arena, const struct node *, g->node_count, err);
    c.ctx = ARENA_ARRAY(g->arena, struct node_context, g->node_count, err);
    c.uses = ARENA_ARRAY(g->arena, enum use, g->value_count, err);
    c.users = graph_users_new(g, g->arena, err);
    c.suggested = name_table_new(g->arena, err);
    if (!c.suggested || !r->verdicts || !r->induced || !r->fused_into || !r->values || !c.ctx ||
        !c.uses || !c.users || !sort_rows(&c))
        return NULL;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        c.ctx[i].torch = n->op ? checker_torch_row(&c, n->op->name) : NULL;
        c.ctx[i].onnx = onnx_row_of(&c, n);
    }
    c.quantized = graph_is_quantized(g);
    if (!context_build(&c) || !context_judge_dtypes(&c) || !judge_all(&c) || !add_notes(&c))
        return NULL;
    count_verdicts(&c);
    return r;
}
