/* Tasks of the guest, and the listed functions that each of them is in. */
#ifndef TASKS_H
#define TASKS_H
#include <stdbool.h>
#include <stdint.h>

#include "functions.h"

enum { MAX_FRAMES = 48, COMM_BYTES = 16 };

struct frame {
    const struct function *function;
    uint64_t returns_to, stack;
    int64_t values[MAX_ARGUMENTS];  /* of its arguments */
};

struct task {
    uint64_t address;       /* of its task_struct */
    bool named;             /* pid, tgid and comm were read since it was switched to */
    int pid, tgid;
    char comm[COMM_BYTES + 1];
    uint64_t marker;        /* what it is about to write to trace_marker lies here; 0: nothing */
    struct frame frames[MAX_FRAMES];
    int depth, gates;
};

/* The task of a task_struct. It is kept until the end. */
struct task *task_at(uint64_t address);

/* Frames. `task_push` drops frames that must have been left unseen, and says how many by `*lost`;
 * it returns NULL if there is no room. */
struct frame *task_push(struct task *task, const struct function *function, uint64_t returns_to, uint64_t stack,
                        int *lost);
struct frame *task_top(struct task *task);
void task_pop(struct task *task);

/* Whether any task may be in a function that returns to an address: never falsely no. */
bool tasks_return_to(uint64_t address);

/* How many functions are open, of all tasks, while which instructions are written. */
int tasks_gates(void);

#endif
