/* Comparisons: two reports, split at a line "====", through reading, matching and all three reports.
 *
 * What is accepted gives valid JSON; counts add up; the same bytes give the same result; a report compared with
 * itself has not changed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include <string.h>

#include "core/job/compare.h"
#include "tests/fuzz/fuzz.h"

static const char compare_mark[] = "\n====\n";

static void compare_counts(const struct compare_result *c)
{
    const struct compare_side *b = c->base, *h = c->head;
    if (!c->no_findings) {
        FUZZ_REQUIRE(c->kept_count + c->graver_count + c->lost_count == b->finding_count,
                     "findings of the base get lost");
        FUZZ_REQUIRE(c->kept_count + c->graver_count + c->gained_count == h->finding_count,
                     "findings of the head get lost");
    }
    if (c->no_layers)
        return;
    int shown = 0;
    for (int s = 0; s < LAYER_SAME; s++)
        shown += c->counts[s];
    FUZZ_REQUIRE(shown == c->layer_count, "%d changes, %d counted", c->layer_count, shown);
    FUZZ_REQUIRE(c->unchanged == c->counts[LAYER_SAME], "unchanged layers are counted twice");
    FUZZ_REQUIRE(c->matched + c->counts[LAYER_ADDED] + c->counts[LAYER_REMOVED] ==
                     c->layer_count + c->unchanged,
                 "matched, added and removed are not all");
    for (int i = 1; i < c->layer_count; i++)
        FUZZ_REQUIRE(!(c->layers[i].weight > c->layers[i - 1].weight), "layer %d stands behind a smaller change", i);
}

static void compare_use(const struct compare_result *c, bool same)
{
    static const struct job_option options[] = {{"max_regression", "3%"}, {"fail_on", "new-findings"}};
    struct bpu_error err = {0};
    struct compare_result again;
    struct gates gates;
    struct buf out, twice;
    buf_init(&out, FUZZ_QUOTA);
    buf_init(&twice, FUZZ_QUOTA);
    compare_counts(c);
    if (same)
        FUZZ_REQUIRE(c->gained_count + c->lost_count + c->graver_count == 0, "a report differs from itself");
    FUZZ_REQUIRE(gates_read(options, 2, GATES_OF_COMPARISON, &gates, &err), "%s", err.message);
    if (compare_sides(c->arena, c->base, c->head, &gates, &again, &err) && report_compare_json(&again, &out, &err)) {
        fuzz_json(&out, "the comparison");
        if (report_compare_json(&again, &twice, &err))
            fuzz_same(&out, &twice, "the comparison");
        buf_clear(&out);
        if (report_compare_html(&again, &out, &err))
            fuzz_utf8(buf_str(&out), out.size, "the page");
        buf_clear(&out);
        if (report_compare_text(&again, &out, &err))
            FUZZ_REQUIRE(out.size > 0, "there is no text");
    } else
        fuzz_limit(&err, "the comparison");
    buf_fini(&out);
    buf_fini(&twice);
}

FUZZ_TARGET(compare)
{
    struct arena arena;
    struct bpu_error err = {0};
    struct compare_side base, head;
    struct compare_result c;
    const uint8_t *mark = memmem(data, size, compare_mark, sizeof compare_mark - 1);
    size_t first = mark ? (size_t)(mark - data) : size;
    const uint8_t *second = mark ? mark + sizeof compare_mark - 1 : data;
    size_t rest = mark ? size - first - (sizeof compare_mark - 1) : size;
    arena_init(&arena, FUZZ_QUOTA);
    compare_side_init(&base, &arena, "base");
    compare_side_init(&head, &arena, "head");
    if (compare_side_read(&base, data, first, &err) && compare_side_read(&head, second, rest, &err) &&
        compare_sides(&arena, &base, &head, NULL, &c, &err))
        compare_use(&c, !mark);
    else
        fuzz_error(&err, "the comparison");
    fuzz_arena(&arena);
    arena_fini(&arena);
    return 0;
}
