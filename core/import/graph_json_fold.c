/* "folded" of a node: why it has no effect at inference, where inference alone cannot tell.
 *
 * Importers of other formats find Q/DQ pairs that only carry a scale, and the parts of operators
 * that exporters took apart; a graph that was converted from them must keep its verdict.  What the
 * file says is believed only where it can be true: a convolution that is called a carrier of scales
 * is an error, not a legal convolution. */
#include <string.h>

#include "core/import/graph_json.h"
#include "core/ops/op.h"

static const char *const fold_keys[] = {"why", "into", NULL};
static const char *const fold_names[] = {
#define X(id, name, text) name,
    FOLD_MAP(X)
#undef X
        NULL,
};

static bool all_constant(const struct node *n)
{
    for (int i = 0; i < n->output_count; i++)
        if (!n->outputs[i]->constant)
            return false;
    return true;
}

static bool unread(const struct graph_users *users, const struct node *n)
{
    for (int i = 0; i < n->output_count; i++)
        if (users->count[n->outputs[i]->index] || n->outputs[i]->is_output)
            return false;
    return true;
}

static bool same_shape(const struct node *n)
{
    const struct value *in = node_input(n, 0);
    return in && n->output_count > 0 && shape_equal(&in->shape, &n->outputs[0]->shape);
}

/* NULL if a node like n can be folded for that reason; else what is wrong. */
static const char *objection(const struct node *n, enum fold why, const struct graph_users *users)
{
    switch (why) {
    case FOLD_NONE:
    case FOLD_COUNT: break;
    case FOLD_CONSTANT:
        return all_constant(n) || unread(users, n) ? NULL : "its result is not known and is read";
    case FOLD_IDENTITY: return same_shape(n) ? NULL : "its result has another shape than its input";
    case FOLD_QUANT:
        return n->op && n->op->class == OPC_QUANT && same_shape(n) ? NULL : "it does not quantize";
    case FOLD_BATCH_NORM:
    case FOLD_BIAS:
    case FOLD_PART: return n->folded_into ? NULL : "\"into\" must name the node that took it over";
    }
    return NULL;
}

static bool read_fold(struct json_reader *r, struct node *n, json_t *j, const struct json_at *at,
                      const struct graph_users *users, struct bpu_error *err)
{
    const char *why, *into;
    enum fold fold;
    if (!json_keys(j, at, fold_keys, err) || !json_text(j, at, "why", true, &why, err) ||
        !json_text(j, at, "into", false, &into, err))
        return false;
    if (!fold_find(why, &fold)) {
        json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "why"), "nothing is folded for being \"%s\"", why);
        const char *near = json_near(why, fold_names);
        return near ? error_hint(err, "Did you mean \"%s\"?", near) : false;
    }
    if (into) {
        n->folded_into = graph_find_node(r->g, into);
        if (!n->folded_into || n->folded_into == n)
            return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "into"),
                             "there is no other node \"%s\"", into);
    }
    const char *what = objection(n, fold, users);
    if (what)
        return json_fail(err, BPU_BAD_MODEL, AT_KEY(at, "why"),
                         "node \"%s\" cannot be folded as \"%s\": %s", n->name, why, what);
    n->fold = fold;
    return true;
}

bool json_folds(struct json_reader *r, struct bpu_error *err)
{
    const struct json_at *at = AT_KEY(NULL, "nodes");
    json_t *nodes = json_object_get(r->root, "nodes"), *folded;
    struct graph_users *users = NULL;
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const struct json_at *here = AT_INDEX(at, i);
        if (!json_member(json_array_get(nodes, i), here, "folded", JSON_OBJECT, false, &folded,
                         err))
            return false;
        if (!folded)
            continue;
        if (!users && !(users = graph_users_new(r->g, r->g->arena, err)))
            return false;
        if (!read_fold(r, r->file_nodes[i], folded, AT_KEY(here, "folded"), users, err))
            return false;
    }
    return true;
}
