/* problem: every error that leaves the daemon is one RFC 9457 document. */
#ifndef BPU_SERVER_PROBLEM_H
#define BPU_SERVER_PROBLEM_H

#include "core/base/buf.h"
#include "core/base/error.h"

/* All texts may be NULL except code and title. */
struct problem {
    int status;
    const char *code;  /* stable, lower_snake_case */
    const char *title; /* the same for every occurrence of the code */
    const char *detail, *where, *hint;
};

/* The problem that an error stands for; the texts stay in *err. */
struct problem problem_of_error(const struct bpu_error *err);
/* Appends the document: type, title, status, detail, code and, where known, where and hint. */
void problem_write(struct buf *out, const struct problem *p);
/* Both in one: what a failed job keeps as its error. */
void problem_write_error(struct buf *out, const struct bpu_error *err);

#endif
