/* Export of the marches as JSON: the whole of both tables as data, in the words of the limits.
 *
 * A limit is {"quantity", "operand"?, "min"? …, "when"?, "advisory"?, "relation"?}; quantities are
 * described once at the end, so that a client can render any limit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/march/limit.h"
#include "core/march/march.h"

/* jansson steals references and takes NULL as failure, so a tree is built without checks and the
 * whole is refused if any part is missing. */
static json_t *json_or_fail(json_t *j, bool *ok)
{
    if (!j)
        *ok = false;
    return j;
}

static void put(json_t *object, const char *key, json_t *value, bool *ok)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        *ok = false;
}

static void append(json_t *array, json_t *value, bool *ok)
{
    if (!value || json_array_append_new(array, value) != 0)
        *ok = false;
}

static json_t *number(double v)
{
    return v == floor(v) && fabs(v) < 9e15 ? json_integer((json_int_t)v) : json_real(v);
}

/* A value of a set: words are strings; numbers, booleans, null and lists are written as JSON. */
static json_t *set_word(const char *word, enum quantity_kind kind)
{
    if (kind == K_WORD || kind == K_AXES || kind == K_DTYPE)
        return json_string(word);
    json_t *j = json_loads(word, JSON_DECODE_ANY, NULL);
    return j ? j : json_string(word);
}

static json_t *set_json(const char *const *words, enum quantity_kind kind, bool *ok)
{
    json_t *a = json_or_fail(json_array(), ok);
    for (int i = 0; a && words[i]; i++)
        append(a, set_word(words[i], kind), ok);
    return a;
}

static json_t *limit_json(const struct limit *l, bool *ok)
{
    const struct quantity_row *q = &quantity_rows[l->quantity];
    json_t *j = json_or_fail(json_object(), ok);
    if (!j)
        return NULL;
    put(j, "quantity", json_string(q->name), ok);
    if (operand_names[l->operand][0])
        put(j, "operand", json_string(operand_names[l->operand]), ok);
    if (l->has_min)
        put(j, l->min_open ? "min_exclusive" : "min", number(l->min), ok);
    if (l->has_max)
        put(j, l->max_open ? "max_exclusive" : "max", number(l->max), ok);
    if (l->in)
        put(j, "in", set_json(l->in, q->kind, ok), ok);
    if (l->not_in)
        put(j, "not_in", set_json(l->not_in, q->kind, ok), ok);
    if (l->power_of_two)
        put(j, "power_of_two", json_true(), ok);
    if (l->multiple_of)
        put(j, "multiple_of", json_integer(l->multiple_of), ok);
    if (l->relation)
        put(j, "relation", json_string(relation_formulas[l->relation]), ok);
    if (l->when)
        put(j, "when", json_loads(condition_rows[l->when].json, 0, NULL), ok);
    if (l->rank)
        put(j, "rank", json_integer(l->rank), ok);
    if (l->advisory)
        put(j, "advisory", json_true(), ok);
    if (l->any)
        put(j, "any", json_true(), ok);
    if (l->inferred)
        put(j, "inferred", json_true(), ok);
    if (l->value)
        put(j, "kind", json_string("value"), ok);
    if (l->why)
        put(j, "why", json_string(l->why), ok);
    if (l->reading)
        put(j, "reading", json_string(l->reading), ok);
    return j;
}

static json_t *limits_json(const struct limit *l, bool *ok)
{
    json_t *a = json_or_fail(json_array(), ok);
    for (; a && l && l->quantity != Q_NONE; l++)
        append(a, limit_json(l, ok), ok);
    return a;
}

static json_t *dtypes_json(unsigned bits, bool *ok)
{
    if (bits & SAME)
        return json_string("same_as_input");
    json_t *a = json_or_fail(json_array(), ok);
    for (int t = 0; a && t < DT_COUNT; t++) {
        if (bits & (1u << t))
            append(a, json_string(dtype_name((enum dtype)t)), ok);
    }
    return a;
}

static json_t *named_dtypes_json(const struct operand_dtypes *d, bool *ok)
{
    json_t *j = json_or_fail(json_object(), ok);
    for (; j && d->operand; d++)
        put(j, d->operand, dtypes_json(d->dtypes, ok), ok);
    return j;
}

static json_t *torch_json(const struct cell *c, bool *ok)
{
    json_t *j = json_or_fail(json_object(), ok);
    if (!j)
        return NULL;
    put(j, "op", json_string(c->op), ok);
    const char *eager = march_eager_replacement(c->op);
    put(j, "eager_replacement", eager ? json_string(eager) : json_null(), ok);
    put(j, "supported", json_boolean(c->support != SUPPORT_NO), ok);
    put(j, "blank", json_boolean(c->support == SUPPORT_BLANK), ok);
    put(j, "inputs", dtypes_json(c->inputs, ok), ok);
    put(j, "outputs", dtypes_json(c->outputs, ok), ok);
    if (c->operands)
        put(j, "inputs_by_name", named_dtypes_json(c->operands, ok), ok);
    if (c->results)
        put(j, "outputs_by_name", named_dtypes_json(c->results, ok), ok);
    put(j, "limits", limits_json(c->limits, ok), ok);
    if (c->reading)
        put(j, "reading_limits", limits_json(c->reading, ok), ok);
    if (c->refers)
        put(j, "refers_to", json_string(c->refers), ok);
    if (c->note)
        put(j, "reading", json_string(c->note), ok);
    return j;
}

static json_t *onnx_json(const struct onnx_cell *c, bool *ok)
{
    static const char *const placements[] = {"BPU", "CPU", "CPU*"};
    json_t *j = json_or_fail(json_object(), ok);
    if (!j)
        return NULL;
    put(j, "op", json_string(c->op), ok);
    put(j, "placement", json_string(placements[c->placement]), ok);
    put(j, "limits", limits_json(c->limits, ok), ok);
    if (c->refers)
        put(j, "refers_to", json_string(c->refers), ok);
    if (c->note)
        put(j, "reading", json_string(c->note), ok);
    return j;
}

static json_t *rules_json(const struct march *m, bool *ok)
{
    json_t *a = json_or_fail(json_array(), ok);
    for (int i = 0; a && i < m->rule_count; i++) {
        json_t *r = json_or_fail(json_object(), ok);
        if (!r)
            break;
        put(r, "id", json_string(m->rules[i].id), ok);
        put(r, "table", json_string(m->rules[i].onnx ? "onnx" : "torch"), ok);
        put(r, "limits", limits_json(m->rules[i].limits, ok), ok);
        append(a, r, ok);
    }
    return a;
}

static json_t *head_json(const struct march *m, bool *ok)
{
    json_t *j = json_or_fail(json_object(), ok);
    if (!j)
        return NULL;
    put(j, "name", json_string(m->name), ok);
    put(j, "title", json_string(m->title), ok);
    json_t *boards = json_or_fail(json_array(), ok);
    for (int i = 0; boards && m->boards[i]; i++)
        append(boards, json_string(m->boards[i]), ok);
    put(j, "boards", boards, ok);
    return j;
}

static json_t *march_ops_one(const struct march *m, bool *ok)
{
    json_t *j = head_json(m, ok);
    if (!j)
        return NULL;
    json_t *torch = json_or_fail(json_array(), ok), *onnx = json_or_fail(json_array(), ok);
    for (int i = 0; torch && i < m->torch_count; i++)
        append(torch, torch_json(&m->torch[i], ok), ok);
    for (int i = 0; onnx && i < m->onnx_count; i++)
        append(onnx, onnx_json(&m->onnx[i], ok), ok);
    put(j, "general_rules", rules_json(m, ok), ok);
    put(j, "torch", torch, ok);
    put(j, "onnx", onnx, ok);
    return j;
}

static json_t *quantities_json(bool *ok)
{
    static const char *const kinds[] = {"number", "boolean", "word",  "tristate",
                                        "axes",   "list",    "dtype", "statement"};
    json_t *j = json_or_fail(json_object(), ok);
    for (int i = 1; j && i < Q_COUNT; i++) {
        const struct quantity_row *q = &quantity_rows[i];
        json_t *row = json_or_fail(json_object(), ok);
        if (!row)
            break;
        put(row, "kind", json_string(kinds[q->kind]), ok);
        put(row, "description", json_string(q->what), ok);
        if (q->todo[0])
            put(row, "hint", json_string(q->todo), ok);
        put(j, q->name, row, ok);
    }
    return j;
}

static bool json_write(json_t *j, bool ok, struct buf *out, struct bpu_error *err)
{
    char *text = ok && j ? json_dumps(j, JSON_INDENT(1)) : NULL;
    json_decref(j);
    if (!text)
        return error_set(err, BPU_NO_MEMORY, NULL, "no memory for the description of the marches");
    buf_puts(out, text);
    buf_putc(out, '\n');
    free(text);
    return buf_ok(out, err);
}

bool march_list_json(struct buf *out, struct bpu_error *err)
{
    bool ok = true;
    size_t count;
    const struct march *const *list = march_list(&count);
    json_t *j = json_object(), *items = json_array();
    for (size_t i = 0; items && i < count; i++)
        append(items, head_json(list[i], &ok), &ok);
    put(j, "items", items, &ok);
    return json_write(j, ok, out, err);
}

/* A figure that is not known is null. */
static json_t *figure(double v)
{
    return v > 0 ? json_real(v) : json_null();
}

/* What advice and the cost of crossings are computed from; docs/findings.md says how. */
static json_t *figures_json(const struct march *m, bool *ok)
{
    const struct figures *f = &m->figures;
    json_t *j = json_object(), *blocks = json_array(), *depthwise = json_array();
    put(j, "macs_per_us", figure(f->macs_per_us), ok);
    put(j, "elements_per_us", figure(f->elements_per_us), ok);
    put(j, "ddr_bytes_per_us", figure(f->ddr_bytes_per_us), ok);
    put(j, "in_channels_per_group_multiple", json_integer(f->in_multiple), ok);
    put(j, "out_channels_per_group_multiple", json_integer(f->out_multiple), ok);
    for (const struct machine_block *b = f->blocks; blocks && b && b->h > 0; b++)
        append(blocks, json_string(b->name), ok);
    put(j, "blocks", blocks, ok);
    for (const struct depthwise_rate *r = f->depthwise; depthwise && r;
         r = r->side ? r + 1 : NULL) {
        json_t *row = json_object();
        put(row, "side", r->side ? json_integer(r->side) : json_null(), ok);
        put(row, "macs_per_us", figure(r->macs_per_us), ok);
        append(depthwise, row, ok);
    }
    put(j, "depthwise", depthwise, ok);
    return j;
}

static json_t *row_json(const char *name, const char *text, const char *unit, double value,
                        const char *evidence, bool *ok)
{
    json_t *j = json_or_fail(json_object(), ok);
    if (!j)
        return NULL;
    put(j, "name", json_string(name), ok);
    put(j, "text", json_string(text), ok);
    put(j, "value", number(value), ok);
    put(j, "unit", json_string(unit), ok);
    put(j, "evidence", json_string(evidence), ok);
    return j;
}

/* What the compiler and the estimator know of the hardware; docs/machine.md. */
static json_t *machine_json(const struct machine *m, bool *ok)
{
    json_t *j = json_object(), *rows = json_array(), *blocks = json_array(),
           *engines = json_array();
    for (const struct machine_row *r = machine_rows; rows && r->name; r++) {
        const struct machine_figure *f = machine_row_figure(m, r);
        append(rows, row_json(r->name, r->text, r->unit, f->v, f->evidence, ok), ok);
    }
    for (const struct machine_block *b = m->blocks; blocks && b->h > 0; b++) {
        json_t *row = json_object();
        put(row, "name", json_string(b->name), ok);
        put(row, "h", json_integer(b->h), ok);
        put(row, "w", json_integer(b->w), ok);
        put(row, "c", json_integer(b->c), ok);
        put(row, "evidence", json_string(b->evidence), ok);
        append(blocks, row, ok);
    }
    for (int e = 0; engines && e < ENGINE_COUNT; e++) {
        json_t *row = json_object();
        put(row, "name", json_string(engine_name((enum engine)e)), ok);
        put(row, "text", json_string(engine_text((enum engine)e)), ok);
        append(engines, row, ok);
    }
    put(j, "figures", rows, ok);
    put(j, "blocks", blocks, ok);
    put(j, "engines", engines, ok);
    return j;
}

bool march_json(const struct march *m, struct buf *out, struct bpu_error *err)
{
    bool ok = true;
    json_t *j = head_json(m, &ok);
    put(j, "feature_dtype", json_string(dtype_name(m->feature_dtype)), &ok);
    put(j, "general_rules", rules_json(m, &ok), &ok);
    put(j, "figures", figures_json(m, &ok), &ok);
    put(j, "machine", machine_json(m->machine, &ok), &ok);
    put(j, "torch_rows", json_integer(m->torch_count), &ok);
    put(j, "onnx_rows", json_integer(m->onnx_count), &ok);
    return json_write(j, ok, out, err);
}

bool march_ops_json(const struct march *m, struct buf *out, struct bpu_error *err)
{
    bool ok = true;
    size_t count;
    const struct march *const *list = march_list(&count);
    json_t *j = json_object(), *items = json_array();
    put(j, "schema", json_string("bpuhub.ops/1"), &ok);
    for (size_t i = 0; items && i < count; i++) {
        if (!m || list[i] == m)
            append(items, march_ops_one(list[i], &ok), &ok);
    }
    put(j, "marches", items, &ok);
    put(j, "quantities", quantities_json(&ok), &ok);
    return json_write(j, ok, out, err);
}
