#include "tasks.h"

#include <glib.h>
#include <stdatomic.h>

/* Kernel stacks are aligned to their size, which is this or more (THREAD_SIZE, IRQ_STACK_SIZE). */
enum { STACK_SHIFT = 14, BUCKETS = 4096 };

static GHashTable *tasks;
static atomic_int returning[BUCKETS], open_gates;  /* read without the lock */

static atomic_int *bucket(uint64_t address)
{
    return &returning[address / 4 % BUCKETS];
}

bool tasks_return_to(uint64_t address)
{
    return *bucket(address);
}

int tasks_gates(void)
{
    return open_gates;
}

struct task *task_at(uint64_t address)
{
    struct task *task;

    if (!tasks)
        tasks = g_hash_table_new(g_int64_hash, g_int64_equal);
    task = g_hash_table_lookup(tasks, &address);
    if (!task) {
        task = g_new0(struct task, 1);
        task->address = address;
        g_hash_table_insert(tasks, &task->address, task);
    }
    return task;
}

/* A frame below the new one on the same stack was left without its return being seen. */
static bool left(const struct frame *frame, uint64_t stack)
{
    return frame->stack >> STACK_SHIFT == stack >> STACK_SHIFT && frame->stack < stack;
}

struct frame *task_push(struct task *task, const struct function *function, uint64_t returns_to, uint64_t stack,
                        int *lost)
{
    struct frame *frame;

    *lost = 0;
    while (task->depth && left(task_top(task), stack)) {
        task_pop(task);
        ++*lost;
    }
    if (task->depth == MAX_FRAMES)
        return NULL;
    frame = &task->frames[task->depth++];
    *frame = (struct frame){.function = function, .returns_to = returns_to, .stack = stack};
    task->gates += function->gate;
    open_gates += function->gate;
    ++*bucket(returns_to);
    return frame;
}

struct frame *task_top(struct task *task)
{
    return task->depth ? &task->frames[task->depth - 1] : NULL;
}

void task_pop(struct task *task)
{
    const struct frame *top = task_top(task);

    task->gates -= top->function->gate;
    open_gates -= top->function->gate;
    --*bucket(top->returns_to);
    task->depth--;
}
