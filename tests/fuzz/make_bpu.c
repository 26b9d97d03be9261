/* Writes a .bpu file with one instruction of every kind for which the tests have operands that fit.
 * usage: make_bpu FILE (tests/fuzz/make_bpu.py builds and runs it) */
#include "tests/unit/program_make.h"

int main(int argc, char **argv)
{
    struct arena a;
    struct program p;
    struct buf out;
    struct bpu_error err = {0};
    int kinds = 0;
    if (argc != 2)
        return 2;
    arena_init(&a, (size_t)64 << 20);
    buf_init(&out, BUF_DEFAULT_CAP);
    make_program(&a, &p, OP_COUNT);
    for (int op = 0; op < OP_COUNT; op++)
        if (make_knows((enum opcode)op)) {
            struct instruction *i = &p.code[kinds];
            make_instruction(&a, (enum opcode)op, i);
            if (kinds > 0) {
                const struct instruction *before = &p.code[kinds - 1];
                i->waits[0] = (struct wait){before->engine, 1};
                i->wait_count = 1;
            }
            kinds++;
        }
    p.code_count = kinds;
    p.buffers[0].last = 0;
    bool ok = program_write(&p, &out, &err);
    FILE *f = ok ? fopen(argv[1], "wb") : NULL;
    ok = f && fwrite(out.data, 1, out.size, f) == out.size;
    if (f && fclose(f) != 0)
        ok = false;
    if (!ok)
        fprintf(stderr, "%s: %s (%s)\n", argv[1], err.message, err.where);
    buf_fini(&out);
    arena_fini(&a);
    return ok ? 0 : 1;
}
