/* op_find: from a name to its row.
 *
 * Every canonical name and alias goes into an open hash table of fixed size, filled before main()
 * runs and constant from then on, so that no lock is needed.  Suggestions for a name that is in no
 * row compare last components by edit distance; the components of all spellings (of ONNX's names
 * too) stand ready in a second table, and most of them are ruled out by length and letters alone.
 */
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

#define LONGEST 48
#define PARTS (SLOTS / 2)

/* What of a spelling is compared: its last component. */
struct part {
    char text[LONGEST];
    size_t length;
    uint32_t letters; /* a bit for each letter that occurs */
    const struct op *op;
    const char *spelling; /* not ended by NUL */
    size_t spelling_length;
};
static struct part parts[PARTS];
static size_t part_count;

/* What follows the last dot or colon, in lower case without underscores, cut at LONGEST. */
static void part_of(const char *s, size_t n, struct part *out)
{
    size_t from = 0;
    *out = (struct part){.spelling = s, .spelling_length = n};
    for (size_t i = 0; i < n; i++)
        if ((s[i] == '.' || s[i] == ':') && i + 1 < n)
            from = i + 1;
    for (size_t i = from; i < n && out->length < LONGEST; i++) {
        if (s[i] == '_')
            continue;
        unsigned char c = (unsigned char)tolower((unsigned char)s[i]);
        out->text[out->length++] = (char)c;
        out->letters |= 1u << (c % 32);
    }
}

static void enter_part(const char *s, size_t n, const struct op *op)
{
    if (part_count < PARTS) {
        part_of(s, n, &parts[part_count]);
        parts[part_count++].op = op;
    }
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
        enter_part(rows[i].name, strlen(rows[i].name), &rows[i]);
        for (const char *w; (w = next_word(&list, &n)) != NULL;) {
            enter(w, n, &rows[i]);
            enter_part(w, n, &rows[i]);
        }
        if (rows[i].onnx)
            enter_part(rows[i].onnx, strlen(rows[i].onnx), &rows[i]);
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
    /* Any node may have it: what the operator does depends on data, so that it can be judged but not run. */
    static const struct op_attr undetermined = {"undetermined", ATTR_BOOL, false};
    if (strcmp(name, undetermined.name) == 0)
        return &undetermined;
    for (const struct op_attr *a = op->attrs; a->name; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}

/* ── suggestions ── */

/* More than `most` edits are reported as most + 1. */
static int edit_distance(const struct part *a, const struct part *b, int most)
{
    int row[LONGEST + 1];
    for (size_t j = 0; j <= b->length; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a->length; i++) {
        int corner = row[0], least = (int)i;
        row[0] = (int)i;
        for (size_t j = 1; j <= b->length; j++) {
            int change = corner + (a->text[i - 1] != b->text[j - 1]);
            corner = row[j];
            int add = row[j - 1] + 1, drop = row[j] + 1;
            row[j] = change < add ? change : add;
            row[j] = row[j] < drop ? row[j] : drop;
            least = row[j] < least ? row[j] : least;
        }
        if (least > most)
            return most + 1;
    }
    return row[b->length];
}

/* Bits set; the compiler's own is a call without special instructions. */
static int bits(uint32_t x)
{
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    return (int)(((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24);
}

/* Lower is nearer; above 100 it is no suggestion. */
static int likeness(const struct part *a, const struct part *b)
{
    int na = (int)a->length, nb = (int)b->length, longer = na > nb ? na : nb;
    int apart = na > nb ? na - nb : nb - na, most = longer / 3, d = most, common = 0;
    if (na == 0 || nb == 0)
        return 1000;
    while (common < na && common < nb && a->text[common] == b->text[common])
        common++;
    /* an edit changes two letters of the set at most */
    if (apart <= most && bits(a->letters ^ b->letters) <= 2 * most)
        d = edit_distance(a, b, most);
    else if (common < 4)
        return 1000;
    if (common >= 4 && d > most)
        d = most; /* "max_pool_with_indices": the beginning counts */
    if (d > most)
        return 1000;
    bool same = a->spelling_length == b->spelling_length &&
                memcmp(a->spelling, b->spelling, a->spelling_length) == 0;
    return d * 100 / longer - same;
}

size_t op_suggest(const char *name, const char **out, size_t max)
{
    enum { BEST = 8 };
    int score[BEST];
    size_t found = 0;
    struct part wanted;
    part_of(name, strlen(name), &wanted);
    if (max > BEST)
        max = BEST;
    for (size_t i = 0; i < part_count && max > 0;) {
        const struct op *op = parts[i].op;
        int s = 1000;
        for (size_t own = i; i < part_count && parts[i].op == op; i++) {
            int other = likeness(&wanted, &parts[i]) + (i > own); /* the row's own name first */
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
        out[k] = op->name;
    }
    return found;
}
