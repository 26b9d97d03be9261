/* Measuring: from a quantity to the function that knows it, and the forms that a measured value
 * can take. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

static quantity_fn *const functions[Q_COUNT] = {
#define X(id, fn, name, kind, scope, what, todo) [Q_##id] = quantity_##fn,
    QUANTITY_MAP(X)
#undef X
};

bool quantity_none(const struct subject *s, const struct value *v, struct measure *out)
{
    (void)s, (void)v, (void)out;
    return false;
}

bool quantity_measure(const struct subject *s, enum quantity q, const struct value *v,
                      struct measure *out)
{
    memset(out, 0, sizeof(*out));
    return functions[q](s, v, out);
}

bool measure_number(struct measure *out, double v)
{
    out->is_number = true;
    out->number = v;
    if (v == floor(v) && fabs(v) < 1e15)
        snprintf(out->text, sizeof(out->text), "%.0f", v);
    else
        snprintf(out->text, sizeof(out->text), "%.9g", v);
    return true;
}

bool measure_bool(struct measure *out, bool v)
{
    return measure_word(out, v ? "true" : "false");
}

bool measure_word(struct measure *out, const char *word)
{
    snprintf(out->text, sizeof(out->text), "%s", word);
    return true;
}

bool measure_list(struct measure *out, const int64_t *v, int count)
{
    size_t used = 0;
    for (int i = 0; i < count && used < sizeof(out->text) - 24; i++)
        used += (size_t)snprintf(out->text + used, sizeof(out->text) - used, "%s%lld",
                                 i ? "," : "[", (long long)v[i]);
    snprintf(out->text + used, sizeof(out->text) - used, "%s", count ? "]" : "[]");
    return true;
}
