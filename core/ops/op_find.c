/* op_find: from a name to its row.
 *
 * Every canonical name and alias goes into an open hash table of fixed size, filled before main()
 * runs and constant from then on, so that no lock is needed.  Suggestions for a name that is in no
 * row compare last components by edit distance. */
#include <ctype.h>
#include <string.h>

#include "core/ops/op.h"

const char *op_class_name(enum op_class c)
{
    static const char *const names[] = {
#define X(id, text) text,
        OP_CLASS_MAP(X)
#undef X
    };
    return (unsigned)c < OPC_COUNT ? names[c] : "other";
}

/* Four times the number of names, so that chains stay short; a power of two. */
#define SLOTS 4096

struct spelling {
    const char *text; /* NULL: free */
    size_t length;
    const struct op *op;
};
static struct spelling slots[SLOTS];

static uint32_t hash(const char *s, size_t n)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h ^ h >> 15;
}

static struct spelling *probe(const char *s, size_t n)
{
    for (uint32_t i = hash(s, n), tries = 0; tries < SLOTS; i++, tries++) {
        struct spelling *p = &slots[i % SLOTS];
        if (!p->text || (p->length == n && memcmp(p->text, s, n) == 0))
            return p;
    }
    return NULL;
}

static void enter(const char *s, size_t n, const struct op *op)
{
    struct spelling *p = probe(s, n);
    if (p && !p->text) /* the first row keeps a name; a test sees to it that there is no second */
        *p = (struct spelling){s, n, op};
}

/* The next word of a list separated by spaces; NULL at its end. */
static const char *next_word(const char **list, size_t *n)
{
    const char *s = *list + strspn(*list, " ");
    *n = strcspn(s, " ");
    *list = s + *n;
    return *n ? s : NULL;
}

__attribute__((constructor)) static void fill(void)
{
    size_t count, n;
    const struct op *rows = op_table(&count);
    for (size_t i = 0; i < count; i++)
        enter(rows[i].name, strlen(rows[i].name), &rows[i]);
    for (size_t i = 0; i < count; i++) {
        const char *list = rows[i].aliases;
        for (const char *w; (w = next_word(&list, &n)) != NULL;)
            enter(w, n, &rows[i]);
    }
}

const struct op *op_find(const char *name)
{
    const struct spelling *p = probe(name, strlen(name));
    return p && p->text ? p->op : NULL;
}

bool op_bind(struct node *n)
{
    n->op = n->op_name ? op_find(n->op_name) : NULL;
    if (n->op)
        n->op_name = n->op->name;
    return n->op != NULL;
}

const struct op_attr *op_attr_find(const struct op *op, const char *name)
{
    for (const struct op_attr *a = op->attrs; a->name; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}

/* ── suggestions ── */

#define LONGEST 48

/* What follows the last dot or colon, in lower case without underscores, cut at LONGEST. */
static size_t last_part(const char *s, size_t n, char out[LONGEST])
{
    size_t from = 0, length = 0;
    for (size_t i = 0; i < n; i++)
        if ((s[i] == '.' || s[i] == ':') && i + 1 < n)
            from = i + 1;
    for (size_t i = from; i < n && length < LONGEST; i++)
        if (s[i] != '_')
            out[length++] = (char)tolower((unsigned char)s[i]);
    return length;
}

static int edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    int row[LONGEST + 1];
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int corner = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int change = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            int add = row[j - 1] + 1, drop = row[j] + 1;
            row[j] = change < add ? change : add;
            row[j] = row[j] < drop ? row[j] : drop;
        }
    }
    return row[nb];
}

/* Lower is nearer; above 100 it is no suggestion. */
static int likeness(const char *name, const char *spelling, size_t n)
{
    char a[LONGEST], b[LONGEST];
    size_t na = last_part(name, strlen(name), a), nb = last_part(spelling, n, b);
    if (na == 0 || nb == 0)
        return 1000;
    int d = edit_distance(a, na, b, nb), longer = (int)(na > nb ? na : nb);
    size_t common = 0;
    while (common < na && common < nb && a[common] == b[common])
        common++;
    if (common >= 4 && d * 3 > longer)
        d = longer / 3; /* "max_pool_with_indices": the beginning counts */
    if (d * 3 > longer)
        return 1000;
    return d * 100 / longer + (strlen(name) == n && memcmp(name, spelling, n) == 0 ? -1 : 0);
}

size_t op_suggest(const char *name, const char **out, size_t max)
{
    enum { BEST = 8 };
    int score[BEST];
    size_t count, found = 0, n;
    const struct op *rows = op_table(&count);
    if (max > BEST)
        max = BEST;
    for (size_t i = 0; i < count && max > 0; i++) {
        int s = likeness(name, rows[i].name, strlen(rows[i].name));
        const char *list = rows[i].aliases;
        for (const char *w; (w = next_word(&list, &n)) != NULL;) {
            int other = likeness(name, w, n) + 1; /* the row's own name before an alias */
            s = other < s ? other : s;
        }
        if (s > 100 || (found == max && s >= score[max - 1]))
            continue;
        size_t k = found < max ? found++ : max - 1;
        for (; k > 0 && score[k - 1] > s; k--) {
            score[k] = score[k - 1];
            out[k] = out[k - 1];
        }
        score[k] = s;
        out[k] = rows[i].name;
    }
    return found;
}
