/* The frame of the page of a measurement.
 *
 * Style and script are files of their own beside this one, and part of the binary.  The page says which
 * script may run, by its hash: what a model's names might smuggle in does not.  The service says the same
 * in its answer.  Where no script runs, everything is there as text and still pictures. */
#define OPENSSL_SUPPRESS_DEPRECATED /* the interface that opens no configuration file */
#include <inttypes.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "core/base/version.h"
#include "core/draw/chart.h"
#include "core/job/report_perf_html.h"

__asm__(".section .rodata\n"
        "perf_page_css: .incbin \"core/job/perf_page.css\"\n1: .byte 0\n"
        "perf_page_js: .incbin \"core/job/perf_page.js\"\n2: .byte 0\n"
        ".balign 8\n"
        "perf_page_css_size: .quad 1b - perf_page_css\n"
        "perf_page_js_size: .quad 2b - perf_page_js\n"
        ".text\n");
extern const char perf_page_css[], perf_page_js[];
extern const uint64_t perf_page_css_size, perf_page_js_size;

void perf_page_hash(char out[PERF_PAGE_HASH])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char hash[SHA256_DIGEST_LENGTH + 1] = {0};
    SHA256_CTX ctx;
    size_t n = (size_t)snprintf(out, PERF_PAGE_HASH, "sha256-");
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, perf_page_js, (size_t)perf_page_js_size);
    SHA256_Final(hash, &ctx);
    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i += 3) { /* 32 bytes: one sign is filled up */
        unsigned v = (unsigned)hash[i] << 16 | (unsigned)hash[i + 1] << 8 |
                     (i + 2 < SHA256_DIGEST_LENGTH ? hash[i + 2] : 0u);
        for (int k = 18; k >= 0; k -= 6)
            out[n++] = digits[v >> k & 63];
    }
    out[n - 1] = '=';
    out[n] = '\0';
}

void perf_page_open(struct buf *out, const char *model_name, const char *march)
{
    char hash[PERF_PAGE_HASH];
    perf_page_hash(hash);
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                  "script-src '");
    buf_puts(out, hash);
    buf_puts(out, "'\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
    buf_xml(out, model_name);
    buf_puts(out, " on ");
    buf_xml(out, march);
    buf_puts(out, ": performance</title><style>");
    buf_add(out, perf_page_css, (size_t)perf_page_css_size);
    buf_puts(out, "</style></head><body>\n");
}

void perf_page_close(struct buf *out, const char *model_id)
{
    buf_printf(out, "<footer>%s %s; model <code>", BPU_NAME, BPU_VERSION);
    buf_xml(out, model_id);
    buf_puts(out, "</code></footer>\n<script>");
    buf_add(out, perf_page_js, (size_t)perf_page_js_size);
    buf_puts(out, "</script></body></html>\n");
}

void perf_section(struct buf *out, const char *id, const char *heading, const char *text)
{
    buf_printf(out, "<section class=\"card\" id=\"%s\"><h2>%s</h2>\n", id, heading);
    if (text)
        buf_printf(out, "<p class=\"hint\">%s</p>\n", text);
}

void perf_section_end(struct buf *out)
{
    buf_puts(out, "</section>\n");
}

const char *perf_bound_class(enum perf_bound b)
{
    static const char *const classes[PERF_BOUND_COUNT] = {
        [PERF_BOUND_COMPUTE] = "b-compute", [PERF_BOUND_PADDING] = "b-padding",
        [PERF_BOUND_ISSUE] = "b-issue",     [PERF_BOUND_LOAD] = "b-load",
        [PERF_BOUND_STORE] = "b-store",     [PERF_BOUND_HOST] = "b-host",
        [PERF_BOUND_NOTHING] = "b-nothing"};
    return b < PERF_BOUND_COUNT ? classes[b] : "b-nothing";
}

void perf_size(struct buf *out, double bytes)
{
    if (bytes < 10240)
        buf_printf(out, "%.0f bytes", bytes);
    else if (bytes < 1048576)
        buf_printf(out, "%.1f KiB", bytes / 1024);
    else
        buf_printf(out, "%.2f MiB", bytes / 1048576);
}

void perf_time(struct buf *out, double us)
{
    if (us < 10)
        buf_printf(out, "%.2f us", us);
    else if (us < 10000)
        buf_printf(out, "%.1f us", us);
    else
        buf_printf(out, "%.2f ms", us / 1000);
}

void perf_count(struct buf *out, int64_t n)
{
    chart_count(out, n);
}

void perf_rate(struct buf *out, double per_second)
{
    static const char *const units[] = {"", "K", "M", "G", "T", "P"};
    int k = 0;
    for (; per_second >= 1000 && k < 5; k++)
        per_second /= 1000;
    buf_printf(out, "%.3g %s", per_second, units[k]);
}
