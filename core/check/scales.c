/* Warnings about scales: legal, but they cost accuracy or time.
 *
 * Only scales that the file fixes are judged; a float model has none yet. */
#include <math.h>
#include <stdio.h>

#include "core/check/rules.h"

/* The scale that a tensor carries, looking through nodes without effect; 0 if it has none. */
static double scale_of(struct value *v)
{
    if (v && v->quant.count != 1)
        v = value_source(v);
    return v && v->quant.count == 1 && v->quant.scale ? v->quant.scale[0] : 0;
}

/* The hardware joins tensors of one scale: the others are requantized first. */
static bool judge_cat(const struct subject *s)
{
    struct checker *c = s->c;
    char text[200];
    size_t used = 0;
    double first = 0;
    bool differ = false;
    for (int i = 0; i < s->n->input_count; i++) {
        double scale = scale_of(s->n->inputs[i]);
        if (scale == 0)
            return true;
        first = i == 0 ? scale : first;
        differ |= fabs(scale - first) > 1e-6 * first;
        if (used < sizeof(text) - 40)
            used +=
                (size_t)snprintf(text + used, sizeof(text) - used, "%s%.9g", i ? "," : "[", scale);
    }
    if (!differ)
        return true;
    snprintf(text + used, sizeof(text) - used, "]");
    struct finding *f = finding_add(c, s->n, SEVERITY_WARNING, "scales");
    if (!f)
        return false;
    f->message = arena_printf(c->a, c->err,
                              "the inputs of %s have different scales; those that differ from the "
                              "output's are requantized, which costs accuracy",
                              s->n->op->name);
    f->actual = arena_strdup(c->a, text, c->err);
    f->limit = "equal scales";
    f->hint = "Share one observer or FloatFunctional among the layers that feed it.";
    return f->message && f->actual;
}

bool judge_scales(const struct subject *s)
{
    return !node_is(s->n, "torch.cat") || judge_cat(s);
}
