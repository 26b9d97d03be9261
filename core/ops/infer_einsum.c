/* infer_einsum: the result of an Einstein summation: "bij,bjk->bik", "...ij,jk".
 *
 * Each letter has one extent (1 broadcasts); "..." stands for leading axes that broadcast.  Without
 * "->" the result has the ellipsis and then the letters that occur once, in alphabetical order. */
#include <ctype.h>
#include <string.h>

#include "core/ops/infer.h"

struct einsum {
    int64_t extent[128]; /* by letter; -2: not seen */
    int seen[128];
    struct shape ellipsis;
};

/* One operand's term [p, end). */
static bool einsum_term(const struct node *n, struct einsum *e, int operand, const char *p,
                        const char *end, struct bpu_error *err)
{
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, operand);
    int letters = 0, dots = 0;
    for (const char *q = p; q < end; q++) {
        if (*q == '.')
            dots++;
        else if (isalpha((unsigned char)*q))
            letters++;
    }
    int wide = x->rank - letters; /* axes under the ellipsis */
    if ((dots != 0 && dots != 3) || wide < 0 || (dots == 0 && wide != 0))
        return infer_bad(n, err, NULL, "the term \"%.*s\" does not fit operand %d of shape %s",
                         (int)(end - p > 60 ? 60 : end - p), p, operand, shape_text(x, text));
    int axis = 0;
    for (; p < end; p++) {
        if (*p == ' ')
            continue;
        if (*p == '.') {
            if (end - p < 3 || p[1] != '.' || p[2] != '.')
                return infer_bad(n, err, NULL, "a lone \".\" in the equation; write \"...\"");
            struct shape lead = {.rank = wide};
            for (int i = 0; i < wide; i++)
                lead.dim[i] = x->dim[axis++];
            if (!infer_broadcast(&e->ellipsis, &lead, &e->ellipsis))
                return infer_bad(n, err, NULL,
                                 "the axes under \"...\" of operand %d of shape %s do not "
                                 "fit the operands before",
                                 operand, shape_text(x, text));
            p += 2;
            continue;
        }
        int c = (unsigned char)*p;
        int64_t d = x->dim[axis++], *known = &e->extent[c];
        e->seen[c]++;
        if (*known == -2 || *known == 1 || *known == -1)
            *known = *known == -1 && d == 1 ? -1 : d;
        else if (d >= 0 && d != 1 && d != *known)
            return infer_bad(n, err, NULL,
                             "\"%c\" is %lld before, but operand %d of shape %s has %lld there", c,
                             (long long)*known, operand, shape_text(x, text), (long long)d);
    }
    return true;
}

bool infer_einsum(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    const char *eq = node_string(n, "equation", "");
    enum dtype t = infer_dtype(n, 0);
    for (int i = 0; i < n->input_count; i++) {
        if (infer_shape(n, i)->rank < 0)
            return infer_out_unknown(n, 0, t, err);
        t = infer_promote(t, false, infer_dtype(n, i), false);
    }
    for (const char *p = eq; *p; p++)
        if (!isalpha((unsigned char)*p) && !strchr(".,-> ", *p))
            return infer_bad(n, err, NULL, "the equation \"%.80s\" holds the character \"%c\"", eq,
                             isprint((unsigned char)*p) ? *p : '?');
    const char *arrow = strstr(eq, "->"), *end = arrow ? arrow : eq + strlen(eq), *p = eq;
    struct einsum e = {.ellipsis = {.rank = 0}};
    for (int c = 0; c < 128; c++)
        e.extent[c] = -2;
    for (int i = 0; i < n->input_count; i++) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if ((comma != NULL) != (i + 1 < n->input_count))
            return infer_bad(n, err, NULL, "the equation \"%.80s\" does not have %d terms", eq,
                             n->input_count);
        const char *stop = comma ? comma : end;
        if (memchr(p, '-', (size_t)(stop - p)) || memchr(p, '>', (size_t)(stop - p)))
            return infer_bad(n, err, NULL, "the equation \"%.80s\" is malformed", eq);
        if (!einsum_term(n, &e, i, p, stop, err))
            return false;
        p = stop + 1;
    }
    struct shape out = {.rank = 0};
    if (!arrow) {
        out = e.ellipsis;
        for (int c = 0; c < 128; c++) /* capitals sort before small letters, as in PyTorch */
            if (e.seen[c] == 1) {
                if (out.rank == SHAPE_MAX_RANK)
                    return infer_bad(n, err, NULL, "the result has more than %d axes",
                                     SHAPE_MAX_RANK);
                out.dim[out.rank++] = e.extent[c];
            }
        return infer_out(n, 0, &out, t, err);
    }
    bool used[128] = {false};
    for (p = arrow + 2; *p; p++) {
        if (*p == ' ')
            continue;
        if (strncmp(p, "...", 3) == 0) {
            if (out.rank + e.ellipsis.rank > SHAPE_MAX_RANK)
                return infer_bad(n, err, NULL, "the result has more than %d axes", SHAPE_MAX_RANK);
            for (int i = 0; i < e.ellipsis.rank; i++)
                out.dim[out.rank++] = e.ellipsis.dim[i];
            p += 2;
            continue;
        }
        int c = (unsigned char)*p;
        if (!isalpha(c) || e.seen[c] == 0 || used[c] || out.rank == SHAPE_MAX_RANK)
            return infer_bad(n, err, "Result letters must occur in the operands, once each.",
                             "the result of \"%.80s\" is wrong at \"%.20s\"", eq, p);
        used[c] = true;
        out.dim[out.rank++] = e.extent[c];
    }
    return infer_out(n, 0, &out, t, err);
}
