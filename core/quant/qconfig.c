/* qconfig: JSON into rules, rules into an answer per node.
 *
 *   {"activation": …, "weight": …, "output": …,        for the network
 *    "operators": {"torch.nn.Conv2d": {"activation": …, "weight": …}},
 *    "nodes": {"features.0.*": {…}}, "inputs": {"x": {"scale": 0.0078125}}}
 * A rule sets what it names and leaves the rest to the rules before it: network, then operators,
 * then nodes, each in the order of the file.  docs/quantization.md describes every key. */
#include "core/quant/qconfig.h"

#include <math.h>
#include <string.h>

#include "core/import/json_read.h"
#include "core/march/limit.h"
#include "core/ops/op.h"

enum { MAX_TEXT_MEMORY = 16 << 20 };

/* Which fields a rule sets. */
enum {
    SET_DTYPE = 1,
    SET_OBSERVER = 2,
    SET_PERCENTILE = 4,
    SET_AVERAGING = 8,
    SET_MIN = 16,
    SET_MAX = 32,
    SET_STD = 64,
    SET_SCALE = 128,
    SET_CANDIDATES = 256,
    SET_PER_CHANNEL = 512
};

enum rule_kind { RULE_NETWORK, RULE_OPERATOR, RULE_NODE };

struct rule {
    enum rule_kind kind;
    const char *pattern;
    unsigned set;
    struct qconfig_activation activation;
    struct qconfig_weight weight;
};

struct input_rule {
    const char *name;
    double scale;
};

struct qconfig {
    struct arena *arena;
    struct rule *rules;
    size_t count, capacity;
    struct input_rule *inputs;
    size_t input_count, input_capacity;
    bool output_quantized;
};

static const char *const observer_names[OBSERVER_COUNT + 1] = {
#define X(id, name) name,
    QCONFIG_OBSERVER_MAP(X)
#undef X
        NULL};

const char *observer_name(enum observer o)
{
    return (unsigned)o < OBSERVER_COUNT ? observer_names[o] : "none";
}

/* ── reading ── */

static bool read_number(json_t *obj, const struct json_at *at, const char *key, double lo,
                        double hi, unsigned bit, unsigned *set, double *out, struct bpu_error *err)
{
    json_t *j = json_object_get(obj, key);
    if (!j || json_is_null(j))
        return true;
    double v = json_number_value(j);
    if (!json_is_number(j))
        return json_fail(err, BPU_BAD_OPTION, AT_KEY(at, key), "%s must be a number, not %s", key,
                         json_kind(j));
    if (!(v >= lo && v <= hi))
        return json_fail(err, BPU_BAD_OPTION, AT_KEY(at, key), "%s is %g; %g to %g makes sense",
                         key, v, lo, hi);
    *out = v;
    *set |= bit;
    return true;
}

static bool find_observer(const char *name, const struct json_at *at, enum observer *out,
                          struct bpu_error *err)
{
    for (int i = 0; i < OBSERVER_COUNT; i++)
        if (strcmp(observer_names[i], name) == 0) {
            *out = (enum observer)i;
            return true;
        }
    json_fail(err, BPU_BAD_OPTION, at, "there is no observer \"%.60s\"", name);
    const char *near = json_near(name, observer_names);
    if (near)
        return error_hint(err, "Did you mean \"%s\"?", near);
    return error_hint(err, "Observers are min_max, averaging, percentile, kl, mse, clip, clip_std, "
                           "fixed_scale and mix.");
}

static bool read_candidates(json_t *obj, const struct json_at *above, struct rule *r,
                            struct bpu_error *err)
{
    const struct json_at *at = AT_KEY(above, "candidates");
    json_t *list = json_object_get(obj, "candidates"), *j;
    size_t i;
    if (!list || json_is_null(list))
        return true;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return json_fail(err, BPU_BAD_OPTION, at, "candidates must be a list of observers, not %s",
                         json_is_array(list) ? "an empty one" : json_kind(list));
    r->activation.candidates = 0;
    json_array_foreach(list, i, j)
    {
        enum observer o = OBSERVER_MIN_MAX;
        if (!json_is_string(j))
            return json_fail(err, BPU_BAD_OPTION, AT_INDEX(at, i),
                             "an observer's name is needed, not %s", json_kind(j));
        if (!find_observer(json_string_value(j), AT_INDEX(at, i), &o, err))
            return false;
        if (o == OBSERVER_MIX)
            return json_fail(err, BPU_BAD_OPTION, AT_INDEX(at, i), "mix cannot be part of itself");
        r->activation.candidates |= 1u << o;
    }
    r->set |= SET_CANDIDATES;
    return true;
}

static bool read_dtype(json_t *obj, const struct json_at *at, const char *const *names,
                       const char *words, enum dtype *out, bool *found, struct bpu_error *err)
{
    const char *name = NULL;
    *found = false;
    if (!json_text(obj, at, "dtype", false, &name, err))
        return false;
    if (!name)
        return true;
    for (size_t i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            *found = dtype_find(name, out);
    if (*found)
        return true;
    json_fail(err, BPU_BAD_OPTION, AT_KEY(at, "dtype"), "dtype is \"%.40s\"; %s", name, words);
    return error_hint(err, "See docs/quantization.md for the types of activations and weights.");
}

static bool read_activation(json_t *obj, const struct json_at *above, struct rule *r,
                            struct bpu_error *err)
{
    static const char *const keys[] = {"dtype",      "observer", "percentile", "averaging_constant",
                                       "min",        "max",      "std",        "scale",
                                       "candidates", NULL};
    static const char *const dtypes[] = {"qint8", "qint16", "float32", NULL};
    const struct json_at *at = AT_KEY(above, "activation");
    struct qconfig_activation *a = &r->activation;
    json_t *j = NULL;
    const char *name = NULL;
    bool found;
    if (!json_member(obj, above, "activation", JSON_OBJECT, false, &j, err))
        return false;
    if (!j)
        return true;
    if (!json_keys(j, at, keys, err) ||
        !read_dtype(j, at, dtypes, "qint8, qint16 and float32 (not quantized) are possible",
                    &a->dtype, &found, err) ||
        !json_text(j, at, "observer", false, &name, err))
        return false;
    r->set |= found ? SET_DTYPE : 0;
    if (name) {
        if (!find_observer(name, AT_KEY(at, "observer"), &a->observer, err))
            return false;
        r->set |= SET_OBSERVER;
    }
    if (!read_number(j, at, "percentile", 50, 100, SET_PERCENTILE, &r->set, &a->percentile, err) ||
        !read_number(j, at, "averaging_constant", 1e-6, 1, SET_AVERAGING, &r->set,
                     &a->averaging_constant, err) ||
        !read_number(j, at, "min", -1e30, 1e30, SET_MIN, &r->set, &a->min, err) ||
        !read_number(j, at, "max", -1e30, 1e30, SET_MAX, &r->set, &a->max, err) ||
        !read_number(j, at, "std", 1e-3, 1e3, SET_STD, &r->set, &a->std, err) ||
        !read_number(j, at, "scale", 1e-12, 1e12, SET_SCALE, &r->set, &a->scale, err) ||
        !read_candidates(j, at, r, err))
        return false;
    if ((r->set & SET_OBSERVER) && a->observer == OBSERVER_FIXED_SCALE && !(r->set & SET_SCALE))
        return json_fail(err, BPU_BAD_OPTION, at, "the observer fixed_scale needs \"scale\"");
    if ((r->set & SET_OBSERVER) && a->observer == OBSERVER_CLIP &&
        (!(r->set & SET_MIN) || !(r->set & SET_MAX)))
        return json_fail(err, BPU_BAD_OPTION, at, "the observer clip needs \"min\" and \"max\"");
    if ((r->set & SET_MIN) && (r->set & SET_MAX) && !(a->min < a->max))
        return json_fail(err, BPU_BAD_OPTION, at, "min %g is not below max %g", a->min, a->max);
    return true;
}

static bool read_weight(json_t *obj, const struct json_at *above, struct rule *r,
                        struct bpu_error *err)
{
    static const char *const keys[] = {"dtype", "per_channel", NULL};
    static const char *const dtypes[] = {"qint8", NULL};
    const struct json_at *at = AT_KEY(above, "weight");
    json_t *j = NULL, *flag;
    enum dtype t;
    bool found;
    if (!json_member(obj, above, "weight", JSON_OBJECT, false, &j, err))
        return false;
    if (!j)
        return true;
    if (!json_keys(j, at, keys, err) ||
        !read_dtype(j, at, dtypes, "weights are qint8 on every march", &t, &found, err))
        return false;
    flag = json_object_get(j, "per_channel");
    if (!flag || json_is_null(flag))
        return true;
    if (!json_is_boolean(flag))
        return json_fail(err, BPU_BAD_OPTION, AT_KEY(at, "per_channel"),
                         "per_channel must be true or false, not %s", json_kind(flag));
    r->weight.per_channel = json_is_true(flag);
    r->set |= SET_PER_CHANNEL;
    return true;
}

static struct rule *add_rule(struct qconfig *q, enum rule_kind kind, const char *pattern,
                             struct bpu_error *err)
{
    q->rules =
        arena_grow(q->arena, q->rules, q->count, q->count + 1, sizeof *q->rules, &q->capacity, err);
    const char *copy = q->rules ? arena_strdup(q->arena, pattern, err) : NULL;
    if (!copy)
        return NULL;
    struct rule *r = &q->rules[q->count++];
    *r = (struct rule){.kind = kind, .pattern = copy};
    return r;
}

/* Operators by any of their names. */
static const char *operator_name(const char *name, const struct json_at *at, struct bpu_error *err)
{
    const struct op *op = op_find(name);
    const char *near = NULL;
    if (op)
        return op->name;
    json_fail(err, BPU_BAD_OPTION, at, "there is no operator \"%.80s\"", name);
    if (op_suggest(name, &near, 1))
        error_hint(err, "Did you mean \"%s\"?", near);
    return NULL;
}

static bool read_rules(struct qconfig *q, json_t *root, const char *key, enum rule_kind kind,
                       struct bpu_error *err)
{
    static const char *const keys[] = {"activation", "weight", NULL};
    const struct json_at *at = AT_KEY(NULL, key);
    json_t *obj = NULL, *j;
    const char *name;
    if (!json_member(root, NULL, key, JSON_OBJECT, false, &obj, err))
        return false;
    json_object_foreach(obj, name, j)
    {
        const char *pattern = name;
        if (!json_is_object(j))
            return json_fail(err, BPU_BAD_OPTION, AT_KEY(at, name),
                             "an object with \"activation\" or \"weight\" is needed, not %s",
                             json_kind(j));
        if (!json_keys(j, AT_KEY(at, name), keys, err) ||
            (kind == RULE_OPERATOR && !(pattern = operator_name(name, AT_KEY(at, name), err))))
            return false;
        struct rule *r = add_rule(q, kind, pattern, err);
        if (!r || !read_activation(j, AT_KEY(at, name), r, err) ||
            !read_weight(j, AT_KEY(at, name), r, err))
            return false;
    }
    return true;
}

static bool read_output(struct qconfig *q, json_t *root, struct bpu_error *err)
{
    static const char *const keys[] = {"quantized", NULL};
    const struct json_at *at = AT_KEY(NULL, "output");
    json_t *j = NULL;
    if (!json_member(root, NULL, "output", JSON_OBJECT, false, &j, err))
        return false;
    if (!j)
        return true;
    json_t *flag = json_object_get(j, "quantized");
    if (!json_keys(j, at, keys, err))
        return false;
    if (flag && !json_is_boolean(flag))
        return json_fail(err, BPU_BAD_OPTION, AT_KEY(at, "quantized"),
                         "quantized must be true or false, not %s", json_kind(flag));
    q->output_quantized = json_is_true(flag); /* no if it is not there */
    return true;
}

static bool read_inputs(struct qconfig *q, json_t *root, struct bpu_error *err)
{
    static const char *const keys[] = {"scale", NULL};
    const struct json_at *at = AT_KEY(NULL, "inputs");
    json_t *obj = NULL, *j;
    const char *name;
    if (!json_member(root, NULL, "inputs", JSON_OBJECT, false, &obj, err))
        return false;
    json_object_foreach(obj, name, j)
    {
        unsigned set = 0;
        struct input_rule r = {0};
        if (!json_is_object(j))
            return json_fail(err, BPU_BAD_OPTION, AT_KEY(at, name),
                             "an object with \"scale\" is needed, not %s", json_kind(j));
        if (!json_keys(j, AT_KEY(at, name), keys, err) ||
            !read_number(j, AT_KEY(at, name), "scale", 1e-12, 1e12, SET_SCALE, &set, &r.scale, err))
            return false;
        if (!set)
            return json_fail(err, BPU_BAD_OPTION, AT_KEY(at, name), "\"scale\" is missing");
        r.name = arena_strdup(q->arena, name, err);
        q->inputs = arena_grow(q->arena, q->inputs, q->input_count, q->input_count + 1,
                               sizeof *q->inputs, &q->input_capacity, err);
        if (!r.name || !q->inputs)
            return false;
        q->inputs[q->input_count++] = r;
    }
    return true;
}

struct qconfig *qconfig_default(struct arena *a, struct bpu_error *err)
{
    struct qconfig *q = ARENA_NEW(a, struct qconfig, err);
    if (!q)
        return NULL;
    q->arena = a;
    struct rule *r = add_rule(q, RULE_NETWORK, "*", err);
    if (!r)
        return NULL;
    r->activation = (struct qconfig_activation){
        .dtype = DT_QINT8,
        .observer = OBSERVER_PERCENTILE,
        .percentile = 99.99,
        .averaging_constant = .01,
        .std = 3,
        .candidates = 1u << OBSERVER_MIN_MAX | 1u << OBSERVER_PERCENTILE | 1u << OBSERVER_KL |
                      1u << OBSERVER_MSE,
    };
    r->weight.per_channel = true;
    r->set = ~0u;
    return q;
}

static bool read_root(struct qconfig *q, json_t *root, struct bpu_error *err)
{
    static const char *const keys[] = {"activation", "weight", "output", "operators",
                                       "nodes",      "inputs", NULL};
    if (!json_is_object(root))
        return json_fail(err, BPU_BAD_OPTION, NULL, "a qconfig is an object, not %s",
                         json_kind(root));
    struct rule *r = json_keys(root, NULL, keys, err) ? add_rule(q, RULE_NETWORK, "*", err) : NULL;
    return r && read_activation(root, NULL, r, err) && read_weight(root, NULL, r, err) &&
           read_output(q, root, err) && read_rules(q, root, "operators", RULE_OPERATOR, err) &&
           read_rules(q, root, "nodes", RULE_NODE, err) && read_inputs(q, root, err);
}

struct qconfig *qconfig_read(struct arena *a, const char *json, size_t size, struct bpu_error *err)
{
    struct qconfig *q = qconfig_default(a, err);
    json_t *root =
        q ? json_read_text((const unsigned char *)json, size, MAX_TEXT_MEMORY, err) : NULL;
    bool ok = root && read_root(q, root, err);
    json_decref(root);
    if (!ok && (err->code == BPU_BAD_MODEL || err->code == BPU_NOT_A_MODEL))
        err->code = BPU_BAD_OPTION; /* the file at fault is not the model */
    return ok ? q : NULL;
}

/* ── asking ── */

/* Shell patterns: * any characters, ? one.  Iterative, so that hostile patterns cost n * m at most. */
static bool matches(const char *pattern, const char *s)
{
    const char *star = NULL, *retry = s;
    while (*s) {
        if (*pattern == '?' || (*pattern == *s && *pattern != '*')) {
            pattern++;
            s++;
        } else if (*pattern == '*') {
            star = pattern++;
            retry = s;
        } else if (star) {
            pattern = star + 1;
            s = ++retry;
        } else
            return false;
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

static bool applies(const struct rule *r, const struct node *n)
{
    switch (r->kind) {
    case RULE_NETWORK: return true;
    case RULE_OPERATOR: return n && n->op && strcmp(n->op->name, r->pattern) == 0;
    case RULE_NODE: return n && matches(r->pattern, n->name);
    }
    return false;
}

void qconfig_activation(const struct qconfig *q, const struct node *n,
                        struct qconfig_activation *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < q->count; i++) {
        const struct rule *r = &q->rules[i];
        const struct qconfig_activation *a = &r->activation;
        if (!applies(r, n))
            continue;
        if (r->set & SET_DTYPE)
            out->dtype = a->dtype;
        if (r->set & SET_OBSERVER)
            out->observer = a->observer;
        if (r->set & SET_PERCENTILE)
            out->percentile = a->percentile;
        if (r->set & SET_AVERAGING)
            out->averaging_constant = a->averaging_constant;
        if (r->set & SET_MIN)
            out->min = a->min;
        if (r->set & SET_MAX)
            out->max = a->max;
        if (r->set & SET_STD)
            out->std = a->std;
        if (r->set & SET_SCALE)
            out->scale = a->scale;
        if (r->set & SET_CANDIDATES)
            out->candidates = a->candidates;
    }
}

void qconfig_weight(const struct qconfig *q, const struct node *n, struct qconfig_weight *out)
{
    out->per_channel = true;
    for (size_t i = 0; i < q->count; i++)
        if ((q->rules[i].set & SET_PER_CHANNEL) && applies(&q->rules[i], n))
            *out = q->rules[i].weight;
}

double qconfig_input_scale(const struct qconfig *q, const char *input)
{
    for (size_t i = 0; i < q->input_count; i++)
        if (strcmp(q->inputs[i].name, input) == 0)
            return q->inputs[i].scale;
    return 0;
}

bool qconfig_fix_input(struct qconfig *q, const char *input, double scale, struct bpu_error *err)
{
    if (qconfig_input_scale(q, input) > 0)
        return true;
    struct input_rule *grown =
        arena_grow(q->arena, q->inputs, q->input_count, q->input_count + 1, sizeof *q->inputs,
                   &q->input_capacity, err);
    const char *name = grown ? arena_strdup(q->arena, input, err) : NULL;
    if (!name)
        return false;
    q->inputs = grown;
    q->inputs[q->input_count++] = (struct input_rule){name, scale};
    return true;
}

bool qconfig_output_quantized(const struct qconfig *q)
{
    return q->output_quantized;
}

/* ── against a graph and a march ── */

static bool cell_has(const struct march *march, const char *op, unsigned bits)
{
    for (int i = 0; i < march->torch_count; i++)
        if (strcmp(march->torch[i].op, op) == 0)
            return march->torch[i].support != SUPPORT_NO && (march->torch[i].inputs & bits);
    return false;
}

/* The node whose name begins most like `name`, for a hint. */
static const char *nearest_node(const struct graph *g, const char *name)
{
    const char *best = NULL;
    size_t most = 0;
    for (int i = 0; i < g->node_count; i++) {
        size_t same = 0;
        while (name[same] && name[same] == g->nodes[i]->name[same])
            same++;
        if (same > most) {
            most = same;
            best = g->nodes[i]->name;
        }
    }
    return best;
}

static bool check_rule(const struct rule *r, const struct graph *g, const struct march *march,
                       struct bpu_error *err)
{
    const struct json_at *group =
        r->kind == RULE_NETWORK ? NULL : AT_KEY(NULL, r->kind == RULE_NODE ? "nodes" : "operators");
    const struct json_at *at = group ? AT_KEY(group, r->pattern) : NULL;
    const struct json_at *dtype = AT_KEY(AT_KEY(at, "activation"), "dtype");
    bool wide = (r->set & SET_DTYPE) && r->activation.dtype == DT_QINT16 && march;
    if (wide && !cell_has(march, "torch.nn.Conv2d", Q16)) {
        json_fail(err, BPU_BAD_OPTION, dtype,
                  "the march %s takes no qint16 activations: its convolutions are qint8",
                  march_name(march));
        return error_hint(err, "Use qint8, or a march with qint16: bayes.");
    }
    if (wide && r->kind == RULE_OPERATOR && !cell_has(march, r->pattern, Q16)) {
        json_fail(err, BPU_BAD_OPTION, dtype, "%s takes no qint16 on the march %s", r->pattern,
                  march_name(march));
        return error_hint(err, "`bpuhub ops --march %s` lists the types of every operator.",
                          march_name(march));
    }
    if (r->kind != RULE_NODE)
        return true;
    for (int i = 0; i < g->node_count; i++)
        if (matches(r->pattern, g->nodes[i]->name))
            return true;
    json_fail(err, BPU_BAD_OPTION, at, "no node of the fused network matches \"%.150s\"",
              r->pattern);
    const char *near = nearest_node(g, r->pattern);
    return error_hint(err,
                      "%s%.200s%sWhat is fused goes by the name of its convolution or linear "
                      "layer.",
                      near ? "Did you mean \"" : "", near ? near : "", near ? "\"? " : "");
}

bool qconfig_check(const struct qconfig *q, const struct graph *fused, const struct march *march,
                   struct bpu_error *err)
{
    for (size_t i = 0; i < q->count; i++)
        if (!check_rule(&q->rules[i], fused, march, err))
            return false;
    for (size_t i = 0; i < q->input_count; i++) {
        const struct value *v = graph_find_value(fused, q->inputs[i].name);
        if (v && v->is_input)
            continue;
        json_fail(err, BPU_BAD_OPTION, AT_KEY(AT_KEY(NULL, "inputs"), q->inputs[i].name),
                  "the network has no input \"%.150s\"", q->inputs[i].name);
        return error_hint(err, "Its first input is \"%.150s\".",
                          fused->input_count ? fused->inputs[0]->name : "(none)");
    }
    return true;
}
