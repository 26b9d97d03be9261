/* static: the files of static/, embedded by the Makefile into the binary. */
#ifndef BPU_SERVER_STATIC_H
#define BPU_SERVER_STATIC_H

#include <stddef.h>

struct static_entry {
    const char *name; /* "app.js" */
    const unsigned char *begin, *end;
};

/* Generated ($(BUILD)/gen/static_files.c). */
extern const struct static_entry static_entries[];
extern const size_t static_entry_count;

#endif
