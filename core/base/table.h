/* name_table: from names to pointers, open addressing, grows in an arena. Names are referenced. */
#ifndef BPU_BASE_TABLE_H
#define BPU_BASE_TABLE_H

#include "core/base/arena.h"

struct name_table;

struct name_table *name_table_new(struct arena *a, struct bpu_error *err) BPU_CHECKED;
/* NULL if there is none. */
void *name_table_find(const struct name_table *t, const char *name);
/* Replaces an earlier entry of that name. */
bool name_table_put(struct name_table *t, const char *name, void *p, struct bpu_error *err)
    BPU_CHECKED;

#endif
