/* What to look for in the guest's kernel, as functions.py lists it. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NAME_BYTES = 128, MAX_ARGUMENTS = 4 };

/* `*(register + offset)`, or the register itself (`bytes` 0); shown as hex or as a signed number. */
struct argument {
    char name[32];
    int reg;
    int64_t offset;
    int bytes;
    bool is_signed, in_memory;
};

struct function {
    uint64_t address, size;
    char name[NAME_BYTES];
    bool gate;    /* while it runs, instructions are written */
    bool inside;  /* itself written only while a gate is open */
    bool stores;  /* its stores are those of page-table entries */
    struct argument arguments[MAX_ARGUMENTS];
    int n_arguments;
};

/* Addresses and offsets in a task_struct: 0 and -1 where unknown. */
struct guest {
    struct function *functions;
    size_t n_functions;
    uint64_t switch_to, mark_write, copy_from_user;
    int64_t pid, tgid, comm, cpu;
};

/* Reads the list; false with a message on stderr when it is not one. */
bool guest_read(struct guest *guest, const char *path);

/* The function that holds an address, NULL if none of the list. */
const struct function *guest_function(const struct guest *guest, uint64_t address);

#endif
