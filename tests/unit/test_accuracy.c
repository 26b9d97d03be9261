/* The expected errors of latencies were found with the machine's figures as they are now, and
 * docs/accuracy.md says the same.  A figure that changes needs a new `make accuracy`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/march/march.h"
#include "core/perf/accuracy.h"
#include "core/perf/perf.h"

#define PAGE "docs/accuracy.md"

static char *whole_page(void)
{
    FILE *f = fopen(PAGE, "rb");
    long size;
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size = ftell(f);
    assert_true(size > 0);
    rewind(f);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, f), size);
    fclose(f);
    return text;
}

static void test_marks(void **state)
{
    (void)state;
    char *page = whole_page(), line[256];
    size_t count;
    const struct march *const *all = march_list(&count);
    for (size_t i = 0; i < count; i++) {
        const char *name = march_name(all[i]);
        uint32_t mark = perf_machine_mark(march_machine(all[i]));
        if (perf_accuracy_mark(name) != mark)
            fail_msg("figures of %s have changed since `make accuracy` (%08x, now %08x)", name,
                     perf_accuracy_mark(name), mark);
        snprintf(line, sizeof line, "\n| %s | `%08x` | ", name, mark);
        if (!strstr(page, line))
            fail_msg("%s does not have \"%s\"", PAGE, line);
    }
    free(page);
}

static void test_words(void **state)
{
    (void)state;
    char *page = whole_page(), line[512];
    size_t count;
    const struct march *const *all = march_list(&count);
    for (size_t i = 0; i < count; i++) {
        struct perf_accuracy a = perf_accuracy_of(march_name(all[i]));
        assert_true(a.networks > 0);
        assert_true(a.median >= 0 && a.median <= a.p90 && a.p90 <= a.worst && a.worst < 1);
        assert_non_null(strstr(a.text, march_name(all[i])));
        /* One network is fitted, none predicted: that is no expected error. */
        assert_int_equal(a.known, a.networks > 1);
        if (a.known) {
            snprintf(line, sizeof line, "±%.0f %% (leave-one-out, %s, %d networks", 100 * a.worst,
                     march_name(all[i]), a.networks);
            assert_int_equal(strncmp(a.text, line, strlen(line)), 0);
        } else {
            assert_int_equal(strncmp(a.text, "unknown", 7), 0);
        }
        snprintf(line, sizeof line, "**%s**", a.text);
        if (!strstr(page, line))
            fail_msg("%s does not have \"%s\"", PAGE, line);
    }
    free(page);
}

/* Every figure counts, and in its own row. */
static void test_mark_sees_every_figure(void **state)
{
    (void)state;
    size_t count;
    struct machine m = *march_machine(march_list(&count)[0]);
    uint32_t seen[64], before = perf_machine_mark(&m);
    int n = 0;
    for (const struct machine_row *row = machine_rows; row->name && n < 64; row++) {
        struct machine changed = m;
        ((struct machine_figure *)(void *)((char *)&changed + row->offset))->v += 1;
        seen[n] = perf_machine_mark(&changed);
        assert_int_not_equal(seen[n], before);
        for (int k = 0; k < n; k++)
            assert_int_not_equal(seen[k], seen[n]);
        n++;
    }
    assert_true(n > 20);
}

static void test_unknown_march(void **state)
{
    (void)state;
    struct perf_accuracy a = perf_accuracy_of("nash");
    assert_false(a.known);
    assert_non_null(a.text);
    assert_false(perf_accuracy_of(NULL).known);
    assert_int_equal(perf_accuracy_mark("nash"), 0);
    assert_true(perf_accuracy_of("BERNOULLI2").known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_mark_sees_every_figure),
        cmocka_unit_test(test_unknown_march),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
