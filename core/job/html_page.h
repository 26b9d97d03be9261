/* html_page: what the pages of all reports share: one file without scripts, nothing loaded. */
#ifndef BPU_JOB_HTML_PAGE_H
#define BPU_JOB_HTML_PAGE_H

#include "core/base/buf.h"

/* Everything up to the heading "model on march"; title stands behind the model's name. march may be
 * NULL. */
void html_open(struct buf *out, const char *model_name, const char *march, const char *title);
void html_close(struct buf *out, const char *model_id);
/* <td>text</td>, escaped; NULL is empty. */
void html_cell(struct buf *out, const char *text);
/* A number cell, right-aligned. */
void html_number(struct buf *out, const char *fmt, ...) BPU_PRINTF(2, 3);
/* <p class="hint">text</p> */
void html_hint(struct buf *out, const char *text);
/* A section's heading and, if it is not NULL, a sentence below it. */
void html_heading(struct buf *out, const char *text, const char *below);
/* A table's beginning with these columns (NULL ends them; "#SQNR": numbers); ends with html_table_end(). */
void html_table(struct buf *out, const char *const *columns);
void html_table_end(struct buf *out);

/* Counts as an inline drawing: bars over from … to; marks at ±limit if that is above 0. */
void html_histogram(struct buf *out, const double *counts, int bins, double from, double to,
                    double limit, const char *label);

#endif
